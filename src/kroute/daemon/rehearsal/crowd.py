"""What happens on an extra, read from what happens on it towards the samples, and on the samples of its own group.

Sessions: an extra has the same with each node of a group whose address is on the same side of its own, so that its
session with a sample on that side stands for theirs. Routes: nodes of a group install the same towards everybody, but
nothing for what they announce themselves; so what all samples install together is what an extra installs, but for its
own. Who tells something new counts for everybody but himself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from kroute.daemon.rehearsal.casting import Casting, Group, Unsuited
from kroute.daemon.rehearsal.stage import Stage
from kroute.model.bgp import PeerName
from kroute.model.fib import Nexthops
from kroute.model.net import Family, Nlri
from kroute.model.node import Node

Table = dict[tuple[Family, Nlri], Nexthops]
Owned = frozenset[tuple[Family, Nlri]]
Kernel = dict[Family, dict[Nlri, Nexthops]]
Crowd = Mapping[PeerName, Sequence[PeerName]]
"""The peers that a session with a sample stands for, itself included; any other session stands for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one sample has come to, in one state of the cluster or the other."""

    name: str
    kernel: Table
    own: Owned
    roomy: bool
    """Whether no peer of it tells so much that a few prefixes more would be beyond its limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Custom:
    """What a group does alike."""

    before: Kernel
    after: Kernel
    news: frozenset[str]
    """Nodes of which members hear something else in one state than in the other."""


ROOM = 100
"""Prefixes by which a sample must stay below its peers' limits, so that all nodes of its group do."""


def sample_of(stage: Stage) -> Sample:
    """What a sample that has heard everybody has come to."""
    ribs = [rib for state in stage.routing.peers.values() for rib in state.ribs]
    return Sample(
        name=stage.name,
        kernel={
            (f, nlri): legs for f, table in stage.kernel.items() for nlri, legs in table.items()
        },
        own=stage.own(),
        roomy=all(len(t) + ROOM <= rib.limit for rib in ribs for t in rib.tables.values()),
    )


def common(group: Group, samples: Iterable[Sample], own: Mapping[str, Owned]) -> Kernel:
    """What all of a group install, whoever does not announce it himself. ``own``: what each node announces.

    Raises:
        Unsuited: the samples do not agree, or some extras do not announce what all samples do.
    """
    found: Table = {}
    members = list(samples)
    everywhere = frozenset.intersection(*(s.own for s in members)) if members else frozenset()
    if lacking := [n for n in group.extras if not everywhere <= own.get(n, everywhere)]:
        raise Unsuited(lacking)
    for sample in members:
        found |= {key: legs for key, legs in sample.kernel.items() if key not in sample.own}
    for sample in members:
        whole = {key: legs for key, legs in found.items() if key not in sample.own}
        others = {key: legs for key, legs in sample.kernel.items() if key not in sample.own}
        if whole != others or not sample.roomy:
            raise Unsuited(group.extras)
    kernel: Kernel = {f: {} for f in Family}
    for (family, nlri), legs in found.items():
        kernel[family][nlri] = legs
    return kernel


def install(stage: Stage, kernel: Kernel) -> None:
    """Let an extra install what its group does, but for what it announces itself."""
    for family, table in kernel.items():
        own = stage.routing.local.tables[family]
        held = stage.kernel[family]
        stage.kernel[family] = {n: legs for n, legs in table.items() if n not in own} | held


Ends = tuple[bytes | None, ...]
"""A node's first address of each family."""


class _Line:
    """The extras of a group in the order of their addresses."""

    def __init__(self, group: Group, ends: Mapping[str, Ends]) -> None:
        self.group = group
        self.names = sorted(group.extras, key=lambda name: _sortable(ends[name]))
        self._ends = [ends[name] for name in self.names]
        # All of a group have addresses of the same families.
        columns = [list(c) for c in zip(*self._ends, strict=True)]
        self._columns = {i: c for i, c in enumerate(columns) if all(c)}
        self._is_straight = all(c == sorted(c) for c in self._columns.values())
        self._peers: dict[str, list[PeerName]] = {}

    def sides(self, mine: Ends) -> Iterator[tuple[Side, int, int]]:
        """Parts of the line, from and to, that are on one side of an address."""
        if self._is_straight:
            cuts = {
                bisect_left(c, mine[i]) for i, c in self._columns.items() if mine[i] is not None
            }
        else:
            cuts = set(range(len(self.names)))
        bounds = sorted({0, *cuts, len(self.names)})
        for low, high in pairwise(bounds):
            yield _side(mine, self._ends[low]), low, high

    def peers(self, suffix: str) -> list[PeerName]:
        """The sessions with them whose names end so."""
        found = self._peers.get(suffix)
        if found is None:
            found = self._peers[suffix] = [PeerName(f"node/{n}{suffix}") for n in self.names]
        return found


class Crowds:
    """Whom the sessions of extras with samples stand for."""

    def __init__(self, casting: Casting, nodes: Mapping[str, Node]) -> None:
        """``nodes``: all of them, before or after."""
        self._ends = {
            name: tuple(
                a.packed if (a := nodes[name].address(f)) is not None else None for f in Family
            )
            for group in casting.groups
            for name in (*group.extras, *group.samples)
        }
        self._lines = [_Line(group, self._ends) for group in casting.groups]

    def around(self, name: str, *stages: Stage | None) -> Crowd:
        """For one node, with what it has planned with principals.

        Raises:
            Unsuited: there is no sample on the side of some extras.
        """
        peers: dict[str, set[PeerName]] = {}
        for stage in stages:
            for called, peer in stage.peers.items() if stage is not None else ():
                peers.setdefault(peer.node, set()).add(called)
        crowd: dict[PeerName, list[PeerName]] = {}
        for line in self._lines:
            mine = self._ends[name]
            samples = {_side(mine, self._ends[s]): s for s in line.group.samples if s != name}
            for side, low, high in line.sides(mine):
                sample = samples.get(side)
                if sample is None:
                    if line.names[low:high] == [name]:
                        continue
                    raise Unsuited(line.group.extras)
                for called in peers.get(sample, ()):
                    suffix = called.removeprefix(f"node/{sample}")
                    others = line.peers(suffix)[low:high]
                    own = f"node/{name}{suffix}"
                    crowd.setdefault(called, [called]).extend(n for n in others if n != own)
        return crowd


Side = tuple[bool | None, ...]


def _side(mine: Ends, theirs: Ends) -> Side:
    """On which side of one node's addresses another one's are, in each family that both have."""
    return tuple(
        None if one is None or other is None else one > other
        for one, other in zip(mine, theirs, strict=True)
    )


def _sortable(ends: Ends) -> tuple[bytes, ...]:
    return tuple(end or b"" for end in ends)
