"""Any history of sessions, UPDATEs and changes of the world ends where one that starts from its result does.

The listener at one side is the kernel and the peers: it keeps what it was told, change by change. It is held to a
routing that is born into the final state and learns everything in one go (DESIGN, "two speeds"; law 1).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from kroute.codec.config import parse_config
from kroute.model.bgp import (
    Asn,
    Attributes,
    Negotiated,
    Origin,
    Peer,
    PeerKind,
    PeerName,
    SessionDown,
)
from kroute.model.kernel import KernelState
from kroute.model.net import Family
from kroute.model.policies import NexthopRule, OriginClass, OriginState
from kroute.model.reason import Reason, Why
from kroute.model.session_keys import PathSelect
from kroute.plan import resolve, rib
from kroute.plan.adj_out import AdjRibOut
from kroute.plan.decision import explain
from kroute.plan.paths import Multipath, Path, Selection
from kroute.plan.policy import (
    EVERYTHING,
    UNCHECKED,
    Acceptance,
    Classes,
    ExportWish,
    ImportRules,
    OriginCheck,
    OriginVerdict,
    PeerRules,
    Self,
)
from kroute.plan.policy.compile import Bound, compiled
from kroute.plan.policy.rules import Policy
from kroute.plan.routing import Routing
from support.routing import (
    ASN,
    BOTH,
    LOST,
    ME6,
    OWN_NEXTHOPS,
    SELF,
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
    restart,
    ruled,
)

PREFIXES = {
    V4: ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "0.0.0.0/0"],
    V6: ["fd00:1::/64", "fd00:2::/64"],
}
CLUSTER = "10.0.0.9"
SELVES = [
    SELF,
    Self(router_id=SELF.router_id, cluster_id=packed(CLUSTER), addresses=SELF.addresses),
    Self(router_id=packed("192.0.2.3"), cluster_id=b"", addresses=frozenset({packed("192.0.2.2")})),
]
KERNELS = [
    kernel(),
    kernel(connected("192.0.2.0/24", oif=2)),
    kernel(
        connected("192.0.2.0/29"),
        kernel_route("192.0.2.3/32", gateway=packed("192.0.2.4")),
        kernel_route("2001:db8::/64", gateway=packed("fe80::1"), oif=2),
    ),
    kernel(connected("198.51.100.0/24")),
]
OWN = [OWN_NEXTHOPS, {V6: ME6.packed}, OWN_NEXTHOPS | {V4: packed("192.0.2.11")}]
ACCEPTANCES = [
    EVERYTHING,
    Acceptance(exact=frozenset(), words="none"),
    Acceptance(
        exact=frozenset({(V4, n("10.0.0.0/24")), (V6, n("fd00:1::/64")), (V4, n("0.0.0.0/0"))}),
        words="some",
    ),
]


def policy(text: str, importing: bool) -> Policy:
    """The first policy of a configuration, for a peer in AS 65002."""
    config = parse_config(text).policies[0]
    to = Bound(names=frozenset({"node/n2"}), prepend=Asn(65002) if importing else ASN)
    return compiled(config, {}, to)


IMPORTS = [
    None,
    policy("policies: [{name: p, default: reject}]", True),
    policy(
        """
policies:
- name: by-block
  rules:
  - {name: a, match: {communities: ["64512:1"]}, set: {localPref: 200, weight: 3}, then: next}
  - {name: b, match: {asPath: {contains: [65002]}}, set: {prepend: {}, med: 1}, then: accept}
  - {name: c, match: {family: ipv6}, set: {communities: {add: [no-export]}}, then: accept}
""",
        True,
    ),
    policy(
        """
policies:
- name: by-prefix
  rules:
  - {name: a, match: {prefixes: [{prefix: 10.0.0.0/23, ge: 24}]}, set: {localPref: 150}, then: next}
  - {name: b, match: {originClass: [peerPods, default]}, set: {weight: 2}, then: accept}
  - {name: c, match: {origin: [valid]}, set: {communities: {add: ["64512:1"]}}, then: next}
  - {name: d, match: {prefixes: [{prefix: 10.0.1.0/24}]}, then: reject}
  - {name: e, match: {family: ipv4}, set: {nextHop: 192.0.2.3}, then: next}
