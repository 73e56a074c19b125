"""Sessions and tables together: what an event on a session does to the RIBs, the kernel and the other peers.

A :class:`Routing` is told what happened and when; it changes its tables at once and collects the consequences
until :meth:`Routing.flush`. It never waits and never looks at a clock: time comes with every call (law 1).

Graceful restart (RFC 4724) lives here, in both roles. As helper, a lost peer's paths stay, marked stale, until
it announces them again, ends its initial table, or its time is over. As restarting speaker, End-of-RIB is
owed to every peer and sent when our own table is whole; and nothing is removed from the kernel before every
expected peer has ended its table or was given up (law 2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from kroute.model.bgp import (
    Negotiated,
    NoticeCode,
    Peer,
    PeerKind,
    PeerName,
    SessionDown,
    SessionState,
)
from kroute.model.net import Family, Nlri, family_of, nlri_of
from kroute.model.policies import OriginClass
from kroute.model.state import Origination
from kroute.plan.adj_out import AdjRibOut, Tell
from kroute.plan.effects import Effects
from kroute.plan.paths import Path, Selection
from kroute.plan.peers import Hold, PeerState, families_kept, is_whole_for, unfinished_kinds
from kroute.plan.policy import (
    Classes,
    ExportRules,
    OriginCheck,
    PeerRules,
    Self,
    quad,
    sources,
)
from kroute.plan.resolve import Resolver
from kroute.plan.rib import AdjRibIn, Rib
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
        self.local = AdjRibIn(None)
        self.seeds = Seeds()
        self.sources: dict[tuple[Family, Nlri], str] = {}
        self._outs: dict[ExportRules, AdjRibOut] = {}
        self._joining: list[PeerName] = []
        self._rules_changed = False
        self._kinds: set[PeerKind] = set()
        """Kinds of peers there are or have been: only of these can there be paths to pass on."""
        self._passed_on = False
        """Whether internal peers are, or have been, told what an external peer has told us."""
        self._own_nexthops: dict[Family, bytes] = {}
        self._own_paths: dict[tuple[object, ...], Path] = {}
        """Local paths by all that tells them apart; thousands of prefixes share a few."""

    # --- what is wanted changes ---------------------------------------------------------------------

    def set_peers(
        self, peers: Mapping[PeerName, Peer], rules: Mapping[PeerName, PeerRules], now: float
    ) -> None:
        """Take over the wanted peers; those no longer wanted lose their paths, new limits and policies hold at once.

        ``rules`` has those of every peer.
        """
        for name in [n for n in self.peers if n not in peers]:
            self._drop(name)
        self._kinds |= {peer.kind for peer in peers.values()}
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
            self.rib.accept(rib, rules.imports)
        self._rules_changed |= state.rules.exports != rules.exports
        state.rules = rules
        if source.pass_on != rules.pass_on:
            source.pass_on = rules.pass_on
            state.places.follow()
            self._passed_on |= rules.pass_on
            self._reconsider(state)

    def set_classes(self, classes: Classes) -> None:
        """Take over what prefixes are to this node; what import and export rules say of them changes at once."""
        told = any(out.rules.asks_kind for out in self._outs.values())
        self.rib.classify(self._ribs(), classes, told=told)
        for out in self._outs.values():
            out.classes = classes

    def set_holds(self, holds: Mapping[PeerName, Hold]) -> None:
        """Take over which peers are held while the topology changes, and why."""
        for name, state in self.peers.items():
            state.hold = holds.get(name)
            if state.adj_in.source.leaving != state.leaving:
                state.adj_in.source.leaving = state.leaving
                self._reconsider(state)

    def set_origin_check(self, check: OriginCheck) -> None:
        """Take over who may announce what; stored announcements that it judges differently change at once."""
        if check is self.rib.origin_check:
            return
        self.rib.check_origins(self._ribs(), check)

    def set_self(
        self, me: Self, resolver: Resolver, own_nexthops: Mapping[Family, bytes] | None
    ) -> None:
        """Own identity or the kernel's networks changed; peers are told a new next hop where ours changed. None:
        the inventory does not know us now, so what peers were told stays (law 2).
        """
        if own_nexthops is not None and self._own_nexthops != own_nexthops:
            self._own_nexthops = dict(own_nexthops)
            self._rules_changed = True
        self.rib.rejudge((self.seeds.adj_in, *self._ribs()), me, resolver)

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
        self._rules_changed = True

    def _reconsider(self, state: PeerState) -> None:
        for rib in state.ribs:
            self.rib.revisit(rib)
        for out in self._outs.values():
            out.reconsider()

    def set_originations(
        self, wanted: Iterable[Origination], complete: bool, pending: str = ""
    ) -> None:
        """Take over what this node announces of its own; ``complete``: absence now means withdrawal, but not of
        services while something of them is ``pending`` (in words).
        """
        sources: dict[tuple[Family, Nlri], str] = {}
        news: dict[tuple[Family, Path], list[Nlri]] = {}
        for wish in wanted:
            family, nlri = family_of(wish.prefix), nlri_of(wish.prefix)
            sources[family, nlri] = wish.source
            path = self._own_path(wish)
            if self.local.tables[family].get(nlri) is not path:
                news.setdefault((family, path), []).append(nlri)
        self.inventory_complete |= complete
        self.pending = pending
        for (family, path), nlris in news.items():
            self.rib.learn(self.local, family, path, nlris)
        if complete:
            for family, table in self.local.tables.items():
                gone = [n for n, path in table.items() if (family, n) not in sources]
                kept = {n for n in gone if pending and _is_service(table[n])}
                self.rib.forget(self.local, family, [n for n in gone if n not in kept])
            self._forget_own_paths()
        self.sources = sources if complete and not pending else {**self.sources, **sources}

    def _own_path(self, wish: Origination) -> Path:
        """The local path that all wishes share which differ in prefix and source only."""
        key = (wish.kind, wish.attributes, wish.internal, wish.blackhole)
        path = self._own_paths.get(key)
        if path is None:
            path = self._own_paths[key] = self.rib.judge(self.local, wish.attributes)
            path.origination = wish
            if wish.blackhole:
                path.nexthops = ()
        return path

    def _forget_own_paths(self) -> None:
        """Drop the local paths of which no prefix is left."""
        used = {id(path) for table in self.local.tables.values() for path in table.values()}
        self._own_paths = {k: p for k, p in self._own_paths.items() if id(p) in used}

    def _drop(self, name: PeerName) -> None:
        gone = self.peers.pop(name)
        gone.places.fold(self.rib)
        self._leave(gone)
        for family, table in gone.adj_in.tables.items():
            self.rib.forget(gone.adj_in, family, list(table))

    # --- what happens on sessions -------------------------------------------------------------------

    def session_up(self, name: PeerName, negotiated: Negotiated, now: float) -> None:
        """A session is established: its peer gets our table, and its stale paths a chance (RFC 4724 §4.2)."""
        state = self.peers.get(name)
        if state is None:
            return
        self._leave(state)
        state.state, state.since, state.negotiated = SessionState.ESTABLISHED, now, negotiated
        router_id = quad(negotiated.router_id)
        if state.adj_in.source.router_id != router_id:
            state.adj_in.source.router_id = router_id
            self._reconsider(state)
        state.adj_in.over.clear()
        state.ended, state.owed = set(), set(negotiated.families)
        state.heard |= set(state.peer.families) - state.owed
        self.seeds.due = True
        state.attempt = ""
        self._judge_stale(state, negotiated, now)
        self._joining.append(name)

    def _judge_stale(self, state: PeerState, negotiated: Negotiated, now: float) -> None:
        """Keep the stale paths of families that the peer still forwards for; the rest goes at once."""
        restart = negotiated.restart
        for family in list(state.adj_in.stale):
            lost = restart is None or (restart.restarting and family not in restart.forwarding)
            if family not in negotiated.families or lost:
                self._sweep(state, family)
        if state.adj_in.stale:
            wanted = state.peer.graceful_restart
            state.stale_until = now + (wanted.stale_time if wanted else OWN_RESTART_STALE)

    def session_down(self, name: PeerName, down: SessionDown, now: float) -> None:
        """A session is lost: its paths go, or stay as stale where graceful restart covers the loss."""
        state = self.peers.get(name)
        if state is None:
            return
        was_up = state.established
        self._leave(state)
        state.state, state.last_down = SessionState.CONNECT, down
        if not was_up:
            return
        state.since, state.down_at, state.flaps = now, now, state.flaps + 1
        kept = families_kept(state, down)
        restart = state.negotiated.restart if state.negotiated else None
        for family in list(state.adj_in.stale):
            # A second loss before End-of-RIB: what the peer did not announce in between goes (RFC 4724 §4.2).
            self._sweep(state, family)
        self._mark_stale(state, kept, now + (restart.restart_time if restart else 0))

    def speaker_died(self, now: float) -> None:
        """Our own speaker is gone and all sessions with it: everything stays, as stale, until it is relearned."""
        self.restarted = now
        down = SessionDown(reason="the speaker process ended; it is being restarted")
        for state in self.peers.values():
            was_up = state.established
            self._leave(state)
            state.state, state.last_down = SessionState.CONNECT, down
            if was_up:
                state.since, state.down_at, state.flaps = now, now, state.flaps + 1
                self._mark_stale(state, tuple(Family), now + OWN_RESTART_STALE)

    def session_replaced(self, name: PeerName, now: float) -> None:
        """We reset a session ourselves because its parameters changed: its paths stay until it is back."""
        state = self.peers.get(name)
        if state is not None and state.established:
            self._leave(state)
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
        self._leave(state)
        state.state, state.attempt = SessionState.IDLE, ""
        state.last_down = SessionDown(reason=words, sent=(NoticeCode.CEASE, subcode))
        self._mark_stale(state, (), now)

    def _mark_stale(self, state: PeerState, kept: tuple[Family, ...], until: float) -> None:
        state.places.fold(self.rib)
        for family, table in state.adj_in.tables.items():
            if family in kept:
                state.adj_in.stale[family] = set(table)
            else:
                state.adj_in.stale.pop(family, None)
                self.rib.forget(state.adj_in, family, list(table))
        state.adj_in.stale = {f: s for f, s in state.adj_in.stale.items() if s}
        state.stale_until = until if state.adj_in.stale else None

    def _sweep(self, state: PeerState, family: Family) -> None:
        """Remove what is still stale in a family."""
        self.rib.forget(state.adj_in, family, state.adj_in.stale.pop(family, set()).copy())
        if not state.adj_in.stale:
            state.stale_until = None

    def end_of_rib(self, state: PeerState, family: Family) -> None:
        """The peer's initial table of a family is complete (RFC 4724 §2)."""
        state.end(family)
        self.seeds.due = True
        self._sweep(state, family)

    def refresh(self, name: PeerName) -> None:
        """The peer asks for our table again (RFC 2918)."""
        self._joining.append(name)

    def tick(self, now: float) -> None:
        """Time passes: stale paths whose time is over go."""
        for state in self.peers.values():
            if state.stale_until is not None and now >= state.stale_until:
                for family in list(state.adj_in.stale):
                    self._sweep(state, family)

    # --- when everything is known -------------------------------------------------------------------

    def waiting_for(self, now: float) -> list[str]:
        """What is missing before anything may be removed from the kernel; empty when in sync (law 2)."""
        if not self.inventory_complete:
            return ["the inventory has not been listed"]
        if now - self.restarted >= self.deferral:
            return []
        silent = [self.pending] if self.pending else []
        silent += [f"no router was heard on {name} yet" for name in sorted(self.undiscovered)]
        return silent + [
            f"{state.peer.name} has not sent its whole table"
            for state in self.peers.values()
            if state.is_silent
        ]

    # --- consequences ---------------------------------------------------------------------------------

    def flush(self, now: float) -> Effects:
        """Decide what has changed and hand over all consequences."""
        self.seeds.sow(self.rib, self.peers, now)
        effects = Effects()
        everything = self.rib.decide()
        for name in self._moved_elsewhere():
            # First of all: what has been decided is not for them in the words of their old rules.
            effects.tells += self._join(name)
        for family, decided in everything.items():
            effects.fib[family] = decided.kernel
            for out in self._outs.values():
                # Others' routes do not concern peers to whom we pass none on: on most nodes, all peers.
                if decided.own or self.passes_on_to(out.rules):
                    effects.tells += out.follow(family, decided)
        joining, self._joining = self._joining, []
        for name in dict.fromkeys(joining):
            effects.tells += self._join(name)
        effects.tells += self._ends(now)
        return effects

    def export_rules(self, name: PeerName, negotiated: Negotiated) -> ExportRules:
        """The rules of what a peer is told over a session; peers of equal rules are told alike."""
        return self._rules(self.peers[name], negotiated)

    def passes_on_to(self, rules: ExportRules) -> bool:
        """Whether peers of these rules may be told others' routes at all, given the peers that there are."""
        return bool(sources(rules, self._kinds, self._passed_on))

    def _moved_elsewhere(self) -> list[PeerName]:
        """The peers that follow an Adj-RIB-Out whose rules are not theirs any more."""
        if not self._rules_changed:
            return []
        self._rules_changed = False
        return [
            name
            for name, state in self.peers.items()
            if state.out is not None
            and state.negotiated is not None
            and state.out.rules != self._rules(state, state.negotiated)
        ]

    def _join(self, name: PeerName) -> list[Tell]:
        """Let a peer follow the Adj-RIB-Out of its rules; the whole table that it is owed first."""
        state = self.peers.get(name)
        if state is None or not state.established or state.negotiated is None:
            return []
        before, rules = state.out, self._rules(state, state.negotiated)
        if before is not None and before.rules == rules:
            # A refresh: the peer follows this table already, and nothing of it is withdrawn.
            out, before = before, None
        else:
            self._leave(state)
            out = state.out = self._out(rules)
            out.members.add(name)
        tells = (out.whole(family, name, before) for family in state.negotiated.families)
        return [tell for tell in tells if tell.announced or tell.withdrawn]

    def _out(self, rules: ExportRules) -> AdjRibOut:
        """The Adj-RIB-Out of these rules, made of the Loc-RIB if it is not there yet."""
        out = self._outs.get(rules)
        if out is None:
            out = self._outs[rules] = AdjRibOut(rules, self.rib.classes)
            for family in out.tables:
                out.fill(family, self._tellable(rules, family))
        return out

    def _tellable(self, rules: ExportRules, family: Family) -> Mapping[Nlri, Selection]:
        """The part of the Loc-RIB that peers of these rules may be told: often only what is our own."""
        loc = self.rib.loc[family]
        if self.passes_on_to(rules):
            return loc
        return {nlri: loc[nlri] for nlri in self.local.tables[family] if nlri in loc}

    def _ends(self, now: float) -> list[Tell]:
        """End-of-RIB for those who are owed it and for whom our table is whole."""
        owed = [s for s in self.peers.values() if s.owed and s.out is not None]
        if not owed or not self.inventory_complete:
            return []
        given_up = now - self.restarted >= self.deferral
        if self.pending and not given_up:
            return []
        unfinished = Counter[PeerKind]() if given_up else unfinished_kinds(self.peers.values())
        tells = []
        for state in owed:
            if state.out is None:
                continue
            name, rules = state.peer.name, state.out.rules
            passed_on = sources(rules, self._kinds, self._passed_on)
            if is_whole_for(state, unfinished, passed_on):
                tells += [
                    Tell(peers=(name,), rules=rules, family=family, end_of_rib=True)
                    for family in sorted(state.owed)
                ]
                state.owed.clear()
        return tells

    def _leave(self, state: PeerState) -> None:
        if state.out is not None:
            state.out.members.discard(state.peer.name)
            if not state.out.members:
                self._outs.pop(state.out.rules, None)
            state.out = None

    def _rules(self, state: PeerState, negotiated: Negotiated) -> ExportRules:
        peer = state.peer
        own = {**self._own_nexthops, family_of(peer.local_address): peer.local_address.packed}
        if negotiated.extended_nexthop and family_of(peer.local_address) is Family.IPV6:
            # The peer may have no IPv4 address at all; ours of this session it can reach (RFC 8950).
            own[Family.IPV4] = own[Family.IPV6]
        return ExportRules(
            kind=peer.kind,
            internal=peer.internal,
            local_asn=peer.local_asn,
            router_id=quad(peer.router_id),
            cluster_id=quad(peer.cluster_id),
            nexthops=tuple((f, own[f]) for f in negotiated.families if f in own),
            extended_nexthop=negotiated.extended_nexthop,
            asn4=negotiated.asn4,
            message_size=negotiated.message_size,
            wish=state.rules.exports,
        )


def _is_service(path: Path) -> bool:
    """Whether a local path is that of a service's address."""
    return path.origination is not None and path.origination.kind is OriginClass.SERVICE
