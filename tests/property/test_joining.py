"""Whole tables told in slices: whatever happens between two of them, peers end with what telling it whole gives them.

On the way nobody is told anything twice, nor that a prefix is gone which it was never told, but who asked to be told
all again; and End-of-RIB comes when the last slice has been told, not before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from kroute.model.bgp import AsSegment, PeerKind, PeerName, SegmentType
from kroute.model.net import Family, Nlri
from kroute.model.policies import OriginClass
from kroute.plan.adj_out import Tell
from kroute.plan.joining import SWITCH
from kroute.plan.policy import EVERYTHING, ExportWish, ImportRules, PeerRules
from kroute.plan.routing import Routing
from support.policies import policy
from support.routing import (
    BOTH,
    OWN_NEXTHOPS,
    SELF,
    V4,
    V6,
    Listener,
    attributes,
    kernel,
    n,
    packed,
    peer,
)

CLUSTER = "10.0.0.9"
PREFIXES = [
    *((V4, n(f"10.{i}.0.0/16")) for i in range(9)),
    *((V6, n(f"fd00:{i}::/32")) for i in range(1, 4)),
]
PEERS = [peer(i, PeerKind.CLIENT, cluster_id=CLUSTER) for i in range(2, 7)]
"""The first three tell; all listen. n5 and n6 have equal rules unless they are changed."""
EXPORTS = [
    ExportWish(announce=frozenset(OriginClass), policy=found)
    for found in (
        None,
        policy("{name: a, match: {prefixes: [{prefix: 10.0.0.0/13, ge: 16}]}, then: reject}"),
        policy("{name: a, match: {communities: ['64512:1']}, set: {med: 9}, then: accept}"),
    )
]

some_prefixes = st.lists(st.sampled_from(PREFIXES), min_size=1, max_size=5, unique=True)
teller = st.integers(0, 2)
anybody = st.integers(0, 4)
slices = st.tuples(st.just("slice"), st.integers(1, 2))
events = st.one_of(
    st.tuples(
        st.just("announce"),
        teller,
        st.sampled_from([(), (64512 << 16 | 1,)]),
        st.sampled_from([100, 200]),
        some_prefixes,
    ),
    st.tuples(st.just("withdraw"), teller, some_prefixes),
    st.tuples(st.just("up"), anybody, st.sampled_from([(), BOTH, (V4,)])),
    st.tuples(st.just("down"), anybody),
    st.tuples(st.just("refresh"), anybody),
    st.tuples(st.just("govern"), anybody, st.sampled_from(EXPORTS)),
    slices,
    slices,
    slices,
)


class Attentive(Listener):
    """Notices whoever says to it what it knows, takes back what it has not, or calls whole what is not."""

    again: set[PeerName]
    """Who has asked to be told all again."""

    def flush(self, most: int | None = None) -> list[Tell]:
        effects = self.routing.flush(self.now, most)
        for tell in effects.tells:
            for name in tell.peers:
                self._listen(name, tell)
        return effects.tells

    def _listen(self, name: PeerName, tell: Tell) -> None:
        state = self.routing.peers[name]
        assert state.established
        known = self.told.setdefault(name, {f: {} for f in Family})[tell.family]
        for found, entries in tell.announced:
            for entry in entries:
                assert name in self.again or known.get(entry) != found, "announced again"
                known[entry] = found
        for entry in tell.withdrawn:
            assert known.pop(entry, None) is not None, "withdrawn, but not announced"
        if tell.end_of_rib:
            assert state.out is not None
            whole = {
                entry: found
                for entry, (found, source) in state.out.entries(tell.family).items()
                if source != name
            }
            assert known == whole, "not whole"
            self.ends.setdefault(name, []).append(tell.family)


class World:
    """A reflector and its clients."""

    def __init__(self) -> None:
        self.node = Attentive(Routing(now=0.0, legs=8, deferral=60.0))
        self.node.again = set()
        self.node.world(kernel(), replace(SELF, cluster_id=packed(CLUSTER)), OWN_NEXTHOPS)
        self.node.originate("10.200.0.0/16")
        rules = PeerRules(imports=ImportRules(acceptance=EVERYTHING), exports=EXPORTS[0])
        self.rules = dict.fromkeys((p.name for p in PEERS), rules)
        self.govern()
        for number in range(3):
            self.node.up(PEERS[number])
            self.node.end(PEERS[number])
            self.announces(number, (), 100, PREFIXES[number * 2 :])
        self.node.flush()

    def govern(self) -> None:
        self.node.routing.set_peers({p.name: p for p in PEERS}, self.rules, 0.0)

    def announces(
        self, number: int, communities: Any, pref: int, prefixes: list[tuple[Family, Nlri]]
    ) -> None:
        one, rib = PEERS[number], self.node.routing.rib
        adj_in = self.node.routing.peers[one.name].adj_in
        # Each teller's words are its own: what two peers say alike is told again when they change places.
        path = (AsSegment(SegmentType.AS_SEQUENCE, (65002 + number,)),)
        for family, hop in ((V4, f"192.0.2.{number + 2}"), (V6, f"2001:db8::{number + 2}")):
            found = attributes(hop, communities=communities, local_pref=pref, as_path=path)
            judged = rib.judge(adj_in, found)
            rib.learn(adj_in, family, judged, [nlri for f, nlri in prefixes if f is family])

    def does(self, event: tuple[Any, ...]) -> None:
        """One thing happens."""
        routing = self.node.routing
        one = PEERS[event[1]] if event[0] != "slice" else PEERS[0]
        up = routing.peers[one.name].established
        match event:
            case ("announce", number, communities, pref, prefixes) if up:
                self.announces(number, communities, pref, prefixes)
            case ("withdraw", _, prefixes):
                for family, nlri in prefixes:
                    routing.rib.forget(routing.peers[one.name].adj_in, family, [nlri])
            case ("up", _, several) if not up:
                self.node.up(one, add_path_send=several)
                self.node.end(one)
            case ("down", _):
                self.node.again.discard(one.name)
                self.node.down(one)
            case ("refresh", _) if up:
                self.node.again.add(one.name)
                routing.refresh(one.name)
            case ("govern", _, exports):
                self.rules[one.name] = replace(self.rules[one.name], exports=exports)
                self.govern()
            case ("slice", most):
                self.node.flush(most)

    def drain(self) -> None:
        """The slices that are left; nothing happens meanwhile."""
        rounds = 0
        while self.node.routing.is_busy:
            rounds += 1
            assert rounds <= 8 * len(PREFIXES) * len(PEERS), "it comes to no end"
            tells = self.node.flush(1)
            told = sum(len(e) for t in tells for _, e in t.announced) + sum(
                len(t.withdrawn) for t in tells
            )
            # Every path of a prefix may go to each of five groups of peers in words of its own.
            assert told <= SWITCH * len(PEERS) * 5


@settings(max_examples=300, deadline=None)
@given(st.lists(events, min_size=1, max_size=40))
def test_slices_of_tables_end_where_telling_them_whole_does(history: list[tuple[Any, ...]]) -> None:
    sliced, whole = World(), World()
    for event in history:
        sliced.does(event)
        if event[0] != "slice":
            whole.does(event)
            whole.node.flush()
    for world in (sliced, whole):
        # Who is away keeps the others from End-of-RIB, and may have gone before the last slice.
        for number in range(len(PEERS)):
            world.does(("up", number, ()))
        world.node.flush(1)
        world.drain()
    assert not sliced.node.routing.announcer.joinings.left
    for one in PEERS:
        for family in BOTH:
            assert sliced.node.heard(one.name, family) == whole.node.heard(one.name, family)
        assert sorted(sliced.node.ends.get(one.name, [])) == sorted(
            whole.node.ends.get(one.name, [])
        )
