"""One node, played: the daemon's own control half, road and tables, with nothing outside.

The speaker is this class, which holds sessions in a dictionary; so is the kernel. What the node tells its peers is read
from its Adj-RIB-Out as a :class:`Voice`, and what it hears goes into its Adj-RIB-In, as an UPDATE's decoded steps do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from kroute.codec.conflist import render
from kroute.codec.frames import SessionParameters
from kroute.daemon.control import Control
from kroute.daemon.keyring import Key, Keyring, Place
from kroute.daemon.road import Road
from kroute.model.bgp import Attributes, Negotiated, Peer, PeerName
from kroute.model.cni import Conflist
from kroute.model.config import Cni
from kroute.model.fib import Nexthops
from kroute.model.net import Family, Nlri
from kroute.model.state import Desired, Observed
from kroute.plan import plan
from kroute.plan.add_path import ID_SIZE
from kroute.plan.adj_out import AdjRibOut, Tell
from kroute.plan.policy import UNCHECKED, ExportRules, OriginCheck, quad
from kroute.plan.routing import PeerState, Routing
from kroute.plan.services import with_services_known


class Block(NamedTuple):
    """Prefixes of one family announced with equal attributes. ``source`` is who said it to the one who says it on,
    and is not told it again; empty for what a node announces of its own.
    """

    family: Family
    attributes: Attributes
    nlris: tuple[Nlri, ...]
    source: str = ""
    several: bool = False
    """Whether it is one of several paths (RFC 7911), told apart here by their next hops."""
    best: bool = True
    """Whether who takes one path only is told it."""


Said = dict[tuple[Family, Nlri, bytes], Attributes]
"""What is announced, by family, prefix and, where several paths are told, next hop (else empty)."""


@dataclass(frozen=True, slots=True, eq=False)
class Voice:
    """What peers of equal export rules are told. Compared by identity: an unchanged one need not be heard again."""

    blocks: tuple[Block, ...] = ()

    def heard(self, called: str = "", *, several: bool = True) -> Iterator[Block]:
        """As the peer hears it who is known to the speaker as ``called``, and takes ``several`` paths or the best."""
        for block in self.blocks:
            if called and block.source == called:
                continue
            if several or not block.several:
                yield block
            elif block.best:
                yield block._replace(several=False)

    def table(self, called: str = "", *, several: bool = True) -> Said:
        """The same, prefix by prefix."""
        return {
            (b.family, n, b.attributes.nexthop if b.several else b""): b.attributes
            for b in self.heard(called, several=several)
            for n in b.nlris
        }

    def announced(self, called: str = "") -> Said:
        """The same, the best path to a prefix under no next hop: as it would be if it were the only one."""
        return {
            (b.family, n, b"" if b.best else b.attributes.nexthop): b.attributes
            for b in self.heard(called)
            for n in b.nlris
        }

    @property
    def has_several(self) -> bool:
        """Whether it tells several paths."""
        return any(b.several for b in self.blocks)


SILENCE = Voice()
"""The voice of who says nothing."""


class NamedKeys(Keyring):
    """Stands for the places of TCP MD5 keys, which need not be where a rehearsal is: each one's key is its name."""

    def key(self, place: Place) -> Key:
        """A key that is another one where the place is another one."""
        return Key(str(place)[-80:])

    def keep(self, places: Set[Place]) -> None:
        """Nothing is kept."""


class QuietRoad(Road):
    """A road whose UPDATEs need not be sent: what has been told is read from the Adj-RIB-Out."""

    def tell(self, tell: Tell) -> None:
        """Nothing is sent."""


