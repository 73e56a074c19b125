"""Several paths told to peers (RFC 7911, send): a receiver that reads our octets holds exactly the wanted set.

Whatever happens to the paths, to the sessions, to policies and limits, at every rest each peer knows what a plain
reading of the rules says it should, by identifiers that have kept their meaning; and on the way there it is never
without a path to a prefix that it had one of before and has one of after.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from kroute.codec.bgp import UpdateDecoder
from kroute.codec.config import parse_config
from kroute.daemon.words import encode
from kroute.model.bgp import Attributes, Origin, Peer, PeerKind, PeerName
from kroute.model.net import Family, Nlri
from kroute.model.session_keys import PathSelect
from kroute.plan.adj_out import Tell
from kroute.plan.decision import EQUAL
from kroute.plan.paths import Path
from kroute.plan.policy import EVERYTHING, ExportWish, ImportRules, PeerRules, exported
from kroute.plan.policy.compile import Bound, compiled
from kroute.plan.routing import Routing
from support.routing import (
    ASN,
    BOTH,
    LOST,
    OWN_NEXTHOPS,
    SELF,
    V4,
    V6,
    Listener,
    attributes,
    kernel,
    n,
    negotiated,
    packed,
    peer,
)

CLUSTER = "10.0.0.9"
PREFIXES = {V4: ["10.0.0.0/32", "10.0.1.0/24"], V6: ["fd00:1::/64"]}
HOPS = {V4: ["192.0.2.3", "192.0.2.4", "192.0.2.5"], V6: ["2001:db8::3", "2001:db8::4"]}
NUMBERS = range(2, 7)
POLICY = """
policies:
- name: out
  rules:
  - {name: a, match: {communities: ["64512:1"]}, then: reject}
  - {name: b, match: {family: ipv6}, set: {med: 7}, then: accept}
