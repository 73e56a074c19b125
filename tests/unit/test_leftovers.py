"""Kernel routes of an earlier life: which may go although somebody is still silent."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from kroute.model.bgp import Peer, PeerKind, PeerName
from kroute.model.config import Config, Seeding
from kroute.model.config_peering import PeerConfig, Peering
from kroute.model.fib import Nexthop
from kroute.model.node import Node
from kroute.model.selection import AddressFrom
from kroute.plan.leftovers import Guard
from kroute.plan.policy import Acceptance, ImportRules
from kroute.plan.seed import vouched
from kroute.plan.sessions import View
from support.routing import V4, Listener, ecmp_of, hop, listener, n, node, peer

ME = node(1)
NODES = tuple(node(number, f"10.0.{number}.0/24") for number in (2, 3, 8, 9))
GONE = "10.0.77.0/24"
"""The podCIDR of a node that left, 192.0.2.77."""
LEFT = {n(GONE): hop("192.0.2.77")}
MESH = peer(2), peer(3)
REFLECTORS = peer(8, PeerKind.REFLECTOR), peer(9, PeerKind.REFLECTOR)
TOR = peer(50, PeerKind.EXTERNAL, name=PeerName("peer/n50"), node="")


def released(
    of: Listener, left: Any = None, peering: Peering | None = None, nodes: tuple[Node, ...] = NODES
) -> bool:
    """Whether a route of an earlier life may go."""
    config = Config(peering=peering or Peering())
    view = View(me=ME, nodes={x.name: x for x in (ME, *nodes)}, config=config)
    states = of.routing.peers.values()
    said = vouched(view, [s.peer for s in states])
    of.routing.seeds.want(said, Seeding(not_ready_time=0), of.now)
    of.flush()
    owned = {(V4, n("10.0.2.0/24"))}
    return bool(Guard(said, states).releases(V4, LEFT if left is None else left, owned))


def spoken(*who: Peer, silent: tuple[Peer, ...] = ()) -> Listener:
    found = listener(*who, *silent)
    for each in who:
        found.up(each)
        found.end(each)
    return found


def test_one_silent_neighbour_does_not_keep_routes_that_do_not_lead_to_it():
    assert released(spoken(MESH[0], silent=MESH[1:]))
    assert released(spoken(silent=MESH)), "nor do all of them"


def test_what_leads_to_a_silent_neighbour_stays():
    found = spoken(MESH[0], silent=MESH[1:])
    assert not released(found, {n(GONE): hop("192.0.2.3")}), "a VIP that it may still announce"
    assert not released(found, {n(GONE): ecmp_of("192.0.2.3", "192.0.2.77")})
    assert released(found, {n(GONE): hop("192.0.2.2")}), "it has spoken"


def test_what_a_node_of_the_inventory_owns_stays():
    assert not released(spoken(silent=MESH), {n("10.0.2.0/24"): hop("192.0.2.77")})


def test_what_has_no_next_hop_to_judge_by_stays():
    assert not released(spoken(silent=MESH), {n(GONE): ()})
    assert not released(spoken(silent=MESH), {n(GONE): (Nexthop(None, 1),)})


@pytest.mark.parametrize("who", [REFLECTORS[0], TOR, peer(3, cluster_id="192.0.2.1")])
def test_who_passes_others_routes_on_keeps_everything_while_silent(who: Peer):
    assert not released(spoken(silent=(who,)))
    assert released(spoken(who))


def test_of_two_reflectors_one_may_be_dead():
    found = spoken(REFLECTORS[0], silent=REFLECTORS[1:])
    assert released(found)
    assert not released(found, {n(GONE): hop("192.0.2.9")}), "its own"


def test_a_reflector_that_is_no_node_may_know_of_another_cluster():
    other = peer(60, PeerKind.REFLECTOR, name=PeerName("peer/n60"), node="")
    assert not released(spoken(REFLECTORS[0], silent=(other,)))


def test_an_external_peer_keeps_only_what_it_may_tell():
    found = spoken(silent=(TOR,))
    rules = ImportRules(acceptance=Acceptance(exact=frozenset({(V4, n("0.0.0.0/0"))}), words=""))
    found.routing.rib.review.accept(found.routing.peers[TOR.name].adj_in, rules)
    assert released(found)
    assert not released(found, {n("0.0.0.0/0"): hop("192.0.2.77")})


def test_a_node_that_is_not_ready_keeps_nothing():
    away = tuple(node(each, ready=False) for each in (8, 9))
    assert released(spoken(silent=REFLECTORS), nodes=away)


def test_nothing_goes_early_while_addresses_of_peers_are_looked_for():
    found = AddressFrom(annotation="example.org/tor")
    peering = Peering(peers=(PeerConfig(name="tor", address_from=found, asn=65001),))
    assert not released(spoken(silent=MESH), peering=peering)
    named = PeerConfig(name="tor", address=ip_address("192.0.2.9"), asn=65001)
    assert released(spoken(silent=MESH), peering=Peering(peers=(named,)))