class Stage:
    """A node that has planned what it observes."""

    def __init__(
        self,
        observed: Observed,
        planner: Callable[[Observed], Desired] = plan,
        lender: OriginCheck = UNCHECKED,
    ) -> None:
        """``lender``: the origin check of another node, which lends what it has worked out."""
        self.name = observed.me
        self.kernel: dict[Family, dict[Nlri, Nexthops]] = {f: {} for f in Family}
        self.conflist: Conflist | None = None
        self.routing = Routing(now=0.0, legs=observed.config.bgp.multipath, deferral=0.0)
        self.routing.seeds.in_use = False
        self.routing.rib.origin_check = lender
        self.road = QuietRoad(self.routing, self, self, lambda: 0.0)
        known = with_services_known(observed)
        self.control = Control(
            known, self.road, self._want, lambda: 0.0, NamedKeys(), planner=planner
        )
        self.control.replan()
        self._spokesmen: dict[PeerName, PeerName] = {}
        """Each peer with a session, and who is told what it is told."""
        self._heard: dict[PeerName, Voice] = {}
        self._voices: dict[int, tuple[AdjRibOut, Voice]] = {}

    # --- what it wants --------------------------------------------------------------------------------

    @property
    def peers(self) -> Mapping[PeerName, Peer]:
        """The peers of its plan."""
        return self.control.desired.peers

    def sessions(self) -> dict[PeerName, SessionParameters]:
        """The sessions that its speaker is asked to hold."""
        return {name: told for name, (_, told) in self.road.sessions.items()}

    def conflist_text(self) -> str:
        """The conflist as its file would say it; empty where none is written."""
        return render(self.conflist).decode() if self.conflist is not None else ""

    def _want(self, wanted: tuple[Cni, Conflist]) -> None:
        self.conflist = wanted[1]

    # --- what it tells and hears ----------------------------------------------------------------------

    def rise(self, agreed: Mapping[PeerName, Negotiated]) -> None:
        """Sessions come up: of those whose peers are told alike the first one, for what it is told they all are."""
        first: dict[ExportRules, PeerName] = {}
        for name, found in agreed.items():
            speaks_for = first.setdefault(
                self.routing.announcer.rules(self.routing.peers[name], found), name
            )
            self._spokesmen[name] = speaks_for
            self.routing.peers[name].adj_in.source.router_id = quad(found.router_id)
        for name in first.values():
            self.routing.session_up(name, agreed[name], 0.0)
        self.road.flush()

    def voice(self, name: PeerName) -> Voice:
        """What a peer is told, but for what came from itself."""
        spokesman = self._spokesmen.get(name)
        out = self.routing.peers[spokesman].out if spokesman is not None else None
        if out is None:
            return SILENCE
        known = self._voices.get(id(out))
        if known is None or known[0] is not out:
            known = self._voices[id(out)] = (out, Voice(self._blocks(out)))
        return known[1]

    def relays(self) -> bool:
        """Whether what it hears can change what it tells a node."""
        heard_by_nodes = {s for n, s in self._spokesmen.items() if self.routing.peers[n].peer.node}
        return any(
            out is not None and self.routing.announcer.passes_on_to(out.rules)
            for out in (self.routing.peers[name].out for name in heard_by_nodes)
        )

    def repeats(self) -> bool:
        """Whether what it hears can change what it tells anybody."""
        outs = (self.routing.peers[name].out for name in set(self._spokesmen.values()))
        return any(
            out is not None and self.routing.announcer.passes_on_to(out.rules) for out in outs
        )

    def own(self) -> frozenset[tuple[Family, Nlri]]:
        """The prefixes that it announces of its own, to anybody."""
        return frozenset(
            (f, nlri) for f, table in self.routing.local.tables.items() for nlri in table
        )

    def hear(self, name: PeerName, voice: Voice, called: str) -> None:
        """A peer, to whom this node is known as ``called``, says this and nothing else."""
        if self._heard.get(name) is voice:
            return
        state, rib = self.routing.peers[name], self.routing.rib
        takes = list(voice.heard(called, several=bool(state.peer.add_path)))
        if name in self._heard:
            self._unhear(state, takes)
        for block in takes:
            if block.family not in state.peer.families:
                continue
            path = rib.judge(state.adj_in, block.attributes)
            if block.several:
                state.places.learn(rib, block.family, path, _entries(block))
            else:
                rib.learn(state.adj_in, block.family, path, block.nlris)
        self._heard[name] = voice

    def _unhear(self, state: PeerState, said: Iterable[Block]) -> None:
        """A peer that said other things before does not say them any more."""
        rib = self.routing.rib
        kept: dict[Family, set[bytes]] = {f: set() for f in Family}
        for block in said:
            kept[block.family].update(_entries(block) if block.several else block.nlris)
        for family, table in state.adj_in.tables.items():
            told = list(state.places.entries(family))
            if told:
                state.places.forget(rib, family, [e for e in told if e not in kept[family]])
            else:
                rib.forget(state.adj_in, family, [n for n in table if n not in kept[family]])

    def decide(self) -> bool:
        """Let what was heard have its consequences; whether anything that is told may have changed."""
        self.road.flush()
        before, self._voices = self._voices, {}
        changed = False
        for key, (out, voice) in before.items():
            fresh = Voice(self._blocks(out))
            same = fresh.blocks == voice.blocks
            self._voices[key] = (out, voice if same else fresh)
            changed |= not same
        return changed

    def _blocks(self, out: AdjRibOut) -> tuple[Block, ...]:
        """An Adj-RIB-Out as announcements: prefixes by attributes and by who said them."""
        found: dict[tuple[int, str, bool], tuple[Family, Attributes, list[Nlri]]] = {}
        for family in out.tables:
            several, loc = out.rules.has_ids(family), self.routing.rib.loc[family]
            for entry, (attributes, source) in out.entries(family).items():
                nlri = entry[ID_SIZE:] if several else entry
                best = not several or loc[nlri].best.source.path_id == entry[:ID_SIZE]
                key = id(attributes), source, best
                found.setdefault(key, (family, attributes, []))[2].append(nlri)
        return tuple(
            Block(f, a, tuple(n), source, out.rules.has_ids(f), best)
            for (_, source, best), (f, a, n) in found.items()
        )

    # --- the speaker's and the kernel's part ----------------------------------------------------------

    def add(self, index: int, parameters: SessionParameters) -> None:
        """A session is to be held; the road remembers which."""

    def remove(self, index: int, **_more: object) -> None:
        """A session is to end; the road forgets it."""

    def reset(self, index: int, *, code: int, subcode: int, data: bytes = b"") -> None:
        """A session is to start again; nobody here sends what would make it so."""

    def send(self, indexes: Iterable[int], messages: bytes) -> None:
        """Nothing is sent."""

    def update(self, family: Family, changes: Mapping[Nlri, Nexthops | None]) -> None:
        """Routes change in the kernel, where the node installs any."""
        if not self.control.observed.config.fib.enabled:
            return
        table = self.kernel[family]
        for nlri, legs in changes.items():
            if legs is None:
                table.pop(nlri, None)
            else:
                table[nlri] = legs


def _entries(block: Block) -> list[bytes]:
    """The prefixes of one of several paths, behind path identifiers that stand for its next hop."""
    path_id = blake2b(block.attributes.nexthop, digest_size=ID_SIZE).digest()
    return [path_id + nlri for nlri in block.nlris]


Between = tuple[bytes, bytes]
"""The addresses of both ends of a session, in network order."""


def ends(peer: Peer) -> Between:
    """Both ends of a session, ours first."""
    return peer.local_address.packed, peer.address.packed