""",
        True,
    ),
]
EXPORTS = [
    ExportWish(),
    ExportWish(announce=frozenset(), nexthop=NexthopRule.SELF),
    ExportWish(announce=frozenset(OriginClass), nexthop=NexthopRule.KEEP),
    ExportWish(announce=frozenset({OriginClass.OWN_PODS, OriginClass.PEER_PODS})),
    ExportWish(
        announce=frozenset({OriginClass.EXTERNAL, OriginClass.OWN_PODS}),
        policy=policy(
            """
policies:
- name: out
  rules:
  - {name: a, match: {originClass: [ownPods]}, set: {med: 4}, then: accept}
  - {name: b, match: {prefixes: [{prefix: 10.0.0.0/24}]}, then: reject}
  - {name: c, match: {origin: [invalid, valid]}, set: {prepend: {times: 2}}, then: next}
  - {name: d, match: {communities: ["64512:*"]}, set: {communities: {remove: ["64512:*"]}}, then: next}
""",
            False,
        ),
    ),
]
CLASSES = [
    Classes(),
    Classes(me="n1", owners={(V4, n("10.0.0.0/24")): "n2", (V6, n("fd00:1::/64")): "n1"}),
    Classes(me="n1", owners={(V4, n("10.0.0.0/24")): "n1", (V4, n("10.0.1.0/24")): "n3"}),
]

INVALID = OriginVerdict(
    OriginState.INVALID, Reason(Why.NOT_ACCEPTED, "somebody else's, says the test")
)
VALID = OriginVerdict(OriginState.VALID)
CHECKS: list[OriginCheck] = [
    UNCHECKED,
    Checked(frozenset({PeerName("node/n2"), PeerName("node/n3")})),
    Checked(
        frozenset({PeerName("node/n2"), PeerName("node/n3"), PeerName("node/n4")}),
        {(V4, n("10.0.0.0/24")): INVALID, (V4, n("10.0.1.0/24")): VALID},
    ),
    Checked(
        frozenset({PeerName("node/n2"), PeerName("node/n5")}),
        {(V4, n("10.0.0.0/24")): VALID, (V6, n("fd00:1::/64")): INVALID},
    ),
]


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """One value as often as not, so that paths are often equal in all but one thing."""
    return st.sampled_from([usual] * (len(others) + 2) + list(others))


any_prefix = st.sampled_from([(f, p) for f in BOTH for p in PREFIXES[f]])
any_attributes = st.builds(
    attributes,
    st.sampled_from(["192.0.2.4", "192.0.2.3", "192.0.2.2", "2001:db8::2", "192.0.2.1"]),
    mostly(65001, 65001, 65002, int(ASN)),
    local_pref=mostly(None, 200),
    med=mostly(None, 5, 10),
    origin=mostly(Origin.IGP, Origin.EGP),
    originator_id=mostly(None, SELF.router_id, packed("192.0.2.99")),
    cluster_list=mostly((), (packed(CLUSTER),), (packed("10.0.0.8"),)),
    communities=mostly((), (64512 << 16 | 1,), (0xFFFFFF01,)),
)
any_rules = st.builds(
    lambda accepted, imports, exports, pass_on: PeerRules(
        imports=ImportRules(acceptance=accepted, policy=imports), exports=exports, pass_on=pass_on
    ),
    mostly(*ACCEPTANCES),
    st.sampled_from(IMPORTS),
    st.sampled_from(EXPORTS),
    st.booleans(),
)
REMEMBERED = resolve.REMEMBERED
BULK = rib.BULK
NUMBERS = range(2, 6)
any_number = st.sampled_from(NUMBERS)


def usable(family: Family, found: Attributes) -> Attributes:
    """The attributes with a next hop that the family allows."""
    if family is V6 and len(found.nexthop) == 4:
        return attributes("2001:db8::3", *found.as_path[0].asns)
    return found


@st.composite
def any_peer(draw: st.DrawFn, number: int) -> Peer:
    return peer(
        number,
        draw(mostly(PeerKind.CLIENT, *PeerKind)),
        six=draw(st.booleans()),
        extended_nexthop=draw(st.booleans()),
        cluster_id=CLUSTER,
        add_path_select=draw(st.sampled_from(PathSelect)),
        add_path_max=draw(st.sampled_from([1, 8])),
    )


@st.composite
def any_session(draw: st.DrawFn, of: Peer) -> dict[str, Any]:
    families = draw(st.sampled_from([BOTH, BOTH, (V4,)]))
    graceful = restart(
        restarting=draw(st.booleans()),
        notification=draw(st.booleans()),
        families=families,
        forwarding=draw(st.sampled_from([families, ()])),
    )
    return {
        "families": families,
        "router_id": draw(st.sampled_from([f"192.0.2.{of.address.packed[-1]}", "192.0.2.77"])),
        "extended_nexthop": of.extended_nexthop and draw(st.booleans()),
        "restart": draw(st.sampled_from([graceful, graceful, None])),
        "add_path_send": draw(mostly((), families, families[:1])),
    }


def readable(selection: Selection) -> tuple[Any, ...]:
    """A selection without identities: best and used paths by source, and the kernel's legs."""
    used = selection.paths if isinstance(selection, Multipath) else (selection,)
    best = selection.best
    return (
        (best.source.name, best.attributes),
        {(p.source.name, p.attributes) for p in used},
        selection.nexthops,
    )


