"""Sessions come and go: graceful restart in both roles (RFC 4724, RFC 8538), and what each peer is told when."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from kroute.model.bgp import PeerKind, SessionDown, SessionState
from kroute.model.fib import Nexthop
from kroute.plan.resolve import Resolver
from support.routing import (
    BOTH,
    LOST,
    OWN_NEXTHOPS,
    SELF,
    V4,
    V6,
    Listener,
    attributes,
    kernel,
    listener,
    n,
    negotiated,
    packed,
    peer,
    restart,
)

N2, N3 = peer(2), peer(3)
POD, POD3 = "10.244.2.0/24", "10.244.3.0/24"
MINE = "10.244.1.0/24"


def learned(**session: Any) -> Listener:
    """A node with n2 up, two prefixes learned, its initial table ended."""
    node = listener(N2, N3)
    node.up(N2, **session)
    node.learn(N2, attributes(), POD, POD3)
    node.end(N2)
    node.flush()
    assert set(node.routes) == {POD, POD3}
    return node


def stale(node: Listener) -> int:
    return sum(map(len, node.routing.peers[N2.name].adj_in.stale.values()))


def after(node: Listener, seconds: float) -> set[str]:
    """The routes that are left some time later."""
    node.now += seconds
    node.routing.tick(node.now)
    node.flush()
    return set(node.routes)


# --- helper: the loss -------------------------------------------------------------------------------

CEASE_RESET, HARD_RESET, HOLD_TIMER = (6, 4), (6, 9), (4, 0)

LOSSES: list[tuple[str, SessionDown, dict[str, Any], bool]] = [
    ("TCP is lost", LOST, {}, True),
    ("TCP is lost, no N bit", LOST, {"notification": False}, True),
    ("peer says Cease", SessionDown(reason="", received=CEASE_RESET), {}, True),
    ("we say hold timer expired", SessionDown(reason="", sent=HOLD_TIMER), {}, True),
    (
        "peer says Cease, no N bit",
        SessionDown(reason="", received=CEASE_RESET),
        {"notification": False},
        False,
    ),
    (
        "we say hold timer expired, no N bit",
        SessionDown(reason="", sent=HOLD_TIMER),
        {"notification": False},
        False,
    ),
    ("peer says Hard Reset", SessionDown(reason="", received=HARD_RESET), {}, False),
    ("we say Hard Reset", SessionDown(reason="", sent=HARD_RESET), {}, False),
]


@pytest.mark.parametrize(("what", "why", "offer", "kept"), LOSSES, ids=[x[0] for x in LOSSES])
def test_paths_stay_or_go_with_the_session_as_rfc_4724_and_8538_say(
    what: str, why: SessionDown, offer: dict[str, Any], kept: bool
):
    node = learned(restart=restart(**offer))
    node.down(N2, why)
    node.flush()
    assert set(node.routes) == ({POD, POD3} if kept else set())
    assert stale(node) == (2 if kept else 0)


def test_paths_go_at_once_where_the_peer_offers_no_graceful_restart():
    node = learned(restart=None)
    node.down(N2)
    node.flush()
    assert node.routes == {}


def test_paths_go_at_once_where_we_offer_none():
    plain = replace(N2, graceful_restart=None)
    node = listener(plain)
    node.up(plain)
    node.learn(plain, attributes(), POD)
    node.down(plain)
    node.flush()
    assert node.routes == {}


def test_only_the_families_of_the_capability_stay():
    node = learned(restart=restart(families=(V6,), forwarding=(V6,)))
    node.learn(N2, attributes("2001:db8::2"), "fd00:2::/64", family=V6)
    node.down(N2)
    node.flush()
    assert node.routes == {}
    assert set(node.fib[V6]) == {n("fd00:2::/64")}


def test_stale_paths_go_when_the_peers_restart_time_is_over():
    node = learned(restart=restart(restart_time=30))
    node.down(N2)
    assert after(node, 29) == {POD, POD3}
    assert after(node, 1) == set()


def test_a_failed_attempt_to_connect_does_not_end_the_wait():
    node = learned()
    node.down(N2)
    node.down(N2, SessionDown(reason="connection refused"))
    assert after(node, 60) == {POD, POD3}
    assert node.routing.peers[N2.name].flaps == 1


def test_a_peer_that_is_no_longer_wanted_is_flushed_at_once_stale_or_not():
    for lost in (False, True):
        node = learned()
        if lost:
            node.down(N2)
        node.want(N3)
        node.flush()
        assert node.routes == {}


# --- helper: the return -----------------------------------------------------------------------------


def test_end_of_rib_sweeps_only_what_was_not_announced_again():
    node = learned()
    node.down(N2)
    node.up(N2, restart=restart(restarting=True))
    node.learn(N2, attributes(), POD)
    node.flush()
    assert set(node.routes) == {POD, POD3}
    node.end(N2, V4)
    node.flush()
    assert set(node.routes) == {POD}
    assert stale(node) == 0


def test_end_of_rib_of_one_family_leaves_the_other_stale():
    node = learned()
    node.learn(N2, attributes("2001:db8::2"), "fd00:2::/64", family=V6)
    node.down(N2)
    node.up(N2)
    node.end(N2, V4)
    node.flush()
    assert (node.routes, len(node.fib[V6])) == ({}, 1)


def test_a_withdrawn_path_is_not_stale_any_more():
    node = learned()
    node.down(N2)
    node.up(N2)
    node.forget(N2, POD)
    node.flush()
    assert (set(node.routes), stale(node)) == ({POD3}, 1)


RETURNS: list[tuple[str, Any, set[str]]] = [
    ("restarted, forwarding preserved", restart(restarting=True), {POD, POD3}),
    ("restarted, forwarding lost", restart(restarting=True, forwarding=()), set()),
    (
        "restarted, forwarding of the other family preserved",
        restart(restarting=True, forwarding=(V6,)),
        set(),
    ),
    ("not restarted: the bit has nothing to say", restart(forwarding=()), {POD, POD3}),
    ("without graceful restart", None, set()),
]


@pytest.mark.parametrize(("what", "offer", "left"), RETURNS, ids=[r[0] for r in RETURNS])
def test_the_new_open_decides_whether_stale_paths_may_stay(what: str, offer: Any, left: set[str]):
    node = learned()
    node.down(N2)
    node.up(N2, restart=offer)
    node.flush()
    assert set(node.routes) == left


def test_a_family_that_the_new_session_does_not_carry_goes():
    node = learned()
    node.down(N2)
    node.up(N2, families=(V6,))
    node.flush()
    assert node.routes == {}


def test_a_peer_that_returns_and_never_ends_its_table_has_the_stale_time():
    node = learned()
    node.down(N2)
    node.up(N2)
    assert after(node, 299) == {POD, POD3}
    assert after(node, 1) == set()


def test_a_second_loss_before_end_of_rib_costs_what_was_not_announced_in_between():
    """RFC 4724 §4.2: to deal with consecutive restarts."""
    node = learned()
    node.down(N2)
    node.up(N2)
    node.learn(N2, attributes(), POD)
    node.down(N2)
    node.flush()
    assert (set(node.routes), stale(node)) == ({POD}, 1)


def test_a_second_loss_after_end_of_rib_keeps_all():
    node = learned()
    for _ in range(3):
        node.down(N2)
        node.up(N2)
        node.learn(N2, attributes(), POD, POD3)
        node.end(N2)
        node.down(N2)
        node.flush()
        assert set(node.routes) == {POD, POD3}


# --- our own side is lost ---------------------------------------------------------------------------


@pytest.mark.parametrize("offer", [restart(), restart(notification=False), None])
def test_the_death_of_our_speaker_costs_nothing(offer: Any):
    node = learned(restart=offer)
    node.told.clear()
    node.routing.speaker_died(node.now)
    node.flush()
    assert (set(node.routes), stale(node)) == ({POD, POD3}, 2)
    assert all(not p.established for p in node.routing.peers.values())
    assert after(node, 119) == {POD, POD3}
    assert after(node, 1) == set()


def test_relearning_after_the_death_of_our_speaker_ends_with_the_peers_table():
    node = learned()
    node.told.clear()
    node.routing.speaker_died(node.now)
    node.up(N2, restart=restart(forwarding=()))
    node.learn(N2, attributes(), POD)
    node.flush()
    assert set(node.routes) == {POD, POD3}
    node.end(N2)
    node.flush()
    assert set(node.routes) == {POD}


def test_a_session_that_we_start_anew_keeps_its_paths_until_it_is_back():
    node = learned(restart=None)
    node.routing.session_replaced(N2.name, node.now)
    node.told.clear()
    node.flush()
    assert (set(node.routes), stale(node)) == ({POD, POD3}, 2)
    assert node.routing.peers[N2.name].state is SessionState.CONNECT


def test_a_session_that_was_never_up_is_not_replaced():
    node = listener(N2)
    node.routing.session_replaced(N2.name, 0.0)
    assert node.routing.peers[N2.name].state is SessionState.IDLE


def test_events_of_unknown_peers_are_ignored():
    node = listener(N3)
    node.routing.session_up(N2.name, negotiated(N2), 0.0)
    node.routing.session_down(N2.name, LOST, 0.0)
    node.routing.session_replaced(N2.name, 0.0)
    node.routing.refresh(N2.name)
    assert node.flush() == []


# --- in sync (law 2) --------------------------------------------------------------------------------


def test_nothing_may_be_removed_before_the_inventory_is_listed():
    node = listener(N2)
    node.routing.inventory_complete = False
    assert node.routing.waiting_for(1e9) == ["the inventory has not been listed"]
    node.originate()
    assert node.routing.waiting_for(1e9) == []


def test_every_expected_peer_is_waited_for_by_name_until_its_table_has_ended():
    node = listener(N2, N3)
    waiting = ["node/n2 has not sent its whole table", "node/n3 has not sent its whole table"]
    assert node.routing.waiting_for(0.0) == waiting
    node.up(N2)
    node.end(N2, V4)
    assert node.routing.waiting_for(1.0) == waiting
    node.end(N2, V6)
    assert node.routing.waiting_for(1.0) == waiting[1:]
    node.up(N3, families=(V4,))
    node.end(N3, V4)
    assert node.routing.waiting_for(1.0) == []


def test_a_silent_peer_is_given_up_after_the_deferral():
    node = listener(N2, deferral=60)
    assert node.routing.waiting_for(59.9)
    assert node.routing.waiting_for(60.0) == []


def test_a_peer_that_is_lost_again_is_waited_for_again():
    node = listener(N2)
    node.up(N2)
    node.end(N2)
    assert node.routing.waiting_for(1.0) == []
    node.down(N2)
    assert node.routing.waiting_for(1.0)


# --- what peers are told ----------------------------------------------------------------------------


def test_a_joining_peer_gets_the_whole_table_and_then_its_end():
    node = listener(N2)
    node.originate(MINE, "10.244.101.0/24")
    node.up(N2)
    tells = node.flush()
    assert [(t.family, len(t.announced), t.end_of_rib) for t in tells] == [
        (V4, 1, False),
        (V4, 0, True),
        (V6, 0, True),
    ]
    assert sorted(node.heard(N2.name)) == sorted([n(MINE), n("10.244.101.0/24")])
    assert node.ends[N2.name] == [V4, V6]


def test_end_of_rib_is_said_once():
    node = listener(N2)
    node.up(N2)
    node.flush()
    node.originate(MINE)
    node.flush()
    assert node.ends[N2.name] == [V4, V6]


def test_end_of_rib_waits_for_the_inventory_but_announcements_do_not():
    node = listener(N2)
    node.routing.inventory_complete = False
    node.up(N2)
    node.originate(MINE, complete=False)
    node.flush()
    assert set(node.heard(N2.name)) == {n(MINE)}
    assert node.ends == {}
    node.originate(MINE)
    node.flush()
    assert node.ends[N2.name] == [V4, V6]


def test_mesh_peers_are_not_told_what_others_said():
    node = listener(N2, N3)
    node.up(N2)
    node.up(N3)
    node.learn(N2, attributes(), POD)
    node.flush()
    assert node.heard(N3.name) == {}


CLIENTS = [peer(i, PeerKind.CLIENT, cluster_id="192.0.2.1") for i in (2, 3, 4)]


def reflector(deferral: float = 60.0) -> Listener:
    node = listener(*CLIENTS, deferral=deferral)
    for client in CLIENTS:
        node.up(client)
    node.flush()
    return node


def test_clients_are_told_what_other_clients_say_but_not_their_own():
    node = reflector()
    node.learn(CLIENTS[0], attributes(), POD)
    node.flush()
    assert [n(POD) in node.heard(c.name) for c in CLIENTS] == [False, True, True]
    told = node.heard(CLIENTS[1].name)[n(POD)]
    assert (told.nexthop, told.originator_id) == (packed("192.0.2.2"), packed("192.0.2.2"))
    node.forget(CLIENTS[0], POD)
    node.flush()
    assert all(n(POD) not in node.heard(c.name) for c in CLIENTS)


def test_a_client_loses_what_it_was_told_when_its_own_path_becomes_the_best():
    node = reflector()
    node.learn(CLIENTS[1], attributes("192.0.2.3"), POD)
    node.flush()
    node.learn(CLIENTS[0], attributes("192.0.2.2"), POD)
    node.flush()
    assert [n(POD) in node.heard(c.name) for c in CLIENTS] == [False, True, True]
    node.forget(CLIENTS[0], POD)
    node.flush()
    assert [n(POD) in node.heard(c.name) for c in CLIENTS] == [True, False, True]


def test_peers_of_equal_rules_are_told_in_one_go():
    node = reflector()
    node.originate(MINE)
    (tell,) = node.flush()
    assert tell.peers == tuple(c.name for c in CLIENTS)


def test_a_path_that_only_moves_in_our_kernel_is_not_told_again():
    node = reflector()
    node.learn(CLIENTS[0], attributes(), POD)
    node.flush()
    node.learn(CLIENTS[0], attributes(), POD)
    assert node.flush() == []


def test_a_refresh_repeats_the_whole_table_and_no_end():
    node = listener(N2)
    node.originate(MINE)
    node.up(N2)
    node.flush()
    node.routing.refresh(N2.name)
    (tell,) = node.flush()
    assert ([nlris for _, nlris in tell.announced], tell.end_of_rib) == ([[n(MINE)]], False)


def test_a_new_next_hop_of_ours_is_told_to_all():
    node = listener(N2)
    node.originate("fd00:1::/64")
    node.up(N2)
    node.flush()
    moved = {**OWN_NEXTHOPS, V6: packed("2001:db8::77")}
    node.routing.set_self(SELF, Resolver(kernel()), moved)
    node.flush()
    assert node.heard(N2.name, V6)[n("fd00:1::/64")].nexthop == packed("2001:db8::77")


def test_a_family_that_we_have_no_address_for_any_more_is_withdrawn():
    node = listener(N2)
    node.originate("fd00:1::/64", MINE)
    node.up(N2)
    node.flush()
    node.routing.set_self(SELF, Resolver(kernel()), {V4: OWN_NEXTHOPS[V4]})
    node.flush()
    assert node.heard(N2.name, V6) == {}
    assert set(node.heard(N2.name)) == {n(MINE)}


def test_a_client_that_becomes_a_mesh_peer_is_told_less_and_its_paths_travel_less():
    node = reflector()
    node.learn(CLIENTS[1], attributes("192.0.2.3"), POD)
    node.flush()
    assert set(node.heard(CLIENTS[0].name)) == {n(POD)}
    mesh = [replace(c, kind=PeerKind.MESH) for c in CLIENTS]
    node.want(*mesh)
    node.flush()
    assert all(node.heard(c.name) == {} for c in CLIENTS)
    node.want(*CLIENTS)
    node.flush()
    assert set(node.heard(CLIENTS[0].name)) == {n(POD)}


def test_another_limit_or_description_tells_nobody_anything():
    node = reflector()
    node.learn(CLIENTS[0], attributes(), POD)
    node.flush()
    node.want(*(replace(c, max_prefixes=5000, description="x") for c in CLIENTS))
    assert node.flush() == []


def test_an_ipv6_session_with_rfc_8950_carries_our_ipv4_prefixes_over_its_own_address():
    six = peer(2, six=True, extended_nexthop=True)
    for agreed, expected in ((True, "2001:db8::1"), (False, "192.0.2.1")):
        node = listener(six)
        node.originate(MINE)
        node.up(six, extended_nexthop=agreed)
        node.flush()
        assert node.heard(six.name)[n(MINE)].nexthop == packed(expected)


def test_a_node_without_ipv4_tells_its_ipv4_prefixes_only_where_rfc_8950_is_agreed():
    six = peer(2, six=True, extended_nexthop=True)
    for agreed in (True, False):
        node = listener(six)
        node.routing.set_self(SELF, Resolver(kernel()), {V6: OWN_NEXTHOPS[V6]})
        node.originate(MINE)
        node.up(six, extended_nexthop=agreed)
        node.flush()
        assert (n(MINE) in node.heard(six.name)) == agreed


# --- End-of-RIB of a reflector ----------------------------------------------------------------------


def test_a_reflector_says_end_of_rib_when_all_other_clients_have_ended_theirs():
    node = reflector()
    assert node.ends == {}
    for client in CLIENTS[:2]:
        node.end(client)
    node.flush()
    assert set(node.ends) == {CLIENTS[2].name}
    node.end(CLIENTS[2])
    node.flush()
    assert set(node.ends) == {c.name for c in CLIENTS}


def test_a_reflector_waits_no_longer_than_the_deferral():
    node = reflector(deferral=60)
    node.now = 60.0
    node.flush()
    assert set(node.ends) == {c.name for c in CLIENTS}


def other_reflector(**offer: Any) -> tuple[Listener, Any]:
    client, other = CLIENTS[0], peer(9, cluster_id="192.0.2.1")
    node = listener(client, other)
    node.up(client)
    node.up(other, restart=restart(**offer))
    node.flush()
    return node, other


def test_a_client_waits_for_what_other_reflectors_pass_on():
    node, other = other_reflector()
    assert set(node.ends) == set()
    node.end(other)
    node.flush()
    assert set(node.ends) == {CLIENTS[0].name}


def test_reflectors_that_restart_together_do_not_wait_for_each_other():
    node, _other = other_reflector(restarting=True)
    assert set(node.ends) == {CLIENTS[0].name}


def test_a_reflector_that_once_restarted_and_is_away_now_is_waited_for():
    node, other = other_reflector(restarting=True)
    node.down(other)
    node.down(CLIENTS[0])
    node.up(CLIENTS[0])
    node.flush()
    assert node.ends == {}


def test_another_reflector_hears_our_end_when_our_clients_have_ended():
    node, other = other_reflector()
    node.end(CLIENTS[0])
    node.flush()
    assert set(node.ends) == {other.name}


def test_nobody_waits_for_external_peers_whose_paths_travel_nowhere():
    tor = peer(9, PeerKind.EXTERNAL)
    node = listener(CLIENTS[0], tor)
    node.up(CLIENTS[0])
    node.flush()
    assert node.ends[CLIENTS[0].name] == [*BOTH]


def test_a_node_without_clients_says_end_of_rib_at_once():
    node = listener(N2, N3)
    node.up(N2)
    node.flush()
    assert node.ends[N2.name] == [V4, V6]


def test_a_client_that_returns_under_another_router_id_is_ranked_and_passed_on_by_it():
    node = reflector()
    node.learn(CLIENTS[0], attributes("192.0.2.2"), POD)
    node.learn(CLIENTS[1], attributes("192.0.2.3"), POD)
    node.flush()
    third = CLIENTS[2].name
    assert node.heard(third)[n(POD)].originator_id == packed("192.0.2.2")
    node.down(CLIENTS[0])
    node.up(CLIENTS[0], router_id="192.0.2.99")
    node.flush()
    assert node.heard(third)[n(POD)].originator_id == packed("192.0.2.3")
    node.forget(CLIENTS[1], POD)
    node.flush()
    assert node.heard(third)[n(POD)].originator_id == packed("192.0.2.99")


def test_a_path_that_changes_again_and_again_is_told_as_it_is_now():
    node = reflector()
    for med in range(1500):
        node.learn(CLIENTS[0], attributes("192.0.2.2", med=med), POD)
        node.flush()
    assert node.heard(CLIENTS[1].name)[n(POD)].med == 1499


def test_a_link_local_next_hop_is_on_the_link_of_its_session():
    uplinks = [
        peer(
            number,
            PeerKind.EXTERNAL,
            asn=65001,
            address=ip_address(f"fe80::1%eth{number}"),
            local_address=ip_address(f"fe80::2%eth{number}"),
            extended_nexthop=True,
        )
        for number in (2, 3)
    ]
    node = listener(*uplinks)
    state = kernel(links=3)
    node.world(state)
    for up in uplinks:
        node.up(up)
        node.learn(up, attributes("fe80::1", 65001), POD)
    node.flush()
    legs = tuple(Nexthop(packed("fe80::1"), oif) for oif in (2, 3))
    assert node.routes == {POD: legs}
    node.world(replace(state, links=tuple(replace(k, up=k.index != 3) for k in state.links)))
    node.flush()
    assert node.routes == {POD: legs[:1]}


def test_over_a_link_local_session_the_link_local_half_of_a_next_hop_is_used():
    up = peer(2, PeerKind.EXTERNAL, address=ip_address("fe80::1%eth2"), extended_nexthop=True)
    node = listener(up)
    node.up(up)
    node.learn(up, attributes("2001:db8:ffff::1", 65002, link_local=packed("fe80::1")), POD)
    node.flush()
    assert node.routes == {POD: (Nexthop(packed("fe80::1"), 2),)}


def test_what_is_missing_says_which_cables_are_silent_until_the_deferral_is_over():
    node = listener(deferral=60.0)
    node.routing.undiscovered = frozenset({"eth1"})
    assert node.routing.waiting_for(0.0) == ["no router was heard on eth1 yet"]
    assert node.routing.waiting_for(60.0) == []
