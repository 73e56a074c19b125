"""What is known of each configured peer, and whether it has said all that it had to say (law 2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from kroute.model.bgp import (
    CeaseSubcode,
    Negotiated,
    NoticeCode,
    Peer,
    PeerKind,
    SessionDown,
    SessionState,
)
from kroute.model.net import Family, Nlri
from kroute.plan.add_path import Places
from kroute.plan.adj_in import AdjRibIn
from kroute.plan.adj_out import AdjRibOut
from kroute.plan.paths import Path
from kroute.plan.policy import UNRULED, PeerRules


class Held(StrEnum):
    """Why a peer is not just what the plan wants (see :mod:`kroute.plan.transition`)."""

    LEAVING = "leaving"
    """It is not wanted any more, but routes still hang on its session."""
    SERVED = "served"
    """It is no client of ours any more, but we go on reflecting to it."""
    SPARE = "spare"
    """Its session is not wanted, but may stay while it is up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A peer's place in a transition. Times in seconds of the caller's clock."""

    kind: Held
    since: float
    until: float | None = None
    """When it ends at the latest; None: not by itself."""
    waits_for: str = ""
    """What must happen before a leaving peer goes, in words."""

    def words(self, now: float) -> str:
        """The whole story, for people."""
        left = f"{max(0, round(self.until - now))} s" if self.until is not None else ""
        match self.kind:
            case Held.LEAVING:
                return f"leaving: waits for {self.waits_for}, at most {left} more"
            case Held.SERVED:
                return f"no client any more, but reflected to for {left} more while it finds other ways"
            case Held.SPARE:
                return "left of the mesh: stays while it is up"


@dataclass(slots=True)
class PeerState:
    """All that is known of one configured peer."""

    peer: Peer
    adj_in: AdjRibIn
    rules: PeerRules = UNRULED
    state: SessionState = SessionState.IDLE
    since: float = 0.0
    negotiated: Negotiated | None = None
    out: AdjRibOut | None = None
    last_down: SessionDown | None = None
    attempt: str = ""
    """Outcome of the last attempt to connect, in words."""
    ended: set[Family] = field(default_factory=set)
    """Families whose initial table has ended (End-of-RIB received)."""
    places: Places = field(init=False)
    """Where its paths are, if it tells several to a prefix."""
    heard: set[Family] = field(default_factory=set)
    """Families whose whole table it has told at least once, or would not have over its session."""
    away: bool = False
    """Kubernetes says that the peer's node is not Ready, and has said so for a while."""
    owed: set[Family] = field(default_factory=set)
    """Families whose End-of-RIB we still owe."""
    stale_until: float | None = None
    down_at: float = 0.0
    """When the last session was lost."""
    down_until: float | None = None
    """Until when the session stays down because the peer exceeded its limit of prefixes; None where it does not."""
    updates: int = 0
    flaps: int = 0
    faults: int = 0
    """UPDATEs with errors that RFC 7606 lets a session survive."""
    last_fault: str = ""
    hold: Hold | None = None
    """Its place in a change of the topology; None where it is what the plan wants."""
    backlog: int = 0
    """Octets that wait for the peer to read them."""

    def __post_init__(self) -> None:
        self.places = Places(self.adj_in)

    @property
    def ribs(self) -> list[AdjRibIn]:
        """All its tables: the own one, and further ones while it tells several paths to a prefix."""
        return self.places.ribs

    @property
    def tables(self) -> Iterator[tuple[Family, dict[Nlri, Path]]]:
        """All that it has told, in parts: a prefix is in as many of them as the peer has told paths to it."""
        return (part for rib in self.ribs for part in rib.tables.items())

    @property
    def stale_families(self) -> list[Family]:
        """Families in which it has told something in an earlier session and not again yet (RFC 4724 §4.2)."""
        return [f for f in Family if any(rib.stale.get(f) for rib in self.ribs)]

    def stale_in(self, family: Family) -> int:
        """How many stale paths it has in a family."""
        return sum(len(rib.stale.get(family, ())) for rib in self.ribs)

    def is_stale(self, path: Path, family: Family, nlri: Nlri) -> bool:
        """Whether its path to a prefix is stale."""
        return any(
            rib.source is path.source and nlri in rib.stale.get(family, ()) for rib in self.ribs
        )

    @property
    def leaving(self) -> bool:
        """Whether the session is only held until others carry its routes; nobody waits for such a peer."""
        return self.hold is not None and self.hold.kind is Held.LEAVING

    @property
    def is_closed(self) -> bool:
        """Whether we want no session now: shut down by configuration, or for having exceeded its limit of prefixes."""
        return bool(self.peer.shutdown) or self.down_until is not None

    @property
    def dispensable(self) -> bool:
        """Whether nobody waits for its session: we want none, or only until others carry its routes."""
        return self.leaving or self.is_closed

    @property
    def awaits_table(self) -> bool:
        """Whether a part of what it is to be told has not been told yet (:mod:`kroute.plan.joining`)."""
        return self.out is not None and any(self.peer.name in j.peers for j in self.out.joinings)

    @property
    def is_silent(self) -> bool:
        """Whether it has yet to tell its whole table, and is expected to."""
        return not (self.has_spoken or self.away or self.dispensable)

    @property
    def established(self) -> bool:
        """Whether the session is up."""
        return self.state is SessionState.ESTABLISHED

    @property
    def has_spoken(self) -> bool:
        """Whether the peer's whole table is known: End-of-RIB came for each family of its session."""
        return (
            self.established
            and self.negotiated is not None
            and self.ended >= set(self.negotiated.families)
        )

    def end(self, family: Family) -> None:
        """Its initial table of a family has ended."""
        self.ended.add(family)
        self.heard.add(family)

    def looks_like(self, peer: Peer) -> bool:
        """Whether import policy, decision and export of its paths see no difference to other parameters."""
        own = self.peer
        return (own.kind, own.address, own.asn, own.local_asn) == (
            peer.kind,
            peer.address,
            peer.asn,
            peer.local_asn,
        )

    @property
    def is_waited_for(self) -> bool:
        """Whether our table is not whole without this peer's.

        Reflectors that have just restarted themselves are not waited for (RFC 4724 §4.1): they may be waiting for us.
        Nor is a node that Kubernetes takes for dead, nor an external peer that is away.
        """
        away = self.peer.kind is PeerKind.EXTERNAL and not self.established
        if away or not self.is_silent:
            return False
        restart = self.negotiated.restart if self.established and self.negotiated else None
        return self.peer.kind is PeerKind.CLIENT or not (restart and restart.restarting)


