"""Seeded routes: when a route stands on the inventory's word alone, and when it does not any more."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from kroute.model.bgp import Peer, PeerKind, PeerName
from kroute.model.config import Config, Seeding
from kroute.model.config_peering import Accept, PeerConfig, Peering
from kroute.model.node import Node
from kroute.plan.decision import explain
from kroute.plan.queries import seeded
from kroute.plan.seed import nexthop, vouched
from kroute.plan.sessions import View
from support.routing import (
    ME4,
    ME6,
    V4,
    V6,
    Listener,
    attributes,
    connected,
    dual,
    hop,
    kernel,
    kernel_route,
    listener,
    n,
    node,
    packed,
    peer,
)

ME = node(1, "10.0.1.0/24")
POD = "10.0.2.0/24"
N2 = node(2, POD)
MESH, REFLECTOR = peer(2), peer(8, PeerKind.REFLECTOR)


def vouch(of: Listener, *nodes: Node, peers: tuple[Peer, ...] = (), **wish: Any) -> None:
    """The inventory has these nodes besides our own, and these sessions are wanted."""
    view = View(me=ME, nodes={found.name: found for found in (ME, *nodes)}, config=Config())
    of.want(*peers)
    of.routing.seeds.want(vouched(view, peers), Seeding(**wish), of.now)
    of.flush()


def meet(*peers: Peer, nodes: tuple[Node, ...] = (N2,), **wish: Any) -> Listener:
    found = listener(*peers)
    vouch(found, *nodes, peers=peers, **wish)
    return found


def later(of: Listener, seconds: float) -> None:
    of.now += seconds
    of.routing.tick(of.now)
    of.flush()


def test_a_live_nodes_routes_are_there_before_any_session_is():
    found = meet(MESH)
    assert found.routes == {POD: hop("192.0.2.2")}
    assert seeded(found.routing) == {V4: 1, V6: 0}
    found.up(MESH)
    found.flush()
    assert found.heard("node/n2") == {}, "told to nobody"


def test_a_client_of_ours_is_told_nothing_that_is_only_seeded():
    client = peer(3, PeerKind.CLIENT)
    found = meet(MESH, client)
    found.up(client)
    found.flush()
    assert found.routes == {POD: hop("192.0.2.2")}
    assert found.heard("node/n3") == {}


def test_what_is_announced_wins_and_the_kernel_need_not_change():
    found = meet(MESH)
    found.up(MESH)
    found.learn(MESH, attributes("192.0.2.2", local_pref=0), POD)
    assert not found.routing.flush(found.now).fib[V4], "the same legs"
    verdicts = explain(found.routing.rib.rivals(V4, n(POD)), 8)
    assert {p.source.name: (used, why.why.value) for p, used, why in verdicts} == {
        "node/n2": (True, "seeded"),
        "inventory": (False, "seeded"),
    }
    assert seeded(found.routing) == {V4: 0, V6: 0}


def test_what_a_whole_table_lacks_is_not_seeded_any_more_even_after_the_session():
    found = meet(MESH)
    found.up(MESH)
    found.end(MESH, V4)
    found.flush()
    assert found.routes == {}
    found.down(MESH)
    found.flush()
    assert found.routes == {}


def test_a_session_that_is_lost_before_its_table_was_whole_says_nothing():
    found = meet(MESH)
    found.up(MESH, restart=None)
    found.learn(MESH, attributes("192.0.2.3"), POD)
    found.flush()
    assert found.routes == {POD: hop("192.0.2.3")}
    found.down(MESH)
    found.flush()
    assert found.routes == {POD: hop("192.0.2.2")}


def test_stale_paths_win_until_their_time_is_over():
    found = meet(MESH)
    found.up(MESH)
    found.learn(MESH, attributes("192.0.2.3"), POD)
    found.down(MESH)
    found.flush()
    assert found.routes == {POD: hop("192.0.2.3")}, "stale"
    later(found, 121)
    assert found.routes == {POD: hop("192.0.2.2")}


def test_nobody_waits_for_others():
    found = meet(MESH, peer(3), nodes=(N2, node(3, "10.0.3.0/24")))
    found.up(MESH)
    found.learn(MESH, attributes("192.0.2.2"), POD)
    found.end(MESH)
    found.flush()
    assert found.routes == {POD: hop("192.0.2.2"), "10.0.3.0/24": hop("192.0.2.3")}


def test_a_node_that_is_never_heard_of_is_given_up_after_the_lifetime():
    found = meet(MESH, lifetime=100)
    later(found, 99.9)
    assert found.routes == {POD: hop("192.0.2.2")}
    later(found, 0.1)
    assert found.routes == {}
    vouch(found, N2, peers=(MESH,), lifetime=100)
    assert found.routes == {}, "planned again, but not known anew"
    vouch(found, peers=(), lifetime=100)
    vouch(found, N2, peers=(MESH,), lifetime=100)
    assert found.routes == {POD: hop("192.0.2.2")}, "it left and came back"


def test_a_node_that_is_not_ready_is_given_up_after_a_while():
    found = meet(MESH, not_ready_time=20)
    later(found, 10)
    vouch(found, node(2, POD, ready=False), peers=(MESH,), not_ready_time=20)
    later(found, 19)
    assert found.routes == {POD: hop("192.0.2.2")}
    assert not found.routing.peers[MESH.name].away
    later(found, 1)
    assert found.routes == {}
    assert found.routing.waiting_for(found.now) == [], "nor is it waited for"
    vouch(found, node(2, POD, ready=True), peers=(MESH,), not_ready_time=20)
    assert found.routes == {POD: hop("192.0.2.2")}
    assert found.routing.waiting_for(found.now)


def test_a_node_that_leaves_the_inventory_takes_its_seeds_along():
    found = meet(MESH)
    vouch(found, peers=())
    assert found.routes == {}


def test_seeding_may_be_turned_off_and_on():
    found = meet(MESH)
    vouch(found, N2, peers=(MESH,), enabled=False)
    assert found.routes == {}
    vouch(found, N2, peers=(MESH,))
    assert found.routes == {POD: hop("192.0.2.2")}


def test_a_reflector_vouches_for_nodes_without_a_session_of_their_own():
    found = meet(REFLECTOR)
    assert found.routes == {POD: hop("192.0.2.2")}
    found.up(REFLECTOR)
    found.flush()
    assert found.routes
    found.end(REFLECTOR)
    found.flush()
    assert found.routes == {}


def test_all_reflectors_are_heard_but_those_that_are_away():
    second = peer(9, PeerKind.REFLECTOR)
    found = meet(REFLECTOR, second)
    found.up(REFLECTOR)
    found.end(REFLECTOR)
    found.flush()
    assert found.routes == {POD: hop("192.0.2.2")}, "the second one may know more"
    nodes = (N2, node(9, "10.0.9.0/24", ready=False))
    vouch(found, *nodes, peers=(REFLECTOR, second), not_ready_time=0)
    assert found.routes == {}


def test_where_nobody_is_expected_to_tell_there_is_nothing_to_bridge():
    assert meet().routes == {}
    assert meet(peer(7)).routes == {}, "a mesh peer passes nothing on"


@pytest.mark.parametrize("accept", list(Accept))
def test_an_external_peer_counts_where_it_may_tell_of_pods(accept: Accept):
    tor = peer(9, PeerKind.EXTERNAL, name=PeerName("peer/tor/eth0"), configured="tor", node="")
    config = PeerConfig(name="tor", address=tor.address, asn=tor.asn, accept=accept)
    view = View(me=ME, nodes={"n1": ME}, config=Config(peering=Peering(peers=(config,))))
    may = accept in (Accept.ALL, Accept.POD_CIDRS)
    assert vouched(view, [tor]).indirect == ((tor.name,) if may else ())


def test_only_next_hops_of_connected_networks_are_seeded():
    found = meet(MESH)
    found.world(kernel(kernel_route("192.0.2.0/24", gateway=packed("198.51.100.9"))))
    found.flush()
    assert found.routes == {}
    (verdict,) = explain(found.routing.rib.rivals(V4, n(POD)), 8)
    assert verdict[2].why.value == "nexthop-not-connected"
    found.world(kernel(connected("192.0.2.0/24", oif=2)))
    found.flush()
    assert found.routes == {POD: hop("192.0.2.2", 2)}


def test_our_own_address_is_no_next_hop():
    assert meet(MESH, nodes=(node(2, POD, addresses=(ME4,)),)).routes == {}


def test_our_own_prefix_is_never_replaced():
    found = meet(MESH)
    found.originate(POD)
    found.flush()
    assert found.routes == {}


@pytest.mark.parametrize(
    ("mine", "theirs", "v4", "v6"),
    [
        (dual(1), dual(2), "192.0.2.2", "2001:db8::2"),
        ((ME4,), dual(2), "192.0.2.2", None),
        ((ME6,), dual(2), "2001:db8::2", "2001:db8::2"),
        ((ME4,), (ip_address("2001:db8::2"),), None, None),
        ((), (), None, None),
    ],
)
def test_next_hops_are_those_that_the_node_would_announce(
    mine: tuple[Any, ...], theirs: tuple[Any, ...], v4: str | None, v6: str | None
):
    me, other = node(1, addresses=mine), node(2, addresses=theirs)
    expected = [None if text is None else packed(text) for text in (v4, v6)]
    assert [nexthop(me, other, family) for family in (V4, V6)] == expected


def test_a_family_that_no_session_negotiated_is_not_waited_for():
    nodes = (node(2, POD, "fd00:2::/64", addresses=dual(2)),)
    found = listener(MESH)
    view = View(me=node(1, addresses=dual(1)), nodes={"n1": ME, "n2": nodes[0]}, config=Config())
    found.routing.seeds.want(vouched(view, [MESH]), Seeding(), 0.0)
    found.flush()
    assert set(found.fib[V6]) == {n("fd00:2::/64")}
    found.up(MESH, families=(V4,))
    found.flush()
    assert found.fib[V6] == {}
    assert found.routes == {POD: hop("192.0.2.2")}