"""
EXPORTS = [
    ExportWish(),
    ExportWish(
        policy=compiled(parse_config(POLICY).policies[0], {}, Bound(names=frozenset(), prepend=ASN))
    ),
]

any_number = st.sampled_from(NUMBERS)
any_family = st.sampled_from(BOTH)
any_id = st.integers(1, 3)


@st.composite
def any_announcement(draw: st.DrawFn) -> tuple[Family, list[str], Attributes]:
    family = draw(any_family)
    prefixes = draw(st.lists(st.sampled_from(PREFIXES[family]), min_size=1, unique=True))
    found = attributes(
        draw(st.sampled_from(HOPS[family])),
        local_pref=draw(st.sampled_from([100, 100, 100, 200])),
        med=draw(st.sampled_from([None, None, 5])),
        origin=draw(st.sampled_from([Origin.IGP, Origin.IGP, Origin.EGP])),
        communities=draw(st.sampled_from([(), (), (64512 << 16 | 1,)])),
    )
    return family, prefixes, found


@st.composite
def any_peer(draw: st.DrawFn, number: int) -> Peer:
    return peer(
        number,
        draw(st.sampled_from([PeerKind.CLIENT, PeerKind.CLIENT, PeerKind.MESH])),
        cluster_id=CLUSTER,
        add_path_select=draw(st.sampled_from(PathSelect)),
        add_path_max=draw(st.sampled_from([1, 2, 8])),
    )


Key = tuple[bytes, Nlri]


@dataclass
class Receiver:
    """A peer that reads what we send as RFC 7911 and RFC 4271 have it."""

    decoder: UpdateDecoder[Attributes]
    several: tuple[Family, ...]
    table: dict[Family, dict[Key, Attributes]] = field(
        default_factory=lambda: {f: {} for f in Family}
    )

    def hear(self, octets: bytes) -> Iterator[dict[Family, set[Nlri]]]:
        """Read messages one after the other; the prefixes that are known after each."""
        while octets:
            size = int.from_bytes(octets[16:18], "big")
            for family, found, entries in self.decoder.decode(octets[19:size]).steps:
                for entry in entries:
                    key = (entry[:4], entry[4:]) if family in self.several else (b"", entry)
                    if found is None:
                        gone = self.table[family].pop(key, None)
                        assert gone is not None or not key[0], "a path that it was never told"
                    else:
                        self.table[family][key] = found
            octets = octets[size:]
            yield self.prefixes()

    def prefixes(self) -> dict[Family, set[Nlri]]:
        return {f: {nlri for _, nlri in table} for f, table in self.table.items()}


class Telling(RuleBasedStateMachine):
    """A reflector and five peers, some of which are told several paths, and some tell several."""

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        routing = Routing(now=0.0, legs=data.draw(st.sampled_from([1, 8])), deferral=60.0)
        self.listener = Listener(routing)
        self.listener.world(kernel(), replace(SELF, cluster_id=packed(CLUSTER)), OWN_NEXTHOPS)
        self.receivers: dict[PeerName, Receiver] = {}
        self.ids: dict[bytes, str] = {}
        self.exports = EXPORTS[0]
        self.peers = {p.name: p for p in (data.draw(any_peer(i)) for i in NUMBERS)}
        self.configure()
        for number in NUMBERS:
            self.up(number, data)
            family, prefixes, found = data.draw(any_announcement())
            self.announce(number, (family, prefixes, found), 1)

    def configure(self) -> None:
        rules = PeerRules(imports=ImportRules(acceptance=EVERYTHING), exports=self.exports)
        self.listener.routing.set_peers(self.peers, dict.fromkeys(self.peers, rules), 0.0)

    def of(self, number: int) -> Peer:
        return self.peers[PeerName(f"node/n{number}")]

    def is_up(self, number: int) -> bool:
        return self.of(number).name in self.receivers

    # --- what may happen ---------------------------------------------------------------------------

    @rule(number=any_number, data=st.data())
    def up(self, number: int, data: st.DataObject) -> None:
        if self.is_up(number):
            return
        found, sends = self.of(number), data.draw(st.sampled_from([BOTH, BOTH, (V4,), ()]))
        agreed = negotiated(
            found,
            add_path=data.draw(st.sampled_from([BOTH, ()])),
            add_path_send=sends,
            message_size=data.draw(st.sampled_from([4096, 130])),
        )
        self.listener.routing.session_up(found.name, agreed, self.listener.now)
        theirs = replace(agreed, add_path=sends)
        decoder = UpdateDecoder[Attributes](theirs, internal=True, make=lambda _, a: a)
        self.receivers[found.name] = Receiver(decoder, sends)

    @rule(number=any_number)
    def down(self, number: int) -> None:
        if self.is_up(number):
            del self.receivers[self.of(number).name]
            self.listener.routing.session_down(self.of(number).name, LOST, self.listener.now)

    @rule(number=any_number, said=any_announcement(), path_id=any_id)
    def announce(
        self, number: int, said: tuple[Family, list[str], Attributes], path_id: int
    ) -> None:
        if not self.is_up(number):
            return
        family, prefixes, found = said
        state, rib = self.listener.routing.peers[self.of(number).name], self.listener.routing.rib
        path = rib.judge(state.adj_in, found)
        assert state.negotiated is not None
        if family in state.negotiated.add_path:
            key = path_id.to_bytes(4, "big")
            state.places.learn(rib, family, path, [key + n(p) for p in prefixes])
        else:
            rib.learn(state.adj_in, family, path, [n(p) for p in prefixes])

    @rule(number=any_number, family=any_family, data=st.data(), path_id=any_id)
    def withdraw(self, number: int, family: Family, data: st.DataObject, path_id: int) -> None:
        if not self.is_up(number):
            return
        prefix = n(data.draw(st.sampled_from(PREFIXES[family])))
        state, rib = self.listener.routing.peers[self.of(number).name], self.listener.routing.rib
        assert state.negotiated is not None
        if family in state.negotiated.add_path:
            state.places.forget(rib, family, [path_id.to_bytes(4, "big") + prefix])
        else:
            rib.forget(state.adj_in, family, [prefix])

    @rule(prefixes=st.lists(st.sampled_from(PREFIXES[V4]), unique=True))
    def originate(self, prefixes: list[str]) -> None:
        self.listener.originate(*prefixes)

    @rule(number=any_number, select=st.sampled_from(PathSelect), most=st.sampled_from([1, 2, 8]))
    def choose(self, number: int, select: PathSelect, most: int) -> None:
        """Which and how many are told changes; the session does not notice."""
        found = self.of(number)
        self.peers[found.name] = replace(found, add_path_select=select, add_path_max=most)
        self.configure()

    @rule(exports=st.sampled_from(EXPORTS))
    def govern(self, exports: ExportWish) -> None:
        self.exports = exports
        self.configure()

    @rule(number=any_number)
    def refresh(self, number: int) -> None:
        self.listener.routing.refresh(self.of(number).name)

    @rule(number=any_number, data=st.data())
    def forget(self, number: int, data: st.DataObject) -> None:
        """A peer goes out of the configuration and comes back as another one."""
        found = self.of(number)
        del self.peers[found.name]
        self.receivers.pop(found.name, None)
        self.configure()
        self.peers[found.name] = data.draw(any_peer(number))
        self.configure()

    # --- what must hold ----------------------------------------------------------------------------

    @precondition(lambda self: hasattr(self, "listener"))
    @rule()
    def look(self) -> None:
        before = {name: r.prefixes() for name, r in self.receivers.items()}
        on_the_way: dict[PeerName, list[dict[Family, set[Nlri]]]] = {}
        for tell in self.listener.flush():
            self.deliver(tell, on_the_way)
        for name, receiver in self.receivers.items():
            after = receiver.prefixes()
            for known in on_the_way.get(name, ()):
                for family in receiver.several:
                    assert before[name][family] & after[family] <= known[family]
            self.compare(name, receiver)

    def deliver(self, tell: Tell, seen: dict[PeerName, list[dict[Family, set[Nlri]]]]) -> None:
        octets = encode(tell)
        for name in tell.peers:
            seen.setdefault(name, []).extend(self.receivers[name].hear(octets))

    def compare(self, name: PeerName, receiver: Receiver) -> None:
        routing = self.listener.routing
        count = 0
        for family in BOTH:
            expected: dict[Key, Attributes] = {}
            for nlri in routing.rib.candidates[family]:
                for path, told in self.wanted(name, receiver, family, nlri):
                    source = f"{path.source.name}#{path.source.place}"
                    key = path.source.path_id if family in receiver.several else b""
                    assert not key or self.ids.setdefault(key, source) == source
                    expected[key, nlri] = told
            found = {k: normal(a) for k, a in receiver.table[family].items()}
            assert found == {k: normal(a) for k, a in expected.items()}
            count += len(expected)
        out = routing.peers[name].out
        assert out is not None
        assert out.count(name) == count
        assert {f: set(out.told(f, name)) for f in BOTH} == {
            f: {key + nlri for key, nlri in receiver.table[f]} for f in BOTH
        }

    def wanted(
        self, name: PeerName, receiver: Receiver, family: Family, nlri: Nlri
    ) -> list[tuple[Path, Attributes]]:
        """The rules, read plainly and slowly."""
        routing, state = self.listener.routing, self.listener.routing.peers[name]
        assert state.negotiated is not None
        rules = routing.announcer.rules(state, state.negotiated)
        paths = [p for p in routing.rib.rivals(family, nlri) if p.eligible]
        if family not in receiver.several:
            selection = routing.rib.loc[family].get(nlri)
            paths = [] if selection is None else [selection.best]
            most, once = 1, False
        else:
            equal_only = state.peer.add_path_select is PathSelect.EQUAL
            paths, once = ordered(paths, equal_only), equal_only
            most = state.peer.add_path_max
        found: list[tuple[Path, Attributes]] = []
        for path in paths:
            told = exported(rules, path, family)
            hops = {a.nexthop for _, a in found}
            if told is not None and not (once and told.nexthop in hops):
                found.append((path, told))
        return [(p, told) for p, told in found[:most] if p.source.name != name]

    def teardown(self) -> None:
        if hasattr(self, "listener"):
            self.look()


def normal(found: Attributes) -> Attributes:
    """Attributes as they come out of the wire whatever order their lists were in."""
    return replace(found, communities=tuple(sorted(found.communities)))


def ordered(paths: list[Path], equal_only: bool) -> list[Path]:
    """Best first, by the attributes alone, as all of them come from internal peers on one link or from ourselves."""

    def quality(p: Path) -> tuple[Any, ...]:
        a = p.attributes
        return (-p.local_pref, len(a.as_path), a.origin, a.med or 0)

    def tie(p: Path) -> tuple[Any, ...]:
        a = p.attributes
        rank = (p.originator, len(a.cluster_list), p.source.address, p.source.name)
        return (*rank, a.nexthop, a.communities)

    mine = [p for p in paths if p.is_local]
    others = sorted((p for p in paths if not p.is_local), key=lambda p: (*quality(p), *tie(p)))
    if not mine:
        return [p for p in others if not equal_only or quality(p) == quality(others[0])]
    alike = [p for p in others if quality(p) == quality(mine[0])]
    return [*mine, *alike] + ([] if equal_only else [p for p in others if p not in alike])


def test_the_steps_that_make_paths_worse_are_those_that_the_model_knows() -> None:
    names = [step.__name__ for _, step in EQUAL]
    assert names == [
        "local",
        "announced",
        "local_pref",
        "as_path_length",
        "origin",
        "med",
        "external",
        "igp_metric",
    ]


Telling.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
test_every_receiver_holds_exactly_what_it_is_to_be_told = Telling.TestCase