def families_kept(state: PeerState, down: SessionDown) -> tuple[Family, ...]:
    """The families that a lost session's paths stay for, as stale (RFC 4724 §4.2, RFC 8538 §4)."""
    restart = state.negotiated.restart if state.negotiated else None
    if restart is None or state.peer.graceful_restart is None:
        return ()
    for notice in (down.sent, down.received):
        hard = notice == (NoticeCode.CEASE, CeaseSubcode.HARD_RESET)
        if notice is not None and (hard or not restart.notification):
            return ()
    return restart.families


def unfinished_kinds(peers: Iterable[PeerState]) -> Counter[PeerKind]:
    """How many peers of each kind are waited for."""
    return Counter(p.peer.kind for p in peers if p.is_waited_for)


def is_whole_for(
    asking: PeerState, unfinished: Counter[PeerKind], passed_on: frozenset[PeerKind]
) -> bool:
    """Whether our table is whole enough to say End-of-RIB to a peer, given who is waited for, and of which kinds of
    peers it may be told paths.

    A node that passes nothing on has a whole table once it knows its own prefixes. A reflector waits for those whose
    paths it passes on to the one asking: else it would tell a restarted client that routes are gone which it
    only has not relearned yet.
    """
    others = sum(unfinished[kind] for kind in passed_on)
    if others and asking.peer.kind in passed_on and asking.is_waited_for:
        others -= 1
    return others == 0