def picture(listener: Listener) -> dict[str, Any]:
    """All that must not depend on history."""
    routing = listener.routing
    rib = routing.rib
    return {
        "loc": {f: {k: readable(s) for k, s in rib.loc[f].items()} for f in BOTH},
        "fib": listener.fib,
        "told": {
            name: {f: listener.heard(name, f) for f in BOTH}
            for name, state in routing.peers.items()
            if state.established
        },
        "verdicts": {
            (f, nlri): {
                (p.source.name, p.attributes, p.outcome, used, why)
                for p, used, why in explain(rib.rivals(f, nlri), rib.legs)
            }
            for f in BOTH
            for nlri in rib.candidates[f]
        },
        "counts": {
            name: (len(s.adj_in), counted(s.out, name)) for name, s in routing.peers.items()
        },
    }


def counted(out: AdjRibOut | None, name: PeerName) -> int:
    """How many prefixes a peer has been told; the count that is kept must be that of the table."""
    if out is None:
        return 0
    assert out.count(name) == sum(1 for family in out.tables for _ in out.told(family, name))
    return out.count(name)


class History(RuleBasedStateMachine):
    """Whatever happens; and at every rest a routing that was born into the result."""

    @initialize(legs=st.sampled_from([1, 2, 8]), data=st.data())
    def begin(self, legs: int, data: st.DataObject) -> None:
        """Four peers, most of them up and known to announce something, so that no step is idle."""
        self.legs = legs
        resolve.REMEMBERED = data.draw(st.sampled_from([REMEMBERED, 2]))
        rib.BULK = data.draw(st.sampled_from([BULK, 1]))
        self.kernel: KernelState = KERNELS[0]
        self.me = SELVES[0]
        self.own = OWN[0]
        self.check: OriginCheck = UNCHECKED
        self.classes = Classes()
        self.originated: list[str] = []
        self.peers: dict[PeerName, Peer] = {}
        self.rules: dict[PeerName, PeerRules] = {}
        self.sessions: dict[PeerName, Negotiated] = {}
        """The last session of each peer, up or not."""
        self.blocks: dict[PeerName, dict[Attributes, Path]] = {}
        """What the decoder of each session remembers: attribute blocks that it has had judged."""
        self.listener = self.born()
        for number in NUMBERS:
            found = data.draw(any_peer(number))
            self.peers[found.name] = found
            self.rules[found.name] = data.draw(st.one_of(st.just(ruled()), any_rules))
            self.listener.routing.set_peers(self.peers, self.rules, 0.0)
            if data.draw(st.integers(0, 3)):
                self.up(number, data)
                prefixes = data.draw(st.lists(any_prefix, min_size=2, max_size=6))
                self.announce(number, data.draw(any_attributes), prefixes)

    def born(self) -> Listener:
        routing = Routing(now=0.0, legs=self.legs, deferral=60.0)
        found = Listener(routing)
        found.world(self.kernel, self.me, self.own)
        found.routing.set_origin_check(self.check)
        found.routing.set_classes(self.classes)
        found.routing.set_peers(self.peers, self.rules, 0.0)
        found.originate(*self.originated)
        return found

    def wanted(self, number: int) -> Peer | None:
        return self.peers.get(PeerName(f"node/n{number}"))

    # --- what may happen ---------------------------------------------------------------------------

    @rule(number=any_number, found=any_rules)
    def govern(self, number: int, found: PeerRules) -> None:
        """A peer's policies change, and nothing else."""
        name = PeerName(f"node/n{number}")
        if name in self.peers:
            self.rules[name] = found
            self.listener.routing.set_peers(self.peers, self.rules, self.listener.now)

    @rule(classes=st.sampled_from(CLASSES))
    def classify(self, classes: Classes) -> None:
        self.classes = classes
        self.listener.routing.set_classes(classes)

    @rule(number=any_number, data=st.data(), rules=any_rules)
    def want(self, number: int, data: st.DataObject, rules: PeerRules) -> None:
        found = data.draw(any_peer(number))
        before = self.peers.get(found.name)
        self.peers[found.name], self.rules[found.name] = found, rules
        self.listener.routing.set_peers(self.peers, self.rules, self.listener.now)
        same = before is None or all(
            getattr(before, key) == getattr(found, key)
            for key in ("asn", "address", "local_address", "extended_nexthop")
        )
        if not same:
            self.listener.told.pop(found.name, None)
            self.listener.routing.session_replaced(found.name, self.listener.now)

    @rule(
        number=any_number,
        kind=st.sampled_from([PeerKind.MESH, PeerKind.CLIENT, PeerKind.REFLECTOR]),
    )
    def change_role(self, number: int, kind: PeerKind) -> None:
        """An internal peer begins or ends to be a client or a reflector; its session does not notice."""
        of = self.wanted(number)
        if of is not None and of.internal:
            self.peers[of.name] = replace(of, kind=kind)
            self.listener.routing.set_peers(self.peers, self.rules, self.listener.now)

    @rule(number=any_number)
    def unwant(self, number: int) -> None:
        gone = PeerName(f"node/n{number}")
        for table in (self.peers, self.rules, self.sessions, self.listener.told):
            table.pop(gone, None)
        self.listener.routing.set_peers(self.peers, self.rules, self.listener.now)

    @rule(number=any_number, data=st.data())
    def up(self, number: int, data: st.DataObject) -> None:
        found = self.wanted(number)
        if found is None or self.listener.routing.peers[found.name].established:
            return
        self.listener.up(found, **data.draw(any_session(found)))
        state = self.listener.routing.peers[found.name]
        assert state.negotiated is not None
        self.sessions[found.name] = state.negotiated
        self.blocks[found.name] = {}

    @rule(
        number=any_number,
        why=st.sampled_from(
            [LOST, SessionDown(reason="n", received=(6, 4)), SessionDown(reason="h", sent=(6, 9))]
        ),
    )
    def down(self, number: int, why: SessionDown) -> None:
        found = self.wanted(number)
        if found is not None:
            self.listener.down(found, why)

    @rule(number=any_number, data=st.data())
    def bounce(self, number: int, data: st.DataObject) -> None:
        """A session is lost and at once up again; its paths stay where graceful restart covers that."""
        self.down(number, LOST)
        self.up(number, data)

    @rule(
        number=any_number,
        found=any_attributes,
        prefixes=st.lists(any_prefix, min_size=1, max_size=4),
    )
    def announce(self, number: int, found: Attributes, prefixes: list[tuple[Family, str]]) -> None:
        of = self.wanted(number)
        if of is None or not self.listener.routing.peers[of.name].established:
            return
        rib, adj_in = self.listener.routing.rib, self.listener.routing.peers[of.name].adj_in
        blocks = self.blocks[of.name]
        for family, prefix in prefixes:
            block = usable(family, found)
            if block not in blocks:
                blocks[block] = rib.judge(adj_in, block)
            rib.learn(adj_in, family, blocks[block], [n(prefix)])

    @rule(number=any_number, prefixes=st.lists(any_prefix, min_size=1, max_size=3))
    def withdraw(self, number: int, prefixes: list[tuple[Family, str]]) -> None:
        of = self.wanted(number)
        if of is None or not self.listener.routing.peers[of.name].established:
            return
        for family, prefix in prefixes:
            self.listener.forget(of, prefix, family=family)

    @rule(number=any_number, family=st.sampled_from(BOTH))
    def end_of_rib(self, number: int, family: Family) -> None:
        of = self.wanted(number)
        if of is not None and self.listener.routing.peers[of.name].established:
            self.listener.end(of, family)

    @rule(found=st.sampled_from(KERNELS), me=st.sampled_from(SELVES), own=st.sampled_from(OWN))
    def world(self, found: KernelState, me: Self, own: dict[Family, bytes]) -> None:
        self.kernel, self.me, self.own = found, me, own
        self.listener.world(found, me, own)

    @rule(check=st.sampled_from(CHECKS))
    def check_origins(self, check: OriginCheck) -> None:
        self.check = check
        self.listener.routing.set_origin_check(check)

    @rule(prefixes=st.lists(st.sampled_from(PREFIXES[V4]), unique=True))
    def originate(self, prefixes: list[str]) -> None:
        self.originated = prefixes
        self.listener.originate(*prefixes)

    @rule(legs=st.sampled_from([1, 2, 8]))
    def allow(self, legs: int) -> None:
        self.legs = self.listener.routing.rib.legs = legs

    @rule(number=any_number)
    def refresh(self, number: int) -> None:
        self.listener.routing.refresh(PeerName(f"node/n{number}"))

    @rule(seconds=st.sampled_from([1, 50, 130, 400]))
    def time_passes(self, seconds: int) -> None:
        self.listener.now += seconds
        self.listener.routing.tick(self.listener.now)

    @rule()
    def speaker_dies(self) -> None:
        self.listener.told.clear()
        self.listener.routing.speaker_died(self.listener.now)

    @rule(most=st.sampled_from([None, 1, 1, 2, 3]))
    def flush(self, most: int | None) -> None:
        """All that is to be judged again is, or a slice of it; anything may happen between two slices."""
        self.listener.flush(most)

    # --- what must hold ----------------------------------------------------------------------------

    @precondition(lambda self: hasattr(self, "listener"))
    @rule()
    def look(self) -> None:
        self.listener.flush()
        for family, table in self.listener.routing.rib.loc.items():
            installed = {k: s.nexthops for k, s in table.items() if s.nexthops is not None}
            assert self.listener.fib[family] == installed
        assert picture(self.listener) == picture(self.reborn())

    def reborn(self) -> Listener:
        """A routing that learns in one go what this one holds, from peers in the same state."""
        other = self.born()
        for name, state in self.listener.routing.peers.items():
            session = self.sessions.get(name)
            if session is None:
                continue
            other.routing.session_up(name, session, 0.0)
            adj_in = other.routing.peers[name].adj_in
            for family, table in state.adj_in.tables.items():
                for nlri, path in table.items():
                    judged = other.routing.rib.judge(adj_in, path.base.attributes)
                    other.routing.rib.learn(adj_in, family, judged, [nlri])
            if not state.established:
                other.routing.session_replaced(name, 0.0)
        other.flush()
        return other

    def teardown(self) -> None:
        if hasattr(self, "listener"):
            self.look()
            resolve.REMEMBERED = REMEMBERED
            rib.BULK = BULK


History.TestCase.settings = settings(max_examples=600, stateful_step_count=40, deadline=None)
test_any_history_ends_where_its_result_begins = History.TestCase
