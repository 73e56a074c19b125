"""Stored announcements judged again in slices: whatever happens in between, the end is that of one whole review,
what arrives meanwhile is judged by the newest rules, and neither the kernel nor a peer is told anything twice.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from kroute.model.bgp import AsSegment, Attributes, Peer, PeerKind, SegmentType
from kroute.model.fib import Nexthops
from kroute.model.net import Family, Nlri
from kroute.model.policies import OriginClass, OriginState
from kroute.model.reason import Reason, Why
from kroute.plan.adj_out import Tell
from kroute.plan.policy import (
    UNCHECKED,
    Classes,
    ExportWish,
    ImportRules,
    OriginCheck,
    OriginVerdict,
    PeerRules,
)
from kroute.plan.routing import Routing
from support.policies import policy
from support.routing import (
    BOTH,
    OWN_NEXTHOPS,
    V4,
    V6,
    Checked,
    Listener,
    attributes,
    connected,
    kernel,
    kernel_route,
    n,
    packed,
    peer,
)

PREFIXES = [
    *((V4, n(f"10.{i}.0.0/16")) for i in range(12)),
    *((V6, n(f"fd00:{i}::/32")) for i in range(1, 5)),
]
TELLERS = [peer(2, PeerKind.EXTERNAL), peer(3, PeerKind.EXTERNAL), peer(4, PeerKind.CLIENT)]
LISTENER = peer(5, PeerKind.CLIENT)
PEERS = {p.name: p for p in (*TELLERS, LISTENER)}
IMPORTS = [
    None,
    policy("{name: a, then: reject}"),
    policy("{name: a, match: {prefixes: [{prefix: 10.0.0.0/13, ge: 16}]}, then: reject}"),
    policy("{name: a, match: {communities: ['64512:1']}, set: {localPref: 200}, then: accept}"),
    policy("{name: a, match: {originClass: [peerPods]}, set: {med: 7, metric: 300}, then: accept}"),
    policy("{name: a, match: {origin: [invalid]}, then: reject}"),
]
CLASSES = [
    Classes(),
    Classes(me="n1", owners=dict.fromkeys(PREFIXES[:5], "n2")),
    Classes(me="n1", owners=dict.fromkeys(PREFIXES[3:9], "n3")),
]
INVALID = OriginVerdict(OriginState.INVALID, Reason(Why.NOT_ACCEPTED, "says the test"))
CHECKS: list[OriginCheck] = [
    UNCHECKED,
    Checked(frozenset(PEERS), dict.fromkeys(PREFIXES[::2], INVALID)),
    Checked(frozenset(PEERS), dict.fromkeys(PREFIXES[::3], OriginVerdict(OriginState.VALID))),
]
KERNELS = [
    kernel(),
    kernel(connected("192.0.2.0/24", oif=2)),
    kernel(connected("192.0.2.0/30"), kernel_route("192.0.2.4/32", gateway=packed("192.0.2.1"))),
]

blocks = st.builds(
    attributes,
    st.sampled_from(["192.0.2.2", "192.0.2.3", "192.0.2.4"]),
    st.sampled_from([65002, 65003]),
    med=st.sampled_from([None, 5]),
    communities=st.sampled_from([(), (64512 << 16 | 1,)]),
)
events = st.one_of(
    st.tuples(st.just("govern"), st.integers(0, 2), st.sampled_from(IMPORTS)),
    st.tuples(st.just("classify"), st.sampled_from(CLASSES)),
    st.tuples(st.just("check"), st.sampled_from(CHECKS)),
    st.tuples(st.just("world"), st.sampled_from(KERNELS)),
    st.tuples(
        st.just("announce"),
        st.integers(0, 2),
        blocks,
        st.lists(st.sampled_from(PREFIXES), min_size=1, max_size=4),
    ),
    st.tuples(
        st.just("withdraw"), st.integers(0, 2), st.lists(st.sampled_from(PREFIXES), max_size=4)
    ),
    st.tuples(st.just("slice"), st.integers(1, 6)),
    st.tuples(st.just("slice"), st.integers(1, 6)),
)


class Attentive(Listener):
    """Notices whoever says to it what it knows, or takes back what it has not. A kernel whose networks have changed may
    be told a route again: it takes that for no change.
    """

    networks_changed = False

    def flush(self, most: int | None = None) -> list[Tell]:
        before = {f: dict(t) for f, t in self.fib.items()}
        effects = self.routing.flush(self.now, most)
        for family, changes in effects.fib.items():
            for nlri, legs in changes.items():
                new = self.networks_changed or legs != before[family].get(nlri)
                assert new, "the kernel is told what it has"
                _put(self.fib[family], nlri, legs)
        for tell in effects.tells:
            for name in tell.peers:
                known = self.told.setdefault(name, {f: {} for f in Family})[tell.family]
                for nlri in tell.withdrawn:
                    assert known.pop(nlri, None) is not None, "withdrawn, but not announced"
                for found, nlris in tell.announced:
                    for nlri in nlris:
                        assert known.get(nlri) != found, "announced again"
                        known[nlri] = found
        return effects.tells


def _put(table: dict[Nlri, Nexthops], nlri: Nlri, legs: Nexthops | None) -> None:
    if legs is None:
        table.pop(nlri, None)
    else:
        table[nlri] = legs


class World:
    """A node with three peers that tell and one that listens; all that it was told, to tell it again."""

    def __init__(self) -> None:
        self.rules = dict.fromkeys(
            PEERS, PeerRules(exports=ExportWish(announce=frozenset(OriginClass)), pass_on=True)
        )
        self.node = Attentive(Routing(now=0.0, legs=8, deferral=60.0))
        self.node.world(kernel(), own=OWN_NEXTHOPS)
        self.node.originate()
        self.govern()
        for one in PEERS.values():
            self.node.up(one)
        self.node.flush()

    def govern(self) -> None:
        self.node.routing.set_peers(PEERS, self.rules, self.node.now)

    def does(self, event: tuple[Any, ...]) -> None:
        """One thing happens."""
        routing = self.node.routing
        match event:
            case ("govern", number, found):
                name = TELLERS[number].name
                rules = self.rules[name]
                self.rules[name] = PeerRules(
                    imports=ImportRules(policy=found), exports=rules.exports, pass_on=rules.pass_on
                )
                self.govern()
            case ("classify", classes):
                routing.set_classes(classes)
            case ("check", check):
                routing.set_origin_check(check)
            case ("world", state):
                self.node.networks_changed = True
                self.node.world(state, own=OWN_NEXTHOPS)
            case ("announce", number, found, prefixes):
                # Each teller's words are its own: what two peers say alike is told again when they change places.
                own = AsSegment(SegmentType.AS_SEQUENCE, (65002 + number,))
                path = replace(found, as_path=(own, *found.as_path[1:]))
                self._announces(TELLERS[number], path, prefixes)
            case ("withdraw", number, prefixes):
                adj_in = routing.peers[TELLERS[number].name].adj_in
                for family, nlri in prefixes:
                    routing.rib.forget(adj_in, family, [nlri])
            case ("slice", most):
                self.node.flush(most)

    def _announces(
        self, teller: Peer, found: Attributes, prefixes: list[tuple[Family, Nlri]]
    ) -> None:
        rib, adj_in = self.node.routing.rib, self.node.routing.peers[teller.name].adj_in
        for family in BOTH:
            path = rib.judge(adj_in, found)
            rib.learn(adj_in, family, path, [k for f, k in prefixes if f is family])

    def verdicts(self) -> dict[Any, Any]:
        """What is stored of every announcement, and what has come of it."""
        rib = self.node.routing.rib
        return {
            (path.source.name, family, nlri): (
                path.attributes,
                path.outcome,
                path.refusal,
                path.nexthops,
            )
            for family, table in rib.candidates.items()
            for nlri in table
            for path in rib.rivals(family, nlri)
        }


@settings(max_examples=150, deadline=None)
@given(st.lists(events, min_size=1, max_size=40))
def test_slices_of_a_review_end_where_a_whole_one_does(history: list[tuple[Any, ...]]) -> None:
    sliced, whole = World(), World()
    for one in PREFIXES:
        for number in range(3):
            start = ("announce", number, attributes(f"192.0.2.{number + 2}", 65002), [one])
            sliced.does(start)
            whole.does(start)
    for world in (sliced, whole):
        world.node.flush()
    for event in history:
        sliced.does(event)
        if event[0] != "slice":
            whole.does(event)
            whole.node.flush()
    while sliced.node.routing.rib.review.going_on:
        sliced.node.flush(1)
    sliced.node.flush(1)
    assert sliced.verdicts() == whole.verdicts()
    assert sliced.node.fib == whole.node.fib
    for name in PEERS:
        for family in BOTH:
            assert sliced.node.heard(name, family) == whole.node.heard(name, family)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(events, max_size=10),
    st.sampled_from(IMPORTS),
    blocks,
    st.lists(st.sampled_from(PREFIXES), min_size=1, max_size=6, unique=True),
)
def test_what_arrives_during_a_review_is_judged_by_the_newest_rules(
    history: list[tuple[Any, ...]], rules: Any, found: Attributes, prefixes: list[Any]
) -> None:
    world, fresh = World(), World()
    for event in history:
        world.does(event)
        if event[0] not in ("announce", "withdraw", "slice"):
            fresh.does(event)
    for one in (world, fresh):
        one.does(("govern", 0, rules))
        one.does(("announce", 0, found, prefixes))
    before, after = world.verdicts(), fresh.verdicts()
    for family, nlri in prefixes:
        key = (TELLERS[0].name, family, nlri)
        assert before[key] == after[key]


def test_the_end_of_a_table_gets_its_turn_however_often_the_rules_change() -> None:
    world = World()
    for one in PREFIXES:
        world.does(("announce", 0, attributes("192.0.2.2", 65002), [one]))
    world.node.flush()
    judged = set()
    for number in range(len(PREFIXES)):
        world.does(("govern", 0, IMPORTS[3 + number % 2]))
        before = world.node.routing.rib.review.left
        world.node.flush(2)
        assert world.node.routing.rib.review.left == before - 2
        jobs = world.node.routing.rib.review._jobs.values()
        judged |= {k for (job,) in jobs for k in job.keys[: job.done]}
    assert judged == {nlri for _, nlri in PREFIXES}
