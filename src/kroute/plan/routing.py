"""Sessions and tables together: what an event on a session does to the RIBs, the kernel and the other peers.

A :class:`Routing` is told what happened and when; it changes its tables at once and collects the consequences
until :meth:`Routing.flush`. It never waits and never looks at a clock: time comes with every call (law 1).

Graceful restart (RFC 4724) lives here, in both roles. As helper, a lost peer's paths stay, marked stale, until
it announces them again, ends its initial table, or its time is over. As restarting speaker, End-of-RIB is
owed to every peer and sent when our own table is whole; and nothing is removed from the kernel before every
expected peer has ended its table or was given up (law 2).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from kroute.model.bgp import (
    Negotiated,
    NoticeCode,
    Peer,
    PeerName,
    SessionDown,
    SessionState,
)
from kroute.model.net import Family
from kroute.model.state import Origination
from kroute.plan.adj_in import AdjRibIn
from kroute.plan.announcer import Announcer
from kroute.plan.effects import Effects
from kroute.plan.own_routes import OwnRoutes
from kroute.plan.peers import Hold, PeerState, families_kept
from kroute.plan.policy import (
    Classes,
    OriginCheck,
    PeerRules,
    Self,
    quad,
)
from kroute.plan.resolve import Resolver
from kroute.plan.rib import Rib
from kroute.plan.seed import Seeds

__all__ = ["Effects", "PeerState", "Routing"]

OWN_RESTART_STALE = 120.0
"""Seconds that paths stay after our own speaker died, until they are relearned."""


class Routing:
    """The route half of the daemon's memory."""

    def __init__(self, *, now: float, legs: int, deferral: float) -> None:
        self.peers: dict[PeerName, PeerState] = {}
        self.rib = Rib(
            Self(router_id=b"", cluster_id=b"", addresses=frozenset()), Resolver(None), legs
        )
        self.started = now
        self.restarted = now
        """When all sessions began anew: at the start, and whenever our own speaker died."""
        self.deferral = deferral
        self.inventory_complete = False
        self.pending = ""
        """What is not known yet of the services that this node may announce; empty if all is."""
        self.undiscovered: frozenset[str] = frozenset()
        """Interfaces at whose other end a peer is expected that has not been heard yet."""
        self.own = OwnRoutes(self.rib)
        self.local = self.own.adj_in
        self.seeds = Seeds()
        self.announcer = Announcer(self.peers, self.rib, self.local)

    # --- what is wanted changes ---------------------------------------------------------------------

    def set_peers(
        self, peers: Mapping[PeerName, Peer], rules: Mapping[PeerName, PeerRules], now: float
    ) -> None:
        """Take over the wanted peers; those no longer wanted lose their paths, new limits and policies hold at once.

        ``rules`` has those of every peer.
        """
        for name in [n for n in self.peers if n not in peers]:
            self._drop(name)
        self.announcer.kinds |= {peer.kind for peer in peers.values()}
        for name, peer in peers.items():
            known = self.peers.get(name)
            if known is None:
                known = self.peers[name] = PeerState(peer, AdjRibIn(peer), since=now)
            elif known.peer != peer:
                self._change(known, peer)
            self._rule(known, rules[name])

    def _rule(self, state: PeerState, rules: PeerRules) -> None:
        """A peer's rules hold at once, both ways, for all that is stored; its session does not notice."""
        source = state.adj_in.source
        for rib in state.ribs:
            self.rib.review.accept(rib, rules.imports)
        self.announcer.rules_changed |= state.rules.exports != rules.exports
        state.rules = rules
        if source.pass_on != rules.pass_on:
            source.pass_on = rules.pass_on
            state.places.follow()
            self.announcer.passed_on |= rules.pass_on
            self._reconsider(state)

    def set_classes(self, classes: Classes) -> None:
        """Take over what prefixes are to this node; what import and export rules say of them changes at once."""
        self.rib.review.classify(self._ribs(), classes, told=self.announcer.asks_kind)
        self.announcer.set_classes(classes)

    def set_holds(self, holds: Mapping[PeerName, Hold]) -> None:
        """Take over which peers are held while the topology changes, and why."""
        for name, state in self.peers.items():
            state.hold = holds.get(name)
            if state.adj_in.source.leaving != state.leaving:
                state.adj_in.source.leaving = state.leaving
                state.places.follow()
                self._reconsider(state)

    def set_origin_check(self, check: OriginCheck) -> None:
        """Take over who may announce what; stored announcements that it judges differently change at once."""
        if check is self.rib.origin_check:
            return
        self.rib.review.check_origins(self._ribs(), check)

    def set_self(
        self, me: Self, resolver: Resolver, own_nexthops: Mapping[Family, bytes] | None
    ) -> None:
        """Own identity or the kernel's networks changed; peers are told a new next hop where ours changed. None:
        the inventory does not know us now, so what peers were told stays (law 2).
        """
        if own_nexthops is not None and self.announcer.own_nexthops != own_nexthops:
            self.announcer.own_nexthops = dict(own_nexthops)
            self.announcer.rules_changed = True
        self.rib.review.rejudge((self.seeds.adj_in, *self._ribs()), me, resolver)

    def _ribs(self) -> Iterator[AdjRibIn]:
        """The tables of all peers."""
        return (rib for state in self.peers.values() for rib in state.ribs)

    def _change(self, state: PeerState, peer: Peer) -> None:
        """A known peer has new parameters; what they mean for its paths and for what it is told holds at once."""
        source, same = state.adj_in.source, state.looks_like(peer)
        state.peer, state.adj_in.limit = peer, peer.max_prefixes
        source.adopt(peer)
        state.places.follow()
        if not same:
            self._reconsider(state)
        self.announcer.rules_changed = True

    def _reconsider(self, state: PeerState) -> None:
        for rib in state.ribs:
            self.rib.review.revisit(rib)
        self.announcer.reconsider()

    def set_originations(
        self, wanted: Iterable[Origination], complete: bool, pending: str = ""
    ) -> None:
        """Take over what this node announces of its own; ``complete``: absence now means withdrawal, but not of
        services while something of them is ``pending`` (in words).
        """
        self.inventory_complete |= complete
        self.pending = pending
        self.own.take(wanted, complete=complete, pending=bool(pending))

    def _drop(self, name: PeerName) -> None:
        gone = self.peers.pop(name)
        self.announcer.leave(gone)
        gone.places.rest(self.rib, ())

    # --- what happens on sessions -------------------------------------------------------------------

    def session_up(self, name: PeerName, negotiated: Negotiated, now: float) -> None:
        """A session is established: its peer gets our table, and its stale paths a chance (RFC 4724 §4.2)."""
        state = self.peers.get(name)
        if state is None:
            return
        self.announcer.leave(state)
        state.state, state.since, state.negotiated = SessionState.ESTABLISHED, now, negotiated
        router_id = quad(negotiated.router_id)
        if state.adj_in.source.router_id != router_id:
            state.adj_in.source.router_id = router_id
            state.places.follow()
            self._reconsider(state)
        state.adj_in.over.clear()
        state.ended, state.owed = set(), set(negotiated.families)
        state.heard |= set(state.peer.families) - state.owed
        self.seeds.due = True
        state.attempt = ""
        self._judge_stale(state, negotiated, now)
        self.announcer.invite(name)

    def _judge_stale(self, state: PeerState, negotiated: Negotiated, now: float) -> None:
        """Keep the stale paths of families that the peer still forwards for; the rest goes at once."""
        restart = negotiated.restart
        for family in state.stale_families:
            lost = restart is None or (restart.restarting and family not in restart.forwarding)
            if family not in negotiated.families or lost:
                self._sweep(state, family)
        for family in Family:
            if family not in negotiated.add_path:
                state.places.fold(self.rib, family)
        if state.stale_families:
            wanted = state.peer.graceful_restart
            state.stale_until = now + (wanted.stale_time if wanted else OWN_RESTART_STALE)

    def session_down(self, name: PeerName, down: SessionDown, now: float) -> None:
        """A session is lost: its paths go, or stay as stale where graceful restart covers the loss."""
        state = self.peers.get(name)
        if state is None:
            return
        was_up = state.established
        self.announcer.leave(state)
        state.state, state.last_down = SessionState.CONNECT, down
        if not was_up:
            return
        state.since, state.down_at, state.flaps = now, now, state.flaps + 1
        kept = families_kept(state, down)
        restart = state.negotiated.restart if state.negotiated else None
        for family in state.stale_families:
            # A second loss before End-of-RIB: what the peer did not announce in between goes (RFC 4724 §4.2).
            self._sweep(state, family)
        self._mark_stale(state, kept, now + (restart.restart_time if restart else 0))

    def speaker_died(self, now: float) -> None:
        """Our own speaker is gone and all sessions with it: everything stays, as stale, until it is relearned."""
        self.restarted = now
        down = SessionDown(reason="the speaker process ended; it is being restarted")
        for state in self.peers.values():
            was_up = state.established
            self.announcer.leave(state)
            state.state, state.last_down = SessionState.CONNECT, down
            if was_up:
                state.since, state.down_at, state.flaps = now, now, state.flaps + 1
                self._mark_stale(state, tuple(Family), now + OWN_RESTART_STALE)

    def session_opened(self, name: PeerName) -> None:
        """We want a session now: it connects, and what an earlier one told beyond its limit is forgotten."""
        if (state := self.peers.get(name)) is not None and not state.established:
            state.state = SessionState.CONNECT
            state.adj_in.over.clear()

    def session_replaced(self, name: PeerName, now: float) -> None:
        """We reset a session ourselves because its parameters changed: its paths stay until it is back."""
        state = self.peers.get(name)
        if state is not None and state.established:
            self.announcer.leave(state)
            state.state, state.since, state.down_at = SessionState.CONNECT, now, now
            state.last_down = SessionDown(
                reason="its configuration changed; the session starts again"
            )
            self._mark_stale(state, tuple(Family), now + OWN_RESTART_STALE)

    def session_closed(self, name: PeerName, words: str, subcode: int, now: float) -> None:
        """We ended a session and want none now: all that it brought goes at once."""
        if (state := self.peers.get(name)) is None:
            return
        if state.established:
            state.flaps, state.down_at, state.since = state.flaps + 1, now, now
        self.announcer.leave(state)
        state.state, state.attempt = SessionState.IDLE, ""
        state.last_down = SessionDown(reason=words, sent=(NoticeCode.CEASE, subcode))
        self._mark_stale(state, (), now)

    def _mark_stale(self, state: PeerState, kept: tuple[Family, ...], until: float) -> None:
        state.places.rest(self.rib, kept)
        state.stale_until = until if state.stale_families else None

    def _sweep(self, state: PeerState, family: Family) -> None:
        """Remove what is still stale in a family."""
        state.places.sweep(self.rib, family)
        if not state.stale_families:
            state.stale_until = None

    def end_of_rib(self, state: PeerState, family: Family) -> None:
        """The peer's initial table of a family is complete (RFC 4724 §2)."""
        state.end(family)
        self.seeds.due = True
        self._sweep(state, family)

    def refresh(self, name: PeerName) -> None:
        """The peer asks for our table again (RFC 2918)."""
        self.announcer.invite(name)

    def tick(self, now: float) -> None:
        """Time passes: stale paths whose time is over go."""
        for state in self.peers.values():
            if state.stale_until is not None and now >= state.stale_until:
                for family in state.stale_families:
                    self._sweep(state, family)

    # --- when everything is known -------------------------------------------------------------------

    def waiting_for(self, now: float) -> list[str]:
        """What is missing before anything may be removed from the kernel; empty when in sync (law 2)."""
        if not self.inventory_complete:
            return ["the inventory has not been listed"]
        if now - self.restarted >= self.deferral:
            return []
        silent = [self.pending] if self.pending else []
        if left := self.rib.review.left:
            silent.append(f"{left} stored announcements are to be judged again")
        silent += [f"no router was heard on {name} yet" for name in sorted(self.undiscovered)]
        return silent + [
            f"{state.peer.name} has not sent its whole table"
            for state in self.peers.values()
            if state.is_silent
        ]

    # --- consequences ---------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether a flush has left something to the next one: a review, or tables to be told."""
        return self.rib.review.going_on or self.announcer.joinings.going_on

    def flush(self, now: float, most: int | None = None) -> Effects:
        """Decide what has changed and hand over all consequences. ``most``: how many stored prefixes to judge again
        where a review goes on (:mod:`kroute.plan.review`), and how many to tell those that wait for a whole table
        (:mod:`kroute.plan.joining`); None: all.
        """
        self.seeds.sow(self.rib, self.peers, now)
        decided = self.rib.decide(most)
        tells = self.announcer.tell(decided, most)
        given_up = now - self.restarted >= self.deferral
        if self.rib.review.going_on:
            return Effects(fib={f: d.kernel for f, d in decided.items()}, tells=tells)
        if self.inventory_complete and (given_up or not self.pending):
            tells += self.announcer.ends(given_up=given_up)
        return Effects(fib={f: d.kernel for f, d in decided.items()}, tells=tells)
