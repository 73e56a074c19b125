"""What peers are told: each follows the Adj-RIB-Out of its export rules, which peers of equal rules share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from kroute.model.bgp import Negotiated, PeerKind, PeerName
from kroute.model.net import Family, Nlri, family_of
from kroute.plan.adj_in import AdjRibIn
from kroute.plan.adj_out import AdjRibOut, Tell
from kroute.plan.adj_out_paths import AdjRibOutPaths, PathIds
from kroute.plan.joining import Joining, Joinings, Stretch
from kroute.plan.peers import PeerState, is_whole_for, unfinished_kinds
from kroute.plan.policy import Classes, ExportRules, Several, quad, sources
from kroute.plan.rib import Decided, Rib


class Announcer:
    """The Adj-RIBs-Out, and who follows which. ``peers`` and ``local`` are :class:`~kroute.plan.routing.Routing`'s."""

    def __init__(self, peers: Mapping[PeerName, PeerState], rib: Rib, local: AdjRibIn) -> None:
        self.outs: dict[ExportRules, AdjRibOut] = {}
        self.rules_changed = False
        """Whether a peer may follow an Adj-RIB-Out whose rules are not its own any more."""
        self.kinds: set[PeerKind] = set()
        """Kinds of peers there are or have been: only of these can there be paths to pass on."""
        self.passed_on = False
        """Whether internal peers are, or have been, told what an external peer has told us."""
        self.own_nexthops: dict[Family, bytes] = {}
        self.ids = PathIds()
        self._peers = peers
        self._rib = rib
        self._local = local
        self._invited: list[PeerName] = []
        self.joinings = Joinings(rib)

    def invite(self, name: PeerName) -> None:
        """A peer is to be told the whole table, as soon as what has changed is decided."""
        self._invited.append(name)

    def reconsider(self) -> None:
        """What is known of a path's source changed: export rules must look at its paths again."""
        for out in self.outs.values():
            out.reconsider()

    def set_classes(self, classes: Classes) -> None:
        """Take over what prefixes are to this node."""
        for out in self.outs.values():
            out.classes = classes

    @property
    def asks_kind(self) -> bool:
        """Whether anybody's export rules ask what a prefix is to this node."""
        return any(out.rules.asks_kind for out in self.outs.values())

    def tell(self, everything: Mapping[Family, Decided], most: int | None = None) -> list[Tell]:
        """What has been decided, for those who follow; a slice of the whole tables for those who begin to. ``most``:
        how great a slice (:meth:`kroute.plan.joining.Joinings.advance`); None: all.
        """
        # First of all: what has been decided is not for them in the words of their old rules.
        self._move()
        tells: list[Tell] = []
        for family, decided in everything.items():
            for out in self.outs.values():
                # Others' routes do not concern peers to whom we pass none on: on most nodes, all peers.
                if decided.own or self.passes_on_to(out.rules):
                    tells += out.follow(family, decided)
        invited, self._invited = self._invited, []
        for name in dict.fromkeys(invited):
            self._join(name)
        return tells + self.joinings.advance(most)

    def passes_on_to(self, rules: ExportRules) -> bool:
        """Whether peers of these rules may be told others' routes at all, given the peers that there are."""
        return bool(sources(rules, self.kinds, self.passed_on))

    def _move(self) -> None:
        """Let peers that follow an Adj-RIB-Out whose rules are not theirs any more follow their own."""
        if not self.rules_changed:
            return
        self.rules_changed = False
        groups: dict[tuple[ExportRules, ExportRules, Joining | None], list[PeerState]] = {}
        for name, state in self._peers.items():
            if (out := state.out) is None or state.negotiated is None:
                continue
            rules = self.rules(state, state.negotiated)
            if out.rules != rules:
                key = out.rules, rules, self.joinings.of(name, out)
                groups.setdefault(key, []).append(state)
        for (old, new, joining), states in groups.items():
            self._move_to(new, states, self.outs[old], joining)

    def _move_to(
        self,
        rules: ExportRules,
        states: list[PeerState],
        before: AdjRibOut,
        joining: Joining | None,
    ) -> None:
        """Let peers that have been told alike so far follow other rules; they are told what differs."""
        names = {state.peer.name for state in states}
        again = names & joining.owed_again if joining is not None else set()
        for state in states:
            self.leave(state)
        known = (
            {family: table.copy() for family, table in before.words.items()}
            if joining is None
            else joining.told()
        )
        out = self._out(rules)
        for state in states:
            state.out = out
        out.members |= names
        self.joinings.begin(Joining(out, known), names).again |= again

    def _join(self, name: PeerName) -> None:
        """Let a peer follow the Adj-RIB-Out of its rules; it is owed the whole table."""
        state = self._peers.get(name)
        if state is None or not state.established or state.negotiated is None:
            return
        if state.out is not None:
            # A refresh: the peer follows its table already, and nothing of it is withdrawn.
            self.joinings.repeat(state.out, name)
            return
        out = state.out = self._out(self.rules(state, state.negotiated))
        out.members.add(name)
        self.joinings.begin(Joining(out), [name])

    def _out(self, rules: ExportRules) -> AdjRibOut:
        """The Adj-RIB-Out of these rules, to be made of the Loc-RIB if it is not there yet."""
        out = self.outs.get(rules)
        if out is None:
            out = self.outs[rules] = self.made(rules)
            out.unfilled.extend(Stretch(f, self._tellable(rules, f)) for f in out.tables)
        return out

    def made(self, rules: ExportRules) -> AdjRibOut:
        """An empty Adj-RIB-Out; only rules that tell several paths have to do with rivals and identifiers."""
        classes = self._rib.classes
        if rules.several is None:
            return AdjRibOut(rules, classes)
        return AdjRibOutPaths(rules, classes, rules.several, self._rib.rivals, self.ids)

    def _tellable(self, rules: ExportRules, family: Family) -> list[Nlri]:
        """The prefixes of the Loc-RIB that peers of these rules may be told: often only what is our own."""
        return list((self._rib.loc if self.passes_on_to(rules) else self._local.tables)[family])

    def ends(self, *, given_up: bool) -> list[Tell]:
        """End-of-RIB for those who are owed it and for whom our table is whole; ``given_up``: nobody is waited for."""
        owed = [s for s in self._peers.values() if s.owed and s.out is not None]
        if not owed:
            return []
        unfinished = Counter[PeerKind]() if given_up else unfinished_kinds(self._peers.values())
        tells = []
        for state in owed:
            if state.out is None or state.awaits_table:
                continue
            name, rules = state.peer.name, state.out.rules
            passed_on = sources(rules, self.kinds, self.passed_on)
            if is_whole_for(state, unfinished, passed_on):
                tells += [
                    Tell(peers=(name,), rules=rules, family=family, end_of_rib=True)
                    for family in sorted(state.owed)
                ]
                state.owed.clear()
        return tells

    def leave(self, state: PeerState) -> None:
        """A peer follows no Adj-RIB-Out any more; one that nobody follows is dropped."""
        if (out := state.out) is not None:
            self.joinings.leave(out, state.peer.name)
            out.members.discard(state.peer.name)
            if not out.members:
                self.outs.pop(out.rules, None)
                self.joinings.discard(out.scraps)
            state.out = None

    def rules(self, state: PeerState, negotiated: Negotiated) -> ExportRules:
        """The rules of what a peer is told over a session; peers of equal rules are told alike."""
        peer = state.peer
        own = {**self.own_nexthops, family_of(peer.local_address): peer.local_address.packed}
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
            several=Several(
                families=negotiated.add_path_send,
                select=peer.add_path_select,
                most=peer.add_path_max,
            )
            if negotiated.add_path_send
            else None,
        )
