"""Who reflects for whom: zones, several reflectors to a client, roles that people read, and what is reported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from kroute.model.bgp import PeerKind, PeerName
from kroute.model.config import Bgp, Config
from kroute.model.config_peering import Auto, PeerConfig, Peering, RouteReflector, Topology
from kroute.model.node import Node
from kroute.model.state import Desired, Observed
from kroute.model.topology import Duty
from kroute.plan import plan
from support.routing import node

MESH, CLIENT, RR = PeerKind.MESH, PeerKind.CLIENT, PeerKind.REFLECTOR
LABEL = "kroute.io/route-reflector"


def in_zone(number: int, zone: str, mark: str | None = None) -> Node:
    labels = {"zone": zone} | ({LABEL: mark} if mark else {})
    return replace(node(number), labels=labels)


def planned(nodes: Iterable[Node], me: str = "n1", **peering: Any) -> Desired:
    bgp = peering.pop("bgp", Bgp())
    config = Config(peering=Peering(**peering), bgp=bgp)
    return plan(Observed(me=me, config=config, nodes={n.name: n for n in nodes}, listed=True))


def kinds(found: Desired) -> dict[str, PeerKind]:
    return {p.node or p.name: p.kind for p in found.peers.values()}


def reflecting(**keys: Any) -> dict[str, Any]:
    return {"topology": Topology.ROUTE_REFLECTOR, "route_reflector": RouteReflector(**keys)}


def reasons(found: Desired) -> dict[str, str]:
    return {p.object: p.reason for p in found.problems if p.field.startswith("peering")}


# --- by label -------------------------------------------------------------------------------------

ZONED = [
    in_zone(1, "a", "true"),
    in_zone(2, "a"),
    in_zone(3, "b", "true"),
    in_zone(4, "b"),
    in_zone(5, "c"),
]


def test_clients_peer_with_the_reflectors_of_their_zone_and_reflectors_with_each_other():
    zoned = reflecting(zone_label="zone")
    assert kinds(planned(ZONED, "n2", **zoned)) == {"n1": RR}
    assert kinds(planned(ZONED, "n4", **zoned)) == {"n3": RR}
    assert kinds(planned(ZONED, "n1", **zoned)) == {"n2": CLIENT, "n3": MESH, "n5": CLIENT}


def test_a_zone_without_reflector_is_served_by_all_others_and_reported():
    found = planned(ZONED, "n5", **reflecting(zone_label="zone"))
    assert kinds(found) == {"n1": RR, "n3": RR}
    assert "no node with zone=c reflects" in reasons(found)["zone/c"]


def test_a_client_may_have_fewer_reflectors_than_there_are_and_both_ends_agree_on_them():
    nodes = [in_zone(i, "", "true" if i <= 4 else None) for i in range(1, 30)]
    few = reflecting(per_client=2)
    chosen = {n.name: set(kinds(planned(nodes, n.name, **few))) for n in nodes[4:]}
    assert {len(reflectors) for reflectors in chosen.values()} == {2}
    for number in range(1, 5):
        served = {n for n, k in kinds(planned(nodes, f"n{number}", **few)).items() if k is CLIENT}
        assert served == {name for name, reflectors in chosen.items() if f"n{number}" in reflectors}
        assert served


def test_reflectors_of_one_cluster_id_must_have_the_same_clients():
    shared = {"cluster_id": "10.0.0.1"}
    apart = planned(ZONED, "n2", **reflecting(zone_label="zone", **shared))
    assert "n1, n3, which do not have the same clients" in reasons(apart)["cluster-id/10.0.0.1"]
    together = planned(ZONED, "n2", **reflecting(**shared))
    assert "cluster-id/10.0.0.1" not in reasons(together)


def test_an_own_router_id_says_nothing_of_the_others():
    found = planned(ZONED, "n1", bgp=Bgp(router_id="10.9.9.9"), **reflecting(zone_label="zone"))
    assert {p.cluster_id for p in found.peers.values()} == {"10.9.9.9"}
    assert not [name for name in reasons(found) if name.startswith("cluster-id")]


def test_a_node_without_any_reflector_is_reported():
    found = planned([node(1), node(2)], **reflecting())
    assert found.peers == {}
    assert "no node reflects" in reasons(found)["node/n1"]


def test_an_explicit_reflector_is_one():
    outside = PeerConfig(name="rr", address=ip_address("192.0.2.99"), asn=64512, reflector=True)
    found = planned([node(1), node(2)], peers=(outside,), **reflecting())
    assert kinds(found) == {"peer/rr": RR}
    assert reasons(found) == {}


def test_explicit_peers_and_a_topology_live_side_by_side():
    tor = PeerConfig(name="tor", address=ip_address("192.0.2.99"), asn=65001)
    for me, inside in (("n1", {"n2": CLIENT, "n3": MESH}), ("n2", {"n1": RR, "n3": RR})):
        nodes = [in_zone(1, "", "true"), in_zone(2, ""), in_zone(3, "", "true")]
        found = planned(nodes, me, peers=(tor,), **reflecting())
        assert kinds(found) == {"peer/tor": PeerKind.EXTERNAL, **inside}
        assert found.peers[PeerName("peer/tor")].cluster_id == ("192.0.2.1" if me == "n1" else "")


def test_roles_say_who_reflects_and_why_and_whose_client_the_others_are():
    roles = planned(ZONED, "n2", **reflecting(zone_label="zone")).roles
    assert (roles["n1"].duty, roles["n1"].zone) == (Duty.REFLECTOR, "a")
    assert roles["n1"].why == f"marked {LABEL}"
    assert (roles["n4"].duty, roles["n4"].why) == (Duty.CLIENT, "served by n3")
    named = planned([node(1), node(2)], **reflecting(nodes=("n2",)))
    assert named.roles["n2"].why == "named in routeReflector.nodes"
    assert named.topology == "1 route reflector by label, annotation or name"


# --- auto -----------------------------------------------------------------------------------------


def auto(**keys: Any) -> dict[str, Any]:
    return {"topology": Topology.AUTO, "auto": Auto(**({"zone_label": "zone"} | keys))}


def reflectors(found: Desired) -> set[str]:
    return {name for name, role in found.roles.items() if role.duty is Duty.REFLECTOR}


def test_up_to_the_threshold_there_is_a_full_mesh():
    found = planned(map(node, (1, 2, 3)), **auto(threshold=3))
    assert kinds(found) == {"n2": MESH, "n3": MESH}
    assert reflectors(found) == set()
    assert found.topology == "auto: full mesh, 3 nodes are not more than 3"


def test_above_it_there_are_reflectors_in_each_zone():
    nodes = [in_zone(i, "ab"[i % 2]) for i in range(1, 11)]
    found = planned(nodes, **auto(threshold=3, hysteresis=0))
    zones = {n.name: n.labels["zone"] for n in nodes}
    assert sorted(zones[name] for name in reflectors(found)) == ["a", "a", "b", "b"]
    assert {r.why for r in found.roles.values() if r.duty is Duty.REFLECTOR} == {
        "rank 1 of zone a",
        "rank 2 of zone a",
        "rank 1 of zone b",
        "rank 2 of zone b",
    }
    assert found.spare == {}
    assert "auto: 4 route reflectors, 10 nodes are more than 3" in found.topology


def test_a_zone_smaller_than_its_number_of_reflectors_has_all_of_them():
    found = planned([in_zone(1, "a"), in_zone(2, "b"), in_zone(3, "b")], **auto(threshold=1))
    assert reflectors(found) == {"n1", "n2", "n3"}


def test_just_above_the_threshold_the_mesh_may_stay_beside_the_reflectors():
    nodes = [node(i) for i in range(1, 7)]
    for me in nodes:
        found = planned(nodes, me.name, **auto(threshold=5, hysteresis=1))
        assert {p.node for p in (*found.peers.values(), *found.spare.values())} == {
            n.name for n in nodes if n is not me
        }
        assert not found.peers.keys() & found.spare.keys()
        assert {p.kind for p in found.spare.values()} <= {MESH}
        assert "sessions of the mesh stay" in found.topology


@pytest.mark.parametrize("unfit", [{"ready": False}, {"unschedulable": True}, {"addresses": ()}])
def test_a_node_that_is_not_fit_does_not_reflect_while_another_can(unfit: Any):
    nodes = [node(i) for i in range(1, 8)]
    (first,) = reflectors(planned(nodes, **auto(threshold=0, reflectors_per_zone=1)))
    changed = [replace(n, **unfit) if n.name == first else n for n in nodes]
    (second,) = reflectors(planned(changed, **auto(threshold=0, reflectors_per_zone=1)))
    assert second != first
    none_fit = [replace(n, ready=False) for n in nodes]
    assert reflectors(planned(none_fit, **auto(threshold=0, reflectors_per_zone=1))) == {first}


def test_marked_nodes_come_first_and_those_marked_false_never():
    nodes = [node(i) for i in range(1, 8)]
    wanted = replace(nodes[6], labels={LABEL: "true"})
    found = planned([*nodes[:6], wanted], **auto(threshold=0, reflectors_per_zone=1))
    assert reflectors(found) == {"n7"}
    unwilling = [replace(n, annotations={LABEL: "false"}) for n in nodes[:6]]
    found = planned([*unwilling, nodes[6]], **auto(threshold=0, reflectors_per_zone=2))
    assert reflectors(found) == {"n7"}
