"""A whole cluster, played in memory: every node plans, and they tell each other what they would.

First every node plans and brings its sessions up, with nobody else there: what it tells then is all that it will ever
tell, unless it relays (a reflector). Those that relay hear each other and all others until nothing changes any more.
At last each node that is asked for hears everybody, and what its kernel would hold is known. Time does not pass: this
is the state that a cluster comes to rest in, not the way there.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from kroute.daemon.rehearsal.casting import Casting, Unsuited
from kroute.daemon.rehearsal.setting import Setting
from kroute.daemon.rehearsal.stage import Between, Block, Said, Stage, Voice, ends
from kroute.model.bgp import (
    Asn,
    Negotiated,
    Peer,
    PeerKind,
    PeerName,
    PeerRestart,
    takes_as,
)
from kroute.model.net import Family, Nlri
from kroute.model.node import Node
from kroute.plan import plan
from kroute.plan.policy import UNCHECKED, OriginCheck
from kroute.plan.sessions import router_id
from kroute.plan.survey import survey

ROUNDS = 20
"""Times that relaying nodes hear each other at most; a chain of reflectors longer than that is no topology of ours."""

KEPT = 20_000
"""Sessions of all nodes up to which the nodes are kept in memory between telling and hearing, at 3 KiB each."""


class End(NamedTuple):
    """One end of a session, as the other end sees it."""

    voice: Voice
    called: PeerName
    """The other end's name here."""
    asn: int
    """The AS that this end expects of the other."""
    local_asn: int
    reflected: bool
    """Whether this end takes the other for its reflector."""
    several: bool = False
    """Whether this end takes several paths to a prefix from the other."""

    def agrees(self, peer: Peer) -> bool:
        """Whether this end and the other one, which is configured as ``peer``, take each other's AS."""
        ours = takes_as(Asn(self.asn), Asn(self.local_asn), peer.local_asn)
        return ours and takes_as(peer.asn, peer.local_asn, Asn(self.local_asn))


class First(NamedTuple):
    """What is known of a node that has planned and heard nobody."""

    ends: dict[Between, End]
    relays: bool
    reflects: bool
    repeats: bool
    """Whether it tells anybody, node or not, what others have told it."""
    own: frozenset[tuple[Family, Nlri]]
    """What it announces of its own, to anybody."""


Spread = Callable[[Callable[[str], Any], Sequence[str]], Iterable[Any]]
"""As :func:`map`: calls a function for each node, here or in several processes."""


