"""Two nodes compute matching ends of their sessions without talking to each other."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from itertools import combinations
from typing import Any

import pytest

from kroute.model.bgp import Initiate, Peer, PeerKind
from kroute.model.config import Bgp, Config, GracefulRestartConfig
from kroute.model.config_peering import NodeInitiate, Peering, Transport
from kroute.model.node import Node
from kroute.model.session_keys import AddPath, PathSelect
from kroute.plan.sessions import View, is_dotted_quad, max_prefixes, node_peers, router_id
from support.routing import BOTH, V4, V6, dual, node

SINGLE, PER_FAMILY = Transport.SINGLE, Transport.PER_FAMILY


def with_addresses(number: int, *addresses: Any) -> Node:
    return replace(node(number), addresses=tuple(ip_address(a) for a in addresses))


KINDS = {
    "v4": lambda i: with_addresses(i, dual(i)[0]),
    "v6": lambda i: with_addresses(i, dual(i)[1]),
    "dual, v4 first": lambda i: with_addresses(i, *dual(i)),
    "dual, v6 first": lambda i: with_addresses(i, *reversed(dual(i))),
    "no address": with_addresses,
}
PAIRS = [(a, b) for a in KINDS for b in KINDS]


def ends(transport: Transport, one: Node, two: Node, **bgp: Any) -> tuple[list[Peer], list[Peer]]:
    """The sessions between two nodes, as each of them computes them."""
    config = Config(bgp=Bgp(**bgp), peering=Peering(transport=transport))
    nodes = {n.name: n for n in (one, two)}

    def of(me: Node, other: Node) -> list[Peer]:
        return list(node_peers(View(me=me, nodes=nodes, config=config), other, PeerKind.MESH))

    return of(one, two), of(two, one)


@pytest.mark.parametrize("transport", list(Transport))
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_both_ends_match(transport: Transport, a: str, b: str):
    mine, theirs = ends(transport, KINDS[a](2), KINDS[b](10))
    assert len(mine) == len(theirs)
    for here, there in zip(mine, theirs, strict=True):
        assert (here.address, here.local_address) == (there.local_address, there.address)
        assert here.families == there.families
        assert here.extended_nexthop == there.extended_nexthop
        assert {here.initiate, there.initiate} == {Initiate.ACTIVE, Initiate.KNOCK}
        assert here.name.removeprefix("node/n10") == there.name.removeprefix("node/n2")
        assert here.address.version == here.local_address.version


@pytest.mark.parametrize("transport", list(Transport))
def test_nodes_have_a_session_exactly_when_they_share_a_family(transport: Transport):
    for a, b in PAIRS:
        one, two = KINDS[a](2), KINDS[b](10)
        shared = {x.version for x in one.addresses} & {x.version for x in two.addresses}
        mine, _ = ends(transport, one, two)
        assert bool(mine) == bool(shared)
        assert len(mine) == (len(shared) if transport is PER_FAMILY else min(len(shared), 1))


@pytest.mark.parametrize("transport", list(Transport))
def test_every_family_is_carried_once(transport: Transport):
    for a, b in PAIRS:
        mine, _ = ends(transport, KINDS[a](2), KINDS[b](10))
        carried = [f for p in mine for f in p.families]
        assert len(carried) == len(set(carried))
        if mine and all(p.address.version == 6 for p in mine):
            assert set(carried) == set(BOTH)


def names(transport: Transport, a: str, b: str) -> dict[str, Any]:
    mine, _ = ends(transport, KINDS[a](2), KINDS[b](10))
    return {p.name: (p.address.version, p.families, p.extended_nexthop) for p in mine}


def test_dual_stack_nodes_have_one_session_for_both_families_over_the_primary_address():
    assert names(SINGLE, "dual, v4 first", "dual, v4 first") == {"node/n10": (4, BOTH, False)}
    assert names(SINGLE, "dual, v6 first", "dual, v6 first") == {"node/n10": (6, BOTH, False)}


def test_dual_stack_nodes_that_differ_in_their_primary_family_meet_over_ipv4():
    assert names(SINGLE, "dual, v4 first", "dual, v6 first") == {"node/n10": (4, BOTH, False)}


def test_each_family_has_its_own_session_where_asked_for():
    assert names(PER_FAMILY, "dual, v4 first", "dual, v6 first") == {
        "node/n10/ipv4": (4, (V4,), False),
        "node/n10/ipv6": (6, (V6,), False),
    }


@pytest.mark.parametrize("other", ["v6", "dual, v4 first", "dual, v6 first"])
def test_a_node_without_ipv4_exchanges_ipv4_pods_over_ipv6_next_hops(other: str):
    for transport, name in ((SINGLE, "node/n10"), (PER_FAMILY, "node/n10/ipv6")):
        assert names(transport, "v6", other) == {name: (6, BOTH, True)}


def test_sessions_between_nodes_of_ipv4_only_carry_ipv4_only():
    assert names(SINGLE, "v4", "dual, v6 first") == {"node/n10": (4, (V4,), False)}
    assert names(PER_FAMILY, "v4", "dual, v6 first") == {"node/n10/ipv4": (4, (V4,), False)}


def test_a_second_address_family_adds_a_session_and_leaves_the_first_as_it_is():
    before, _ = ends(PER_FAMILY, KINDS["v4"](2), KINDS["v4"](10))
    after, _ = ends(PER_FAMILY, KINDS["dual, v4 first"](2), KINDS["dual, v4 first"](10))
    assert before == after[:1]


def test_pod_cidrs_never_change_a_session():
    bare, _ = ends(SINGLE, node(2), node(3))
    given, _ = ends(SINGLE, node(2, "10.244.2.0/24"), node(3, "fd00:3::/64"))
    assert bare == given


def test_the_active_ends_form_an_order_so_that_no_pair_waits_for_itself():
    nodes = [KINDS["v4"](i) for i in (1, 9, 10, 99, 200)]
    for low, high in combinations(nodes, 2):
        mine, _ = ends(SINGLE, low, high)
        assert mine[0].initiate is Initiate.KNOCK


def test_the_sessions_parameters_are_the_configured_ones():
    (found,), _ = ends(
        SINGLE,
        node(2),
        node(3),
        asn=65010,
        port=1790,
        hold_time=9,
        graceful_restart=GracefulRestartConfig(restart_time=33, stale_time=44),
    )
    assert (found.asn, found.local_asn, found.port, found.hold_time) == (65010, 65010, 1790, 9)
    assert found.graceful_restart is not None
    assert (found.graceful_restart.restart_time, found.graceful_restart.stale_time) == (33, 44)
    assert (found.node, found.internal) == ("n3", True)


def test_no_graceful_restart_is_offered_where_it_is_turned_off():
    (found,), _ = ends(
        SINGLE, node(2), node(3), graceful_restart=GracefulRestartConfig(enabled=False)
    )
    assert found.graceful_restart is None


def test_the_router_id_is_configured_or_the_ipv4_address_or_a_hash_of_the_name():
    assert router_id(Bgp(router_id="10.9.9.9"), node(2)) == "10.9.9.9"
    assert router_id(Bgp(), node(2)) == "192.0.2.2"
    hashed = [router_id(Bgp(), KINDS["v6"](i)) for i in (2, 3)]
    assert all(is_dotted_quad(h) and h != "0.0.0.0" for h in hashed)
    assert hashed[0] != hashed[1]
    assert hashed[0] == router_id(Bgp(), KINDS["v6"](2))


@pytest.mark.parametrize(
    ("configured", "nodes", "limit"), [(None, 10, 1000), (None, 5000, 10100), (50, 5000, 50)]
)
def test_the_limit_of_prefixes_grows_with_the_cluster(
    configured: int | None, nodes: int, limit: int
):
    assert max_prefixes(Bgp(max_prefixes=configured), nodes) == limit


def test_a_dotted_quad_is_an_ipv4_address_and_nothing_else():
    assert is_dotted_quad("10.0.0.1")
    assert not any(is_dotted_quad(t) for t in ("", "true", "7", "10.0.0", "2001:db8::1"))


def test_while_some_nodes_run_another_speaker_both_ends_connect():
    config = Config(peering=Peering(initiate=NodeInitiate.BOTH))
    nodes = {n.name: n for n in (node(1), node(2))}
    for me, other in (("n1", "n2"), ("n2", "n1")):
        view = View(me=nodes[me], nodes=nodes, config=config)
        found = list(node_peers(view, nodes[other], PeerKind.MESH))
        assert [p.initiate for p in found] == [Initiate.BOTH]


@pytest.mark.parametrize("way", list(AddPath))
def test_several_paths_travel_in_all_sessions_between_nodes_as_configured(way: AddPath):
    nodes = {n.name: n for n in (node(1), node(2))}
    peering = Peering(add_path=way, add_path_select=PathSelect.ALL, add_path_max=3)
    view = View(me=nodes["n1"], nodes=nodes, config=Config(peering=peering))
    for kind in (PeerKind.MESH, PeerKind.CLIENT, PeerKind.REFLECTOR):
        (found,) = node_peers(view, nodes["n2"], kind)
        assert (bool(found.add_path), bool(found.add_path_send)) == (way.receives, way.sends)
        assert (found.add_path_select, found.add_path_max) == (PathSelect.ALL, 3)
