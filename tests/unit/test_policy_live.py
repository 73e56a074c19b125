"""Policies in the tables: changed rules judge what is stored, and tell only what differs."""

from __future__ import annotations

from ipaddress import ip_network

from kroute.model.bgp import AsSegment, PeerKind, SegmentType
from kroute.model.fib import Nexthop, Place, Placed, place_of
from kroute.model.policies import NexthopRule, OriginClass
from kroute.plan import queries
from kroute.plan.policy import (
    Acceptance,
    Classes,
    ExportWish,
    ImportRules,
    PeerRules,
)
from kroute.plan.policy.compile import hosts
from support.policies import policy
from support.routing import (
    ASN,
    ME4,
    SELF,
    V4,
    Listener,
    attributes,
    hop,
    listener,
    n,
    packed,
    peer,
)

EXTERNAL = PeerKind.EXTERNAL
TOR, EDGE, N4 = peer(2, EXTERNAL), peer(3, EXTERNAL), peer(4)
NETS = ["198.51.100.0/24", "203.0.113.0/24"]


def world(**rules: PeerRules) -> Listener:
    """Two external peers and a node, all up; n2 has told two networks."""
    node = listener(TOR, EDGE, N4)
    govern(node, **rules)
    for one in (TOR, EDGE, N4):
        node.up(one)
    node.learn(TOR, attributes("192.0.2.2", 65002), *NETS)
    node.flush()
    return node


def govern(node: Listener, **rules: PeerRules) -> None:
    found = {f"node/{name}": rule for name, rule in rules.items()}
    everything = {p.name: found.get(p.name, PeerRules()) for p in (TOR, EDGE, N4)}
    node.routing.set_peers({p.name: p for p in (TOR, EDGE, N4)}, everything, node.now)


def imports(text: str) -> PeerRules:
    return PeerRules(imports=ImportRules(policy=policy(text)))


def exports(text: str, **changes: object) -> PeerRules:
    return PeerRules(exports=ExportWish(policy=policy(text), **changes))  # type: ignore[arg-type]


def test_a_new_import_policy_judges_what_is_stored_and_touches_only_what_changes():
    node = world()
    assert set(node.routes) == set(NETS)
    govern(
        node, n2=imports("{name: r, match: {prefixes: [{prefix: 203.0.113.0/24}]}, then: reject}")
    )
    assert node.routing.flush(0.0).fib == {V4: {n(NETS[1]): None}}
    govern(node)
    node.flush()
    assert set(node.routes) == set(NETS)


def test_a_preference_of_import_policy_decides_between_peers():
    node = world()
    node.learn(EDGE, attributes("192.0.2.3", 65003), NETS[0])
    govern(node, n3=imports("{name: r, set: {localPref: 200}, then: accept}"))
    node.flush()
    assert node.routes[NETS[0]] == hop("192.0.2.3")
    (lost, used) = sorted(node.routing.rib.rivals(V4, n(NETS[0])), key=lambda p: p.local_pref)
    assert (used.outcome.rules, used.base.local_pref, lost.outcome.rules) == (("p/r",), 100, ())


def test_weights_share_the_traffic_and_say_nothing_of_a_single_leg():
    node = world(n3=imports("{name: r, set: {weight: 5}, then: accept}"))
    node.learn(EDGE, attributes("192.0.2.3", 65003), NETS[0], "192.88.99.0/24")
    node.flush()
    assert node.routes["192.88.99.0/24"] == hop("192.0.2.3")
    assert node.routes[NETS[0]] == (*hop("192.0.2.2"), Nexthop(packed("192.0.2.3"), 1, 5))


def test_table_and_metric_are_those_of_the_best_path_and_go_with_the_policy():
    aside = "{name: r, set: {table: 300, metric: 7}, then: accept}"
    node = world(n2=imports(aside))
    (legs,) = {node.routing.rib.loc[V4][n(net)].nexthops for net in NETS}
    assert (legs, place_of(legs)) == (Placed(hop("192.0.2.2"), Place(300, 7)), Place(300, 7))
    shown = [route for route in queries.routes(node.routing) if route["prefix"] in NETS]
    assert {(route["table"], route["metric"]) for route in shown} == {(300, 7)}
    node.learn(EDGE, attributes("192.0.2.3", 65003), NETS[0])
    node.flush()
    both = node.routing.rib.loc[V4][n(NETS[0])].nexthops
    assert (len(both), place_of(both)) == (2, Place(300, 7)), "the best path's place counts"
    govern(node)
    assert all(
        type(legs) is tuple and len(legs) for legs in node.routing.flush(0.0).fib[V4].values()
    )


def test_rules_that_set_table_and_metric_one_after_the_other_add_up():
    first = "{name: a, set: {table: 300}, then: next}"
    second = "{name: b, set: {metric: 7}, then: accept}"
    node = world(n2=imports(f"{first}\n{second}"))
    assert place_of(node.routing.rib.loc[V4][n(NETS[0])].nexthops) == Place(300, 7)
    legs = hop("192.0.2.2")
    assert Placed(legs, Place(300)) != legs
    assert legs != Placed(legs, Place(300))
    assert Placed(legs, Place(300)) == Placed(legs, Place(300)) != Placed(legs, Place(301))


def test_a_next_hop_of_import_policy_is_the_one_that_is_resolved_and_checked():
    set_hop = "{name: r, match: {family: ipv4}, set: {nextHop: %s}, then: accept}"
    node = world(n2=imports(set_hop % "192.0.2.77"))
    assert node.routes[NETS[0]] == hop("192.0.2.77")
    govern(node, n2=imports(set_hop % ME4))
    node.flush()
    assert node.routes == {}


