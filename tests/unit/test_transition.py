"""Make before break: what is held while the topology changes, what it waits for, and how long at most."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kroute.model.bgp import Peer, PeerKind, PeerName
from kroute.model.config import Bgp
from kroute.model.topology import Duty, Role
from kroute.plan import queries
from kroute.plan.peers import Held
from kroute.plan.transition import NOTICE, Transition, former_clusters, transition
from support.routing import V4, Listener, attributes, hop, listener, n, node, packed, peer

MESH, CLIENT, RR = PeerKind.MESH, PeerKind.CLIENT, PeerKind.REFLECTOR
PATIENCE = 60.0
NODES = {f"n{i}": node(i) for i in range(1, 10)}
N2, N3, N4 = (peer(i) for i in (2, 3, 4))
PODS = {p.name: f"10.244.{i}.0/24" for i, p in ((2, N2), (3, N3), (4, N4))}


def via(of: Peer) -> Any:
    return attributes(str(of.address))


@pytest.fixture
def mesh() -> Listener:
    """Three sessions of a mesh, up, each with its node's pods."""
    heard = listener(N2, N3, N4)
    for of in (N2, N3, N4):
        heard.up(of)
        heard.learn(of, via(of), PODS[of.name])
    heard.flush()
    return heard


def go(heard: Listener, *wanted: Peer, spare: tuple[Peer, ...] = (), **how: Any) -> Transition:
    """One step towards the wanted peers, taken over as the daemon does it."""
    values: dict[str, Any] = {
        "nodes": NODES,
        "gone": frozenset,
        "patience": PATIENCE,
        "now": heard.now,
    } | how
    found = transition(
        heard.routing.peers,
        heard.routing.rib,
        {p.name: p for p in wanted},
        {p.name: p for p in spare},
        **values,
    )
    heard.want(*found.peers.values())
    heard.routing.set_holds(found.holds)
    heard.flush()
    return found


def reflected(heard: Listener, by: Peer, *of: Peer) -> None:
    """A reflector tells what it has of these."""
    for owner in of:
        heard.learn(by, via(owner), PODS[owner.name])


def as_kind(of: Peer, kind: PeerKind, cluster: str = "") -> Peer:
    return replace(of, kind=kind, cluster_id=cluster)


def reason(heard: Listener, name: str) -> str:
    return next(
        row["reason"] for row in queries.peers(heard.routing, heard.now) if row["name"] == name
    )


# --- sessions that are not wanted any more --------------------------------------------------------


def test_sessions_stay_until_a_peer_that_stays_has_their_routes_too(mesh: Listener):
    reflector = as_kind(N2, RR)
    assert set(go(mesh, reflector).holds) == {"node/n3", "node/n4"}
    assert "waits for a peer that stays to announce 10.244.3.0/24, at most 60 s more" in reason(
        mesh, "node/n3"
    )
    reflected(mesh, N2, N3, N4)
    found = go(mesh, reflector)
    assert set(found.peers) == {"node/n2"}
    assert found.closing == {"node/n3", "node/n4"}
    assert mesh.fib[V4][n(PODS[N3.name])] == hop("192.0.2.3")


def test_the_kernel_is_never_told_to_remove_a_route_on_the_way(mesh: Listener):
    changes: list[Any] = []
    flush = mesh.routing.flush
    mesh.routing.flush = lambda *how: changes.append(flush(*how)) or changes[-1]  # type: ignore[method-assign,func-returns-value]
    go(mesh, as_kind(N2, RR))
    reflected(mesh, N2, N3, N4)
    go(mesh, as_kind(N2, RR))
    assert all(legs for effects in changes for legs in effects.fib.get(V4, {}).values())


def test_they_go_together_since_others_may_need_one_that_we_could_do_without(mesh: Listener):
    go(mesh, as_kind(N2, RR))
    reflected(mesh, N2, N3)
    assert set(go(mesh, as_kind(N2, RR)).holds) == {"node/n3", "node/n4"}
    assert "waits for node/n4 to be free to go, too" in reason(mesh, "node/n3")


def test_a_path_that_is_not_used_needs_no_other(mesh: Listener):
    mesh.learn(N3, attributes("203.0.113.77"), "198.51.100.0/24")
    reflected(mesh, N2, N3, N4)
    assert go(mesh, as_kind(N2, RR)).holds == {}


def test_stale_paths_of_a_peer_that_stays_do_not_count(mesh: Listener):
    reflected(mesh, N2, N3, N4)
    mesh.down(N2)
    assert set(go(mesh, as_kind(N2, RR)).holds) == {"node/n3", "node/n4"}


@pytest.mark.parametrize(
    "told", [{"local_pref": 0}, {"cluster_list": (packed("192.0.2.2"), packed("192.0.2.9"))}]
)
def test_paths_that_the_old_topology_still_carries_do_not_count(mesh: Listener, told: Any):
    reflected(mesh, N2, N3, N4)
    mesh.learn(N2, attributes("192.0.2.3", **told), PODS[N3.name])
    found = go(mesh, as_kind(N2, RR), gone=lambda: {packed("192.0.2.9")})
    assert set(found.holds) == {"node/n3", "node/n4"}


