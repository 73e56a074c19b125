"""Reflectors that all nodes choose alike: sessions have two matching ends, and little moves when nodes come and go."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import given

from kroute.model.bgp import Peer, PeerKind
from kroute.model.config import Config
from kroute.model.config_peering import Auto, Peering, RouteReflector, Topology
from kroute.model.node import Node
from kroute.model.state import Desired, Observed
from kroute.model.topology import Duty, Role
from kroute.plan import plan
from support.routing import dual

MARK = "kroute.io/route-reflector"
MATCHING = {
    (PeerKind.MESH, PeerKind.MESH),
    (PeerKind.CLIENT, PeerKind.REFLECTOR),
    (PeerKind.REFLECTOR, PeerKind.CLIENT),
}


@st.composite
def some_node(draw: st.DrawFn, number: int) -> Node:
    zone = draw(st.sampled_from(["", "a", "b", "c"]))
    mark = draw(st.sampled_from([None, None, None, "true", "false"]))
    labels = {k: v for k, v in (("zone", zone), (MARK, mark)) if v}
    return Node(
        name=f"n{number}",
        addresses=draw(st.sampled_from([dual(number), dual(number), dual(number)[:1], ()])),
        labels=labels,
        ready=draw(st.sampled_from([True, True, True, False])),
        unschedulable=draw(st.sampled_from([False, False, False, True])),
    )


clusters = st.integers(1, 12).flatmap(
    lambda size: st.tuples(*(some_node(number) for number in range(1, size + 1)))
)
peerings = st.builds(
    Peering,
    topology=st.sampled_from([Topology.AUTO, Topology.AUTO, Topology.ROUTE_REFLECTOR]),
    auto=st.builds(
        Auto,
        threshold=st.integers(0, 8),
        hysteresis=st.integers(0, 3),
        reflectors_per_zone=st.integers(1, 3),
        zone_label=st.sampled_from(["", "zone"]),
    ),
    route_reflector=st.builds(
        RouteReflector,
        zone_label=st.sampled_from(["", "zone"]),
        per_client=st.sampled_from([None, 1, 2]),
    ),
)


def planned(nodes: tuple[Node, ...], me: str, peering: Peering) -> Desired:
    known = {node.name: node for node in nodes}
    return plan(Observed(me=me, config=Config(peering=peering), nodes=known, listed=True))


def ends(found: Desired, what: str) -> dict[str, Peer]:
    return {peer.node: peer for peer in getattr(found, what).values()}


@given(clusters, peerings)
def test_every_node_finds_the_same_roles_and_every_session_has_two_matching_ends(
    nodes: tuple[Node, ...], peering: Peering
):
    plans = {node.name: planned(nodes, node.name, peering) for node in nodes}
    assert all(found.roles == plans["n1"].roles for found in plans.values())
    for what in ("peers", "spare"):
        for me, found in plans.items():
            for other, peer in ends(found, what).items():
                back = ends(plans[other], what)[me]
                assert (peer.kind, back.kind) in MATCHING
                assert (peer.address, peer.local_address) == (back.local_address, back.address)


def reflectors(nodes: tuple[Node, ...], auto: Auto) -> dict[str, Role]:
    peering = Peering(topology=Topology.AUTO, auto=auto)
    roles = planned(nodes, nodes[0].name, peering).roles
    return {name: role for name, role in roles.items() if role.duty is Duty.REFLECTOR}


@given(clusters.filter(lambda nodes: len(nodes) > 1), st.integers(1, 3), st.data())
def test_a_node_that_goes_or_comes_moves_one_reflector_at_most_and_only_in_its_zone(
    nodes: tuple[Node, ...], each: int, data: Any
):
    auto = Auto(threshold=0, hysteresis=0, reflectors_per_zone=each, zone_label="zone")
    gone = data.draw(st.sampled_from(nodes))
    rest = tuple(node for node in nodes if node is not gone)
    before, after = reflectors(nodes, auto), reflectors(rest, auto)
    assert before.keys() - after.keys() == before.keys() & {gone.name}
    came = after.keys() - before.keys()
    assert len(came) <= (gone.name in before)
    assert all(after[name].zone == gone.labels.get("zone", "") for name in came)


@given(clusters, st.integers(1, 3), st.data())
def test_the_order_in_which_nodes_became_known_does_not_matter(
    nodes: tuple[Node, ...], each: int, data: Any
):
    auto = Auto(threshold=0, reflectors_per_zone=each, zone_label="zone")
    shuffled = tuple(data.draw(st.permutations(nodes)))
    assert reflectors(nodes, auto) == reflectors(shuffled, auto)


@given(clusters, peerings)
def test_no_session_is_between_two_clients_once_the_mesh_is_given_up(
    nodes: tuple[Node, ...], peering: Peering
):
    for node in nodes:
        found = planned(nodes, node.name, peering)
        roles = found.roles
        for other, peer in ends(found, "peers").items():
            if peer.kind is not PeerKind.MESH or roles[node.name].duty is not Duty.MESH:
                assert Duty.REFLECTOR in (roles[node.name].duty, roles[other].duty)