def test_anycast_takes_single_addresses_within_its_ranges_and_nothing_else():
    within = hosts([ip_network("203.0.113.0/24")])
    accepted = Acceptance(exact=frozenset(), words="anycast", within=within)
    node = world(n2=PeerRules(imports=ImportRules(acceptance=accepted)))
    node.learn(TOR, attributes("192.0.2.2", 65002), "203.0.113.7/32", "198.51.100.7/32")
    node.flush()
    assert set(node.routes) == {"203.0.113.7/32"}


def test_what_an_external_peer_says_is_passed_on_only_where_that_is_asked_for():
    node = world()
    assert node.heard(N4.name) == {}
    assert node.heard(EDGE.name) == {}
    govern(node, n2=PeerRules(pass_on=True))
    node.flush()
    told = node.heard(N4.name)
    assert set(told) == set(map(n, NETS))
    assert told[n(NETS[0])] == attributes(str(ME4), 65002, local_pref=100)
    assert node.heard(EDGE.name) == {}
    govern(node)
    node.flush()
    assert node.heard(N4.name) == {}


def test_one_external_peer_hears_of_another_only_by_announce_external():
    node = world()
    others = frozenset({OriginClass.PEER_PODS, OriginClass.DEFAULT})
    govern(node, n3=PeerRules(exports=ExportWish(announce=others)))
    node.routing.set_classes(Classes(me="n1", owners={(V4, n(NETS[0])): "n4"}))
    node.flush()
    assert node.heard(EDGE.name) == {}
    both = others | {OriginClass.EXTERNAL}
    govern(node, n3=PeerRules(exports=ExportWish(announce=both, nexthop=NexthopRule.KEEP)))
    node.flush()
    assert node.heard(EDGE.name)[n(NETS[0])] == attributes("192.0.2.2", ASN, 65002)


def test_communities_of_rfc_1997_hold_routes_back():
    node = world(
        n2=PeerRules(pass_on=True),
        n3=PeerRules(exports=ExportWish(announce=frozenset(OriginClass))),
    )
    for community, inside, outside in ((0xFFFFFF01, 1, 0), (0xFFFFFF03, 1, 0), (0xFFFFFF02, 0, 0)):
        node.learn(TOR, attributes("192.0.2.2", 65002, communities=(community,)), *NETS)
        node.flush()
        heard = [len(node.heard(p.name)) for p in (N4, EDGE)]
        assert heard == [2 * inside, 2 * outside], hex(community)


def test_a_changed_class_changes_what_is_told_without_a_new_announcement():
    pods = ExportWish(announce=frozenset({OriginClass.PEER_PODS}))
    node = world(n2=PeerRules(exports=pods))
    node.learn(N4, attributes("192.0.2.4"), "10.4.0.0/24", "10.5.0.0/24")
    node.flush()
    assert node.heard(TOR.name) == {}
    node.routing.set_classes(Classes(me="n1", owners={(V4, n("10.4.0.0/24")): "n4"}))
    tells = node.flush()
    assert set(node.heard(TOR.name)) == {n("10.4.0.0/24")}
    assert sum(len(nlris) for t in tells for _, nlris in t.announced) == 1
    node.routing.set_classes(Classes(me="n1"))
    node.flush()
    assert node.heard(TOR.name) == {}


def test_a_changed_class_is_seen_by_import_rules():
    node = world(n2=imports("{name: r, match: {originClass: [peerPods]}, then: reject}"))
    assert set(node.routes) == set(NETS)
    node.routing.set_classes(Classes(me="n1", owners={(V4, n(NETS[0])): "n4"}))
    node.flush()
    assert set(node.routes) == {NETS[1]}


def test_a_new_export_policy_tells_only_what_differs_in_the_same_session():
    node = world()
    node.originate("10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24")
    node.flush()
    assert len(node.heard(TOR.name)) == 3
    rules = exports(
        """
{name: a, match: {prefixes: [{prefix: 10.1.0.0/24}]}, set: {med: 9, prepend: {times: 1}}, then: accept}
{name: b, match: {prefixes: [{prefix: 10.2.0.0/24}]}, then: reject}
"""
    )
    govern(node, n2=rules)
    changed, gone = node.flush()
    assert (gone.withdrawn, gone.announced) == ([n("10.2.0.0/24")], [])
    ((found, nlris),) = changed.announced
    assert not changed.withdrawn
    assert nlris == [n("10.1.0.0/24")]
    assert (found.med, found.as_path[0]) == (
        9,
        AsSegment(SegmentType.AS_SEQUENCE, (ASN, 64601)),
    )
    assert node.heard(EDGE.name)[n("10.1.0.0/24")].med is None
    assert node.routing.peers[TOR.name].established


def test_peers_of_equal_rules_share_one_table_and_others_do_not():
    same = exports("{name: r, set: {med: 1}, then: accept}")
    node = world(n2=same, n3=exports("{name: r, set: {med: 1}, then: accept}"))
    outs = {id(node.routing.peers[p.name].out) for p in (TOR, EDGE)}
    assert len(outs) == 1
    govern(node, n2=same)
    node.flush()
    outs = {id(node.routing.peers[p.name].out) for p in (TOR, EDGE)}
    assert len(outs) == 2


def test_a_reflector_can_put_itself_in_the_way():
    client = peer(5, PeerKind.CLIENT)
    node = listener(client, N4, me=SELF)
    rules = {
        client.name: PeerRules(),
        N4.name: PeerRules(exports=ExportWish(nexthop=NexthopRule.SELF)),
    }
    node.routing.set_peers({client.name: client, N4.name: N4}, rules, 0.0)
    node.up(client)
    node.up(N4)
    node.learn(client, attributes("192.0.2.5"), "10.5.0.0/24")
    node.flush()
    assert node.heard(N4.name)[n("10.5.0.0/24")].nexthop == ME4.packed