def test_clusters_of_nodes_that_do_not_reflect_are_known_by_their_router_ids():
    roles = {"n1": Role(duty=Duty.REFLECTOR), "n2": Role(duty=Duty.CLIENT)}
    nodes = {name: NODES[name] for name in ("n1", "n2", "n3")}
    former = {packed("192.0.2.2"), packed("192.0.2.3")}
    assert former_clusters(Bgp(), nodes, roles) == former
    assert former_clusters(Bgp(router_id="10.0.0.1"), nodes, roles) == frozenset()


def test_those_that_stay_must_know_our_routes_first(mesh: Listener):
    reflected(mesh, N2, N3, N4)
    mesh.routing.peers[N2.name].owed.add(V4)
    assert set(go(mesh, as_kind(N2, RR)).holds) == {"node/n3", "node/n4"}
    assert "waits for node/n2 to have our whole table" in reason(mesh, "node/n3")
    mesh.routing.peers[N2.name].owed.clear()
    assert go(mesh, as_kind(N2, RR)).holds == {}


def test_those_that_stay_and_wait_for_a_part_of_our_table_must_have_it_first(mesh: Listener):
    reflected(mesh, N2, N3, N4)
    mesh.routing.refresh(N2.name)
    mesh.routing.announcer.tell({}, 0)
    assert set(go(mesh, as_kind(N2, RR)).holds) == {"node/n3", "node/n4"}
    assert go(mesh, as_kind(N2, RR)).holds == {}


def test_patience_ends(mesh: Listener):
    for now, held in ((0.0, True), (59.9, True), (60.0, False)):
        mesh.now = now
        assert bool(go(mesh, as_kind(N2, RR)).holds) is held
    assert go(mesh, as_kind(N2, RR), patience=0.0).holds == {}


def test_the_other_end_may_close_first_and_its_paths_stay_as_stale_until_ours_are_covered(
    mesh: Listener,
):
    mesh.down(N3)
    assert set(go(mesh, as_kind(N2, RR)).holds) == {"node/n3", "node/n4"}
    assert mesh.fib[V4][n(PODS[N3.name])] == hop("192.0.2.3")
    reflected(mesh, N2, N3, N4)
    assert go(mesh, as_kind(N2, RR)).holds == {}


def test_a_session_that_never_brought_anything_is_not_held(mesh: Listener):
    reflected(mesh, N2, N4)
    mesh.down(N3)
    mesh.forget(N3, PODS[N3.name])
    assert set(go(mesh, as_kind(N2, RR)).peers) == {"node/n2"}


def test_a_peer_whose_node_has_left_or_that_is_no_node_is_not_held(mesh: Listener):
    found = go(mesh, as_kind(N2, RR), nodes={k: v for k, v in NODES.items() if k != "n3"})
    assert set(found.holds) == {"node/n4"}
    assert found.closing == frozenset()
    tor = peer(9, PeerKind.EXTERNAL, name=PeerName("peer/tor"), node="")
    mesh.want(N2, tor)
    assert go(mesh, N2).peers.keys() == {"node/n2"}


def test_nothing_is_held_where_no_peer_is_left_that_could_take_over(mesh: Listener):
    assert go(mesh).holds == {}


def test_another_peer_of_the_same_address_takes_its_place_at_once(mesh: Listener):
    again = replace(N3, name=PeerName("node/n3/ipv4"))
    assert set(go(mesh, N2, N4, again).peers) == {"node/n2", "node/n4", "node/n3/ipv4"}


def test_a_peer_that_is_wanted_again_is_held_no_more(mesh: Listener):
    go(mesh, as_kind(N2, RR))
    mesh.now = 30.0
    assert go(mesh, N2, N3, N4).holds == {}
    go(mesh, as_kind(N2, RR))
    assert mesh.routing.peers[N3.name].hold is not None
    assert mesh.routing.peers[N3.name].hold.until == 90.0


def test_nobody_waits_for_the_table_of_a_peer_that_leaves(mesh: Listener):
    mesh.routing.inventory_complete = True
    assert len(mesh.routing.waiting_for(0.0)) == 3
    go(mesh, as_kind(N2, RR))
    assert mesh.routing.waiting_for(0.0) == ["node/n2 has not sent its whole table"]


# --- reflectors that become none ------------------------------------------------------------------


@pytest.fixture
def reflector() -> Listener:
    """A reflector with two clients and another reflector."""
    peers = (as_kind(N2, CLIENT, "10.0.0.1"), as_kind(N3, CLIENT, "10.0.0.1"))
    other = as_kind(N4, MESH, "10.0.0.1")
    heard = listener(*peers, other)
    for of in (*peers, other):
        heard.up(of)
        heard.learn(of, via(of), PODS[of.name])
    heard.flush()
    assert n(PODS[N3.name]) in heard.heard("node/n2")
    return heard


def test_a_reflector_serves_its_clients_for_the_whole_time_after_the_mesh_is_wanted(
    reflector: Listener,
):
    for now, served in ((0.0, True), (59.0, True), (60.0, False)):
        reflector.now = now
        found = go(reflector, N2, N3, N4)
        assert {h.kind for h in found.holds.values()} == ({Held.SERVED} if served else set())
        assert (n(PODS[N3.name]) in reflector.heard("node/n2")) is served
    assert {p.cluster_id for p in found.peers.values()} == {""}


