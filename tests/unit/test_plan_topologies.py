"""Who peers with whom, and that everybody computes it alike."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from kroute.model.bgp import Peer, PeerKind, PeerName
from kroute.model.config import Config
from kroute.model.config_peering import FullMesh, PeerConfig, Peering, RouteReflector, Topology
from kroute.model.node import Node
from kroute.model.problem import Problem
from kroute.model.selection import RemoteAs
from kroute.model.state import Observed
from kroute.plan import explicit, plan
from kroute.plan.sessions import View
from kroute.plan.topologies import TOPOLOGIES
from kroute.plan.topologies.route_reflector import cluster_id
from support.routing import BOTH, V4, V6, dual, node

MESH, CLIENT, RR = PeerKind.MESH, PeerKind.CLIENT, PeerKind.REFLECTOR
LABEL = "kroute.io/route-reflector"


def view(me: Node, *others: Node, **peering: Any) -> View:
    nodes = {n.name: n for n in (me, *others)}
    return View(me=me, nodes=nodes, config=Config(peering=Peering(**peering)))


def kinds(me: Node, *others: Node, **peering: Any) -> dict[str, PeerKind]:
    """Node → kind of the session that the topology sets up with it."""
    seen = view(me, *others, **peering)
    return {p.node: p.kind for p in TOPOLOGIES[seen.config.peering.topology](seen).peers}


def labelled(number: int, value: str, key: str = LABEL) -> Node:
    return replace(node(number), labels={key: value})


def test_every_topology_has_an_implementation():
    assert set(TOPOLOGIES) == set(Topology)


def own_cluster_id(seen: View) -> str:
    return TOPOLOGIES[seen.config.peering.topology](seen).cluster_id


def test_no_topology_means_no_peers():
    assert kinds(node(1), node(2), topology=Topology.NONE) == {}


# --- full mesh --------------------------------------------------------------------------------------


def test_every_node_peers_with_every_other_but_itself():
    nodes = [node(i) for i in (1, 2, 3)]
    for me in nodes:
        others = [n for n in nodes if n is not me]
        assert kinds(me, *others) == {n.name: MESH for n in others}


def test_a_node_without_address_is_left_out_until_it_has_one():
    bare = replace(node(3), addresses=())
    assert kinds(node(1), node(2), bare) == {"n2": MESH}
    assert kinds(bare, node(1)) == {}


def test_groups_peer_among_themselves():
    rack = {i: labelled(i, value, "rack") for i, value in ((1, "a"), (2, "a"), (3, "b"))}
    full_mesh = FullMesh(group_label="rack")
    assert kinds(rack[1], rack[2], rack[3], full_mesh=full_mesh) == {"n2": MESH}
    assert kinds(rack[3], rack[1], rack[2], full_mesh=full_mesh) == {}


def test_nodes_without_the_group_label_are_a_group():
    full_mesh = FullMesh(group_label="rack")
    bare, other, racked = node(1), node(2), labelled(3, "a", "rack")
    assert kinds(bare, other, racked, full_mesh=full_mesh) == {"n2": MESH}


# --- route reflectors -------------------------------------------------------------------------------

REFLECTING = {"topology": Topology.ROUTE_REFLECTOR}


def test_reflectors_are_meshed_and_all_others_are_their_clients():
    first, second, third, fourth = labelled(1, "true"), labelled(2, ""), node(3), node(4)
    assert kinds(first, second, third, fourth, **REFLECTING) == {
        "n2": MESH,
        "n3": CLIENT,
        "n4": CLIENT,
    }
    assert kinds(third, first, second, fourth, **REFLECTING) == {"n1": RR, "n2": RR}


@pytest.mark.parametrize(
    "chosen",
    [
        {"labels": {LABEL: "true"}},
        {"annotations": {LABEL: "10.0.0.1"}},
        {"labels": {LABEL: "7"}, "annotations": {LABEL: "false"}},
    ],
)
def test_label_or_annotation_makes_a_reflector_and_the_label_counts_first(chosen: Any):
    assert kinds(replace(node(1), **chosen), node(2), **REFLECTING) == {"n2": CLIENT}


@pytest.mark.parametrize(
    "not_chosen",
    [{}, {"labels": {LABEL: "false"}}, {"labels": {LABEL: "false"}, "annotations": {LABEL: "1"}}],
)
def test_neither_mark_nor_name_makes_no_reflector(not_chosen: Any):
    assert kinds(replace(node(1), **not_chosen), node(2), **REFLECTING) == {}


def test_reflectors_may_be_named_and_the_label_may_have_another_name():
    named = RouteReflector(nodes=("n1",), label="rr")
    assert kinds(node(1), node(2), route_reflector=named, **REFLECTING) == {"n2": CLIENT}
    marked = labelled(2, "yes", "rr")
    assert kinds(marked, node(1), route_reflector=named, **REFLECTING) == {"n1": MESH}


@pytest.mark.parametrize(
    ("mark", "configured", "found"),
    [
        ("10.0.0.9", "10.0.0.1", "10.0.0.9"),
        ("7", "", "0.0.0.7"),
        ("true", "10.0.0.1", "10.0.0.1"),
        ("true", "", "192.0.2.1"),
        ("0", "", "192.0.2.1"),
        ("4294967296", "", "192.0.2.1"),
    ],
)
def test_the_cluster_id_is_the_marks_value_or_configured_or_the_router_id(
    mark: str, configured: str, found: str
):
    me = labelled(1, mark)
    seen = view(me, route_reflector=RouteReflector(cluster_id=configured), **REFLECTING)
    assert cluster_id(seen, me) == own_cluster_id(seen) == found


def test_who_reflects_nothing_has_no_cluster():
    assert own_cluster_id(view(node(1), **REFLECTING)) == ""
    assert own_cluster_id(view(labelled(1, "true"))) == ""


def test_sessions_of_a_reflector_bear_its_cluster_and_those_of_a_client_none():
    reflector, client = labelled(1, "10.0.0.9"), node(2)
    for me, other, cluster in ((reflector, client, "10.0.0.9"), (client, reflector, "")):
        seen = view(me, other, **REFLECTING)
        assert [p.cluster_id for p in TOPOLOGIES[Topology.ROUTE_REFLECTOR](seen).peers] == [cluster]


# --- explicit peers ---------------------------------------------------------------------------------


def tor(**changes: Any) -> PeerConfig:
    values: dict[str, Any] = {"name": "tor1", "address": ip_address("198.51.100.1"), "asn": 65001}
    return PeerConfig(**(values | changes))


def peers(me: Node, *wanted: PeerConfig, **peering: Any) -> list[Peer | Problem]:
    return list(explicit.peers(view(me, peers=wanted, **peering)))


def the_peer(me: Node, wanted: PeerConfig, **peering: Any) -> Peer:
    (found,) = peers(me, wanted, **peering)
    assert isinstance(found, Peer)
    return found


def test_an_external_peer_in_one_breath():
    found = the_peer(node(1, "10.244.1.0/24"), tor())
    assert (found.name, found.kind, found.node) == ("peer/tor1", PeerKind.EXTERNAL, "")
    assert (str(found.address), str(found.local_address)) == ("198.51.100.1", "192.0.2.1")
    assert (found.asn, found.local_asn, found.families) == (65001, 64512, (V4,))


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, PeerKind.EXTERNAL),
        ({"asn": 64512}, PeerKind.MESH),
        ({"asn": 64512, "reflector": True}, PeerKind.REFLECTOR),
        ({"local_asn": 65001}, PeerKind.MESH),
        ({"asn": 64512, "local_asn": 65009}, PeerKind.EXTERNAL),
        ({"asn": RemoteAs.EXTERNAL}, PeerKind.EXTERNAL),
        ({"asn": RemoteAs.INTERNAL}, PeerKind.MESH),
        ({"asn": RemoteAs.INTERNAL, "local_asn": 65001, "reflector": True}, PeerKind.REFLECTOR),
    ],
)
def test_the_kind_follows_from_the_as_numbers(changes: Any, kind: PeerKind):
    assert the_peer(node(1), tor(**changes)).kind is kind


def test_a_peer_may_be_for_some_nodes_only():
    racked = labelled(1, "a", "rack")
    assert peers(racked, tor(node_selector={"rack": "b"})) == []
    assert peers(racked, tor(nodes=("n2",))) == []
    assert len(peers(racked, tor(nodes=("n1", "n2"), node_selector={"rack": "a"}))) == 1


def test_families_are_configured_or_those_of_the_pods_or_that_of_the_session():
    four = replace(node(1), addresses=dual(1))
    assert the_peer(replace(four, pod_cidrs=()), tor()).families == (V4,)
    assert the_peer(node(1, "fd00:1::/64", "10.244.1.0/24"), tor()).families == BOTH
    assert the_peer(node(1, "10.244.1.0/24"), tor(families=("ipv6",))).families == (V6,)


@pytest.mark.parametrize(
    ("address", "families", "asked", "offered"),
    [
        ("2001:db8::99", ("ipv4", "ipv6"), None, True),
        ("2001:db8::99", ("ipv6",), None, False),
        ("198.51.100.1", ("ipv4", "ipv6"), None, False),
        ("2001:db8::99", ("ipv4",), False, False),
    ],
)
def test_rfc_8950_is_offered_on_ipv6_sessions_that_carry_ipv4(
    address: str, families: tuple[str, ...], asked: bool | None, offered: bool
):
    me = replace(node(1), addresses=dual(1))
    wanted = tor(address=ip_address(address), families=families, extended_nexthop=asked)
    assert the_peer(me, wanted).extended_nexthop is offered


def test_a_node_without_an_address_of_the_peers_family_says_so():
    (found,) = peers(node(1), tor(address=ip_address("2001:db8::99")))
    assert isinstance(found, Problem)
    assert (found.object, found.field) == ("peer/tor1", "localAddress")
    assert "has no ipv6 address to reach 2001:db8::99" in found.reason


def test_every_key_of_a_peer_arrives():
    wanted = tor(
        local_address=ip_address("198.51.100.2"),
        port=1179,
        passive=True,
        hold_time=0,
        ttl_security=1,
        multihop=3,
        password_file="/etc/kroute/tor1",
        max_prefixes=7,
        description="rack 1",
    )
    found = the_peer(node(1), wanted)
    assert (str(found.local_address), found.port, found.hold_time) == ("198.51.100.2", 1179, 0)
    assert (found.initiate.value, found.ttl_security, found.multihop) == ("passive", 1, 3)
    assert (found.password_file, found.max_prefixes) == ("/etc/kroute/tor1", 7)
    assert found.description == "rack 1"


def test_an_internal_peer_of_a_reflector_is_told_its_cluster():
    for me, cluster in ((labelled(1, "10.0.0.9"), "10.0.0.9"), (node(1), "")):
        config = Config(peering=Peering(peers=(tor(asn=64512),), **REFLECTING))
        wanted = plan(Observed(me="n1", config=config, nodes={"n1": me})).peers
        assert wanted[PeerName("peer/tor1")].cluster_id == cluster