class Cluster:
    """The nodes of a setting, settled."""

    def __init__(
        self,
        setting: Setting,
        casting: Casting,
        before: Cluster | None = None,
        spread: Spread = map,
    ) -> None:
        """``before``: the same cluster before a change, by which what was really heard is brought up to date.

        Raises:
            Unsuited: nodes that are cast as extras are none.
        """
        self.setting = setting
        self.casting = casting
        self._survey = survey(setting.observed.nodes)
        self._lender: OriginCheck = UNCHECKED
        self._before = before
        self._at = {a.packed: n.name for n in setting.observed.nodes.values() for a in n.addresses}
        self._ids = {
            n.name: router_id(setting.config(n.name).bgp, n)
            for n in setting.observed.nodes.values()
        }
        self._stages: dict[str, Stage] = {}
        self._kept = 0
        names = list(setting.observed.nodes)
        firsts = self._firsts(names, spread)
        self.ends: dict[str, dict[Between, End]] = {n: f.ends for n, f in firsts.items()}
        """Each node's ends of sessions, by own and other address; of an extra, of those with principals."""
        self._hold_extras(firsts)
        self.own = {n: first.own for n, first in firsts.items()}
        """What each node announces of its own, to anybody."""
        self.reflectors = [name for name, first in firsts.items() if first.reflects]
        """Nodes that have clients."""
        self._relays: dict[str, Stage] = {}
        for name in (n for n, first in firsts.items() if first.relays):
            stage = self._stages.pop(name) if name in self._stages else self._planned(name)
            self._relays[name] = stage
            self.ends[name] = _ends_of(stage)
        self._outsiders = _outside_reflectors(self)
        self._settle()

    @property
    def nodes(self) -> Mapping[str, Node]:
        """All nodes."""
        return self.setting.observed.nodes

    def node_at(self, address: bytes) -> str:
        """The node that has an address; empty if none does."""
        return self._at.get(address, "")

    def stage(self, name: str) -> Stage:
        """A node that has planned, and heard others only if it relays. May be asked for once only: it is not kept."""
        kept = self._relays.get(name) or self._stages.pop(name, None)
        return kept if kept is not None else self._cast(name)

    def hears(self, stage: Stage) -> None:
        """A node hears everybody."""
        if stage.name not in self._relays:
            self._hear(stage)
            stage.decide()

    def heard_by(self, stage: Stage) -> Iterator[tuple[PeerName, Voice, str]]:
        """What a node hears, from whom, and as whom it is known to them."""
        heard = self.setting.heard.get(stage.name, {})
        for name, peer in stage.peers.items():
            end = self._fitting_end(peer)
            if name in heard:
                voice = self._brought_up_to_date(stage.name, heard[name], peer, end)
                yield name, voice, ""
            elif end is not None:
                yield name, end.voice, end.called

    def other_end(self, peer: Peer) -> End | None:
        """The other end of a session; None where the other side is known, and does not want it."""
        mine, theirs = ends(peer)
        other = peer.node or self.node_at(peer.address.packed)
        if not other:
            return self._outsiders.get(theirs, {}).get(mine)
        return self.ends.get(other, {}).get((theirs, mine))

    def is_played(self, peer: Peer) -> bool:
        """Whether the other side is a node, so that it is known what it wants."""
        return bool(peer.node or self.node_at(peer.address.packed))

    # --- telling --------------------------------------------------------------------------------------

    def _cast(self, name: str) -> Stage:
        return self._planned(name) if name in self.casting.principals else self.extra(name)

    def extra(self, name: str) -> Stage:
        """A node that has planned its sessions with principals alone. Of an extra, it is not kept."""
        principals = self.casting.principals
        kept = None if name in principals else self._stages.pop(name, None)
        return kept if kept is not None else self._planned(name, principals)

    def _planned(self, name: str, among: Container[str] | None = None) -> Stage:
        planner = partial(plan, surveyed=self._survey, among=among)
        stage = Stage(self.setting.seen_by(name), planner, self._lender)
        self._lender = stage.routing.rib.origin_check
        stage.rise({n: self._agreed(stage.peers[n]) for n in stage.sessions()})
        return stage

    def _firsts(self, names: list[str], spread: Spread) -> dict[str, First]:
        principals = [name for name in names if name in self.casting.principals]
        played = dict(zip(principals, spread(self._first, principals), strict=True))
        # Extras are quickly planned here, and kept; other processes would have to hand over all that they tell.
        return {n: played[n] if n in played else self._first(n) for n in names}

    def _first(self, name: str) -> First:
        """What a node tells before it has heard anybody. It is kept for later where there is room for all."""
        stage = self._cast(name)
        self._kept += len(stage.peers)
        if self._kept <= KEPT:
            self._stages[name] = stage
        clients = any(peer.kind is PeerKind.CLIENT for peer in stage.peers.values())
        return First(_ends_of(stage), stage.relays(), clients, stage.repeats(), stage.own())

    def _agreed(self, peer: Peer) -> Negotiated:
        """What both OPENs would agree on, taking the other side for one that can all that we can."""
        their_id = self._ids.get(peer.node or self.node_at(peer.address.packed))
        if their_id is None:
            their_id = str(peer.address) if peer.address.version == 4 else "0.0.0.1"
        restart = peer.graceful_restart
        return Negotiated(
            asn=peer.asn,
            router_id=their_id,
            asn4=True,
            message_size=4096,
            hold_time=peer.hold_time,
            families=peer.families,
            extended_nexthop=peer.extended_nexthop,
            route_refresh=True,
            restart=PeerRestart(
                restarting=False,
                notification=True,
                restart_time=restart.restart_time,
                forwarding=peer.families,
                families=peer.families,
            )
            if restart is not None
            else None,
            add_path=peer.add_path,
            add_path_send=peer.add_path_send,
        )

    def _hold_extras(self, firsts: Mapping[str, First]) -> None:
        """See whether the extras are what an extra must be.

        Raises:
            Unsuited: some pass on what they are told.
        """
        extras = {n: first for n, first in firsts.items() if n not in self.casting.principals}
        wrong = {n for n, first in extras.items() if first.relays or first.reflects}
        if self.casting.groups:
            wrong.update(n for n, first in extras.items() if first.repeats)
        if wrong:
            raise Unsuited(wrong)

    # --- hearing --------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Let those who relay hear everybody until they have nothing new to say."""
        for _ in range(ROUNDS):
            changed = False
            for stage in self._relays.values():
                self._hear(stage)
                if stage.decide():
                    self.ends[stage.name] = _ends_of(stage)
                    changed = True
            if self._outsiders:
                before, self._outsiders = self._outsiders, _outside_reflectors(self)
                changed |= _said(before) != _said(self._outsiders)
            if not changed:
                return

    def _hear(self, stage: Stage) -> None:
        for name, voice, called in self.heard_by(stage):
            stage.hear(name, voice, called)

    def _fitting_end(self, peer: Peer) -> End | None:
        end = self.other_end(peer)
        return end if end is not None and end.agrees(peer) else None

    def _brought_up_to_date(self, me: str, voice: Voice, peer: Peer, end: End | None) -> Voice:
        """What a peer has really said, with the difference that the change makes to what it would say.

        Equal ends give the very same voice, which then need not be heard again.
        """
        if self._before is None:
            return voice
        old = self._before._fitting_end(peer)
        several, own = voice.has_several, self._before.ends.get(me, {}).get(ends(peer))
        was, will = said_by(old, several=several), said_by(end, several=several)
        begins = bool(peer.add_path) and not several and own is not None and not own.several
        if begins and end is not None:
            # What was heard is the best path to each prefix; the others come to it.
            will = end.voice.announced(end.called)
        if was == will:
            return voice
        table = {k: a for k, a in voice.table().items() if k in will or k not in was}
        table |= {k: a for k, a in will.items() if was.get(k) != a}
        return Voice(
            tuple(
                Block(f, a, (n,), several=begins or bool(hop)) for (f, n, hop), a in table.items()
            )
        )


