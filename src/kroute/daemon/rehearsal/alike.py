"""Whether anything that decides about a node's routes differs: if not, it need not hear everybody twice, or at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

from kroute.daemon.rehearsal.cluster import Cluster
from kroute.daemon.rehearsal.stage import Stage, Voice
from kroute.model.bgp import Peer, PeerName
from kroute.model.fib import Nexthops
from kroute.model.net import Family, Nlri
from kroute.model.rehearsal import RouteChange
from kroute.plan.origin import Origins

_OF_THE_SESSION: Final = frozenset(
    {
        "hold_time",
        "keepalive",
        "connect_retry",
        "local_port",
        "device",
        "description",
        "password_file",
        "password_secret",
        "password_annotation",
        "initiate",
        "ttl_security",
        "multihop",
        "port",
    }
)
"""Fields of a peer that concern its session alone. A field that is not named here counts."""

_as_paths_see = attrgetter(*(f.name for f in fields(Peer) if f.name not in _OF_THE_SESSION))
"""A peer as those see it who judge its paths."""


class Comparison:
    """Compares voices of two clusters; those that many nodes hear are compared once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], bool] = {}
        self.routes: dict[tuple[Family, Nlri, Nexthops | None, Nexthops | None], RouteChange] = {}
        """Changes of routes that many nodes make alike."""

    def alike(self, before: Cluster, old: Stage, after: Cluster, new: Stage) -> bool:
        """Whether a node would have the same routes in both clusters, as nothing that decides about them differs."""
        return _surroundings(old) == _surroundings(new) and self._hear_alike(
            before, old, after, new
        )

    def _hear_alike(self, before: Cluster, old: Stage, after: Cluster, new: Stage) -> bool:
        return next(self._unlike(before, old, after, new), None) is None

    def news(self, before: Cluster, old: Stage, after: Cluster, new: Stage) -> frozenset[str]:
        """The nodes, and peers that are none, of which a node hears something else in one cluster than in the other."""
        peers = {**old.peers, **new.peers}
        return frozenset(peers[n].node or n for n in self._unlike(before, old, after, new))

    def _unlike(
        self, before: Cluster, old: Stage, after: Cluster, new: Stage
    ) -> Iterator[PeerName]:
        was = {name: (voice, called) for name, voice, called in before.heard_by(old)}
        for name, voice, called in after.heard_by(new):
            said = was.pop(name, None)
            if said is None or said[1] != called or not self._same(said[0], voice):
                yield name
        yield from was

    def _same(self, one: Voice, other: Voice) -> bool:
        key = (id(one), id(other))
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = one.blocks == other.blocks
        return known


def _surroundings(stage: Stage) -> tuple[Any, ...]:
    """All that paths are judged by on a node, but for what they say themselves."""
    routing, observed = stage.routing, stage.control.observed
    rib = routing.rib
    peers = {n: (_as_paths_see(s.peer), s.rules) for n, s in routing.peers.items()}
    own = {f: {n: p.attributes for n, p in t.items()} for f, t in routing.local.tables.items()}
    check = rib.origin_check
    known = check.truth if isinstance(check, Origins) else check
    fixed = (rib.me, rib.legs, known, observed.kernel, observed.config.fib)
    return peers, own, fixed