def test_what_it_reflects_meanwhile_bears_its_cluster_also_to_new_peers(reflector: Listener):
    late = peer(5)
    found = go(reflector, N2, N3, N4, late)
    assert {p.cluster_id for p in found.peers.values()} == {"10.0.0.1"}
    assert "reflected to for 60 s more" in reason(reflector, "node/n2")
    assert go(reflector, N2, N3, N4, late).peers == found.peers


def test_a_session_that_is_lost_meanwhile_is_served_when_it_returns(reflector: Listener):
    go(reflector, N2, N3, N4)
    reflector.down(N2)
    assert go(reflector, N2, N3, N4).peers[N2.name].kind is CLIENT


def test_a_client_whose_session_was_down_gets_its_new_kind_at_once(reflector: Listener):
    reflector.down(N2)
    assert go(reflector, N2, N3, N4).peers[N2.name].kind is MESH


def test_a_reflector_that_becomes_a_client_leaves_when_another_has_what_its_clients_said(
    reflector: Listener,
):
    other = as_kind(N4, RR)
    found = go(reflector, other)
    assert {name: h.kind for name, h in found.holds.items()} == {
        "node/n2": Held.LEAVING,
        "node/n3": Held.LEAVING,
    }
    told = reflector.heard("node/n4")[n(PODS[N3.name])]
    assert told.local_pref == 0, "still passed on, as a last resort"
    reflected(reflector, N4, N2, N3)
    go(reflector, other)
    assert "waits for others to hear that it is a last resort" in reason(reflector, "node/n2")
    reflector.now = NOTICE
    assert set(go(reflector, other).peers) == {"node/n4"}


# --- sessions that may stay -----------------------------------------------------------------------


def test_a_spare_session_stays_while_it_is_up_and_is_not_opened(mesh: Listener):
    unknown = peer(7)
    found = go(mesh, as_kind(N2, RR), spare=(N3, N4, unknown))
    assert set(found.peers) == {"node/n2", "node/n3", "node/n4"}
    assert {h.kind for h in found.holds.values()} == {Held.SPARE}
    assert reason(mesh, "node/n3") == "left of the mesh: stays while it is up"
    mesh.now = 1000.0
    assert set(go(mesh, as_kind(N2, RR), spare=(N3, N4)).peers) == set(found.peers)


def test_a_spare_session_that_is_lost_goes_once_others_have_its_routes(mesh: Listener):
    go(mesh, as_kind(N2, RR), spare=(N3, N4))
    mesh.down(N3)
    assert go(mesh, as_kind(N2, RR), spare=(N3, N4)).holds[N3.name].kind is Held.LEAVING
    reflected(mesh, N2, N3)
    assert set(go(mesh, as_kind(N2, RR), spare=(N3, N4)).peers) == {"node/n2", "node/n4"}


REFLECTOR = peer(9, RR, node="", configured="rr", name=PeerName("peer/rr"))


@pytest.fixture
def behind() -> Listener:
    """All that is known comes by way of a reflector that is no node."""
    heard = listener(REFLECTOR)
    heard.up(REFLECTOR, router_id="192.0.2.9")
    for of in (N2, N3):
        heard.learn(
            REFLECTOR, attributes(str(of.address), originator_id=of.address.packed), PODS[of.name]
        )
    heard.flush()
    return heard


def test_an_explicit_reflector_is_held_until_the_mesh_that_replaces_it_has_its_routes(
    behind: Listener,
):
    kernel = dict(behind.fib[V4])
    assert go(behind, N2, N3).holds[REFLECTOR.name].kind is Held.LEAVING
    for of in (N2, N3):
        assert REFLECTOR.name in go(behind, N2, N3).peers
        assert behind.fib[V4] == kernel
        behind.up(of)
        behind.learn(of, via(of), PODS[of.name])
        behind.end(of)
        behind.flush()
    assert REFLECTOR.name not in go(behind, N2, N3).peers
    assert behind.fib[V4] == kernel


def test_an_explicit_reflector_is_not_held_for_longer_than_its_time(behind: Listener):
    go(behind, N2, N3)
    behind.now += PATIENCE
    assert REFLECTOR.name not in go(behind, N2, N3).peers


def test_an_explicit_reflector_that_nobody_replaces_goes_at_once(behind: Listener):
    assert REFLECTOR.name not in go(behind).peers
    assert not behind.fib[V4]


def test_an_external_peer_that_is_taken_out_goes_at_once(mesh: Listener):
    tor = peer(8, PeerKind.EXTERNAL, node="", configured="tor", name=PeerName("peer/tor"))
    go(mesh, N2, N3, N4, tor)
    mesh.up(tor, router_id="192.0.2.8")
    mesh.learn(tor, attributes("192.0.2.8", 65008), "198.51.100.0/24")
    mesh.flush()
    assert tor.name not in go(mesh, N2, N3, N4, peer(5)).peers