def said_by(end: End | None, *, several: bool) -> Said:
    """What one end tells the other; nothing where there is none."""
    return end.voice.table(end.called, several=several) if end is not None else {}


Outsiders = dict[bytes, dict[bytes, End]]
"""Reflectors that are no nodes, by address, and what each tells which client."""


def _outside_reflectors(cluster: Cluster) -> Outsiders:
    """Reflectors that are no nodes reflect as RFC 4456 §8 has it: what a client says, they tell all others."""
    clients: dict[bytes, list[tuple[bytes, Between, str]]] = {}
    for name, held in cluster.ends.items():
        for mine, theirs in held:
            if not cluster.node_at(theirs):
                clients.setdefault(theirs, []).append((mine, (mine, theirs), name))
    return {
        address: found
        for address, members in clients.items()
        if (found := _reflected(cluster, address, members))
    }


def _reflected(
    cluster: Cluster, address: bytes, members: list[tuple[bytes, Between, str]]
) -> dict[bytes, End]:
    internal = [m for m in members if cluster.ends[m[2]][m[1]].reflected]
    cluster_id = address[-4:]
    blocks = []
    for _, between, name in internal:
        node = cluster.nodes[name]
        originator = _quad(router_id(cluster.setting.config(name).bgp, node))
        for block in cluster.ends[name][between].voice.blocks:
            said = block.attributes
            attributes = replace(
                said,
                originator_id=said.originator_id or originator,
                cluster_list=(cluster_id, *said.cluster_list),
            )
            blocks.append(Block(block.family, attributes, block.nlris, name, several=True))
    voice = Voice(tuple(blocks))
    return {
        mine: End(voice, PeerName(name), end.local_asn, end.asn, reflected=False)
        for mine, between, name in internal
        if (end := cluster.ends[name][between])
    }


def _ends_of(stage: Stage) -> dict[Between, End]:
    """What a node tells over each of its sessions."""
    return {
        ends(p): End(
            stage.voice(name),
            name,
            p.asn,
            p.local_asn,
            p.kind is PeerKind.REFLECTOR,
            bool(p.add_path),
        )
        for name, p in stage.peers.items()
    }


def _quad(text: str) -> bytes:
    return bytes(map(int, text.split(".")))


def _said(outsiders: Outsiders) -> dict[bytes, list[tuple[Block, ...]]]:
    return {a: [end.voice.blocks for end in found.values()] for a, found in outsiders.items()}
