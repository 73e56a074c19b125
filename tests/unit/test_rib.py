"""The tables: who announced what, what was selected, and what the kernel is told of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kroute.model.bgp import PeerKind, PeerName
from kroute.model.policies import OriginState
from kroute.model.reason import Reason, Why
from kroute.plan import resolve
from kroute.plan.decision import ineligible
from kroute.plan.paths import Multipath, Path
from kroute.plan.policy import UNCHECKED, Acceptance, ImportRules, OriginVerdict, Self
from kroute.plan.policy.changes import concerned
from support.routing import (
    BOTH,
    SELF,
    V4,
    V6,
    Checked,
    Listener,
    attributes,
    connected,
    hop,
    kernel,
    kernel_route,
    listener,
    n,
    packed,
    peer,
)

N2, N3 = peer(2), peer(3)
POD = "10.244.2.0/24"


def learned(*prefixes: str, of: int = 2, **kwargs: object) -> Listener:
    """A node that has learned prefixes from n2 (and n3 up beside it)."""
    node = listener(N2, N3, **kwargs)  # type: ignore[arg-type]
    node.up(N2)
    node.up(N3)
    node.learn(N2, attributes("192.0.2.2"), *prefixes)
    node.flush()
    return node


def reason(node: Listener, prefix: str) -> Why:
    (path,) = node.routing.rib.rivals(V4, n(prefix))
    return ineligible(path).why


def test_an_announced_prefix_is_routed_and_a_withdrawn_one_is_not():
    node = learned(POD)
    assert node.routes == {POD: hop("192.0.2.2")}
    node.forget(N2, POD)
    node.flush()
    assert node.routes == {}
    assert node.routing.rib.candidates[V4] == {}


def test_withdrawing_what_was_never_announced_changes_nothing():
    node = learned(POD)
    node.forget(N2, "10.0.0.0/8")
    node.forget(N3, POD)
    assert node.flush() == []
    assert node.routes == {POD: hop("192.0.2.2")}


def test_a_new_announcement_replaces_the_one_before():
    node = learned(POD)
    node.learn(N2, attributes("192.0.2.99"), POD)
    node.flush()
    assert node.routes == {POD: hop("192.0.2.99")}
    assert len(node.routing.rib.rivals(V4, n(POD))) == 1


def test_an_unchanged_route_is_not_told_to_the_kernel_again():
    node = learned(POD)
    node.learn(N2, attributes("192.0.2.2", communities=(7,)), POD)
    assert node.routing.flush(0.0).fib == {V4: {}}


def test_a_second_path_becomes_a_second_leg_and_goes_with_its_peer():
    node = learned(POD)
    node.learn(N3, attributes("192.0.2.3"), POD)
    node.flush()
    assert node.routes == {POD: (*hop("192.0.2.2"), *hop("192.0.2.3"))}
    node.want(N3)
    node.flush()
    assert node.routes == {POD: hop("192.0.2.3")}


def test_turning_ecmp_off_and_on_holds_for_the_routes_that_are_there():
    node = learned(POD)
    node.learn(N3, attributes("192.0.2.3"), POD)
    node.flush()
    node.routing.rib.legs = 1
    node.flush()
    assert node.routes == {POD: hop("192.0.2.2")}
    node.routing.rib.legs = 8
    node.flush()
    assert node.routes == {POD: (*hop("192.0.2.2"), *hop("192.0.2.3"))}


def test_families_do_not_mix():
    node = learned(POD)
    node.learn(N2, attributes("2001:db8::2"), "fd00:2::/64", family=V6)
    node.flush()
    assert node.fib[V6] == {n("fd00:2::/64"): hop("2001:db8::2")}
    node.forget(N2, POD, family=V6)
    node.flush()
    assert node.routes == {POD: hop("192.0.2.2")}


def test_an_ipv4_prefix_may_have_an_ipv6_next_hop():
    node = listener(N2)
    node.up(N2, extended_nexthop=True)
    node.learn(N2, attributes("2001:db8::2"), POD)
    node.flush()
    assert node.routes == {POD: hop("2001:db8::2")}


def test_what_we_originate_wins_and_is_never_installed():
    node = learned(POD)
    node.originate(POD)
    node.flush()
    assert node.routes == {}
    node.originate()
    node.flush()
    assert node.routes == {POD: hop("192.0.2.2")}


def test_an_incomplete_inventory_adds_and_does_not_remove():
    node = listener(N2)
    node.up(N2)
    node.originate("10.244.1.0/24")
    node.flush()
    node.originate(POD, complete=False)
    node.flush()
    assert set(node.heard(N2.name)) == {n("10.244.1.0/24"), n(POD)}
    node.originate(POD)
    node.flush()
    assert set(node.heard(N2.name)) == {n(POD)}


# --- the world changes ------------------------------------------------------------------------------


def test_a_next_hop_that_moves_takes_its_routes_along():
    node = learned(POD, "10.244.3.0/24")
    node.world(kernel(connected("192.0.2.0/24", oif=2)))
    node.flush()
    assert node.routes == {POD: hop("192.0.2.2", 2), "10.244.3.0/24": hop("192.0.2.2", 2)}


def test_a_lost_next_hop_removes_its_routes_and_a_found_one_brings_them_back():
    node = learned(POD)
    node.world(kernel(connected("198.51.100.0/24")))
    node.flush()
    assert node.routes == {}
    assert reason(node, POD) is Why.NEXTHOP_UNREACHABLE
    node.world(kernel())
    node.flush()
    assert node.routes == {POD: hop("192.0.2.2")}


def test_the_kernel_follows_where_one_path_moves_onto_the_legs_that_another_then_wins_with():
    """Before and after look the same from where the paths stand now; what was installed was something else."""
    node = learned(POD, legs=1)
    node.learn(N3, attributes("198.51.100.3"), POD)
    node.flush()
    assert node.routes == {POD: hop("192.0.2.2")}
    by_gateway = {"gateway": packed("203.0.113.1"), "oif": 2}
    node.world(
        kernel(
            kernel_route("192.0.2.0/24", **by_gateway),
            kernel_route("198.51.100.0/24", **by_gateway),
        )
    )
    node.want(N3)
    node.flush()
    assert node.routes == {POD: hop("203.0.113.1", 2)}


def test_a_path_in_no_table_is_judged_anew_when_it_is_announced_again():
    """The decoder remembers a path by its attribute block, for longer than any table holds it."""
    node = learned()
    rib, adj_in = node.routing.rib, node.routing.peers[N2.name].adj_in
    remembered = rib.judge(adj_in, attributes("192.0.2.2"))
    rib.learn(adj_in, V4, remembered, [n(POD)])
    node.flush()
    node.forget(N2, POD)
    node.flush()
    node.world(kernel(connected("192.0.2.0/24", oif=2)))
    rib.learn(adj_in, V4, remembered, [n(POD)])
    node.flush()
    assert node.routes == {POD: hop("192.0.2.2", 2)}


def test_a_remembered_path_moves_even_while_its_old_route_waits_for_the_flush():
    node = learned()
    rib, adj_in = node.routing.rib, node.routing.peers[N2.name].adj_in
    remembered = rib.judge(adj_in, attributes("192.0.2.2"))
    rib.learn(adj_in, V4, remembered, [n(POD)])
    node.flush()
    node.forget(N2, POD)
    node.world(kernel(connected("192.0.2.0/24", oif=2)))
    rib.learn(adj_in, V4, remembered, [n(POD)])
    node.flush()
    assert node.routes == {POD: hop("192.0.2.2", 2)}


def test_our_own_address_is_never_a_next_hop_even_when_it_becomes_ours_later():
    node = learned(POD)
    mine = Self(
        router_id=SELF.router_id, cluster_id=b"", addresses=SELF.addresses | {packed("192.0.2.2")}
    )
    node.world(kernel(), mine)
    node.flush()
    assert node.routes == {}
    assert reason(node, POD) is Why.OWN_NEXTHOP


@pytest.mark.parametrize(
    ("routes", "legs"),
    [
        ([connected("192.0.2.0/24"), connected("192.0.2.0/28", oif=2)], hop("192.0.2.2", 2)),
        (
            [kernel_route("192.0.2.0/24", gateway=packed("198.51.100.1"), oif=2)],
            hop("198.51.100.1", 2),
        ),
        (
            [connected("192.0.2.0/24"), kernel_route("192.0.2.0/24", metric=50, oif=2)],
            hop("192.0.2.2"),
        ),
        ([kernel_route("0.0.0.0/0", gateway=packed("198.51.100.1"))], None),
        ([connected("192.0.2.0/24", oif=77)], None),
        ([connected("192.0.2.0/24"), kernel_route("192.0.2.2/32", kind=6, oif=0)], None),
        (
            [connected("192.0.2.0/24"), kernel_route("192.0.0.0/16", kind=7, oif=0)],
            hop("192.0.2.2"),
        ),
    ],
    ids=[
        "longest prefix",
        "over a gateway",
        "lowest metric",
        "the default route does not count",
        "a link that is not there",
        "a blackhole for it",
        "a blackhole behind it",
    ],
)
def test_next_hops_resolve_by_connected_networks_and_others_routes(routes: list, legs: object):
    node = learned(POD)
    node.world(kernel(*routes))
    node.flush()
    assert node.routes == ({} if legs is None else {POD: legs})


def test_a_peer_that_makes_up_next_hops_does_not_fill_the_memory_and_nothing_is_missed(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(resolve, "REMEMBERED", 10)
    node = learned(POD)
    for number in range(50):
        node.learn(N3, attributes(f"198.51.100.{number}"), "10.9.9.0/24")
    node.flush()
    node.world(kernel(connected("192.0.2.0/24", oif=2)))
    node.flush()
    assert node.routes == {POD: hop("192.0.2.2", 2)}


# --- acceptance -------------------------------------------------------------------------------------


def external(*accepted: str) -> Listener:
    tor = peer(9, PeerKind.EXTERNAL)
    node = listener(tor)
    node.want(tor, acceptances={tor.name: named(*accepted)})
    node.up(tor)
    node.learn(tor, attributes("192.0.2.9", 65009), "0.0.0.0/0", POD)
    node.flush()
    return node


def named(*prefixes: str) -> Acceptance:
    return Acceptance(exact=frozenset((V4, n(p)) for p in prefixes), words="not named")


def test_only_accepted_prefixes_of_an_announcement_are_used():
    node = external(POD)
    assert set(node.routes) == {POD}
    assert reason(node, "0.0.0.0/0") is Why.NOT_ACCEPTED


def test_a_changed_acceptance_judges_what_is_stored_without_asking_the_peer():
    node = external()
    assert node.routes == {}
    tor = peer(9, PeerKind.EXTERNAL)
    for accepted in ([POD], ["0.0.0.0/0"], ["0.0.0.0/0", POD], []):
        node.want(tor, acceptances={tor.name: named(*accepted)})
        node.flush()
        assert set(node.routes) == set(accepted)


def test_a_loop_is_a_better_reason_than_not_being_accepted():
    tor = peer(9, PeerKind.EXTERNAL)
    node = listener(tor)
    node.want(tor, acceptances={tor.name: named()})
    node.up(tor)
    node.learn(tor, attributes("192.0.2.9", 65009, 64512), POD)
    node.flush()
    assert reason(node, POD) is Why.AS_PATH_LOOP


def test_accepting_moves_nothing_where_the_words_are_the_same():
    node = external(POD)
    tor = peer(9, PeerKind.EXTERNAL)
    node.want(tor, acceptances={tor.name: named(POD)})
    assert node.routing.flush(0.0).fib == {}


# --- limits -----------------------------------------------------------------------------------------

SMALL = replace(N2, max_prefixes=2)


def limited() -> Listener:
    node = listener(SMALL)
    node.up(SMALL)
    node.learn(SMALL, attributes(), "10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24")
    node.flush()
    return node


def test_a_peer_is_held_at_its_limit_and_what_it_has_keeps_working():
    node = limited()
    assert set(node.routes) == {"10.0.0.0/24", "10.0.1.0/24"}
    assert node.routing.peers[SMALL.name].adj_in.over == {V4: 1}
    node.learn(SMALL, attributes("192.0.2.99"), "10.0.0.0/24")
    node.flush()
    assert node.routes["10.0.0.0/24"] == hop("192.0.2.99")


def test_a_withdrawal_makes_room():
    node = limited()
    node.forget(SMALL, "10.0.0.0/24")
    node.learn(SMALL, attributes(), "10.0.2.0/24")
    node.flush()
    assert set(node.routes) == {"10.0.1.0/24", "10.0.2.0/24"}


def test_each_family_has_its_own_limit():
    node = limited()
    node.learn(SMALL, attributes("2001:db8::2"), "fd00:1::/64", "fd00:2::/64", family=V6)
    node.flush()
    assert len(node.fib[V6]) == 2


def test_a_prefix_named_twice_takes_one_place():
    node = listener(SMALL)
    node.up(SMALL)
    node.learn(SMALL, attributes(), "10.0.0.0/24", "10.0.0.0/24", "10.0.1.0/24")
    node.flush()
    assert len(node.routes) == 2
    assert node.routing.peers[SMALL.name].adj_in.over == {}


def test_a_raised_limit_holds_at_once():
    node = limited()
    node.want(replace(SMALL, max_prefixes=3))
    node.learn(SMALL, attributes(), "10.0.2.0/24")
    node.flush()
    assert len(node.routes) == 3


def test_the_count_of_the_refused_starts_again_with_the_session():
    node = limited()
    node.down(SMALL)
    node.up(SMALL)
    assert node.routing.peers[SMALL.name].adj_in.over == {}


# --- what is held -----------------------------------------------------------------------------------


def test_a_single_candidate_stands_for_itself_and_several_are_a_tuple():
    node = learned(POD)
    rib = node.routing.rib
    assert isinstance(rib.candidates[V4][n(POD)], Path)
    node.learn(N3, attributes("192.0.2.3"), POD)
    assert isinstance(rib.candidates[V4][n(POD)], tuple)
    node.flush()
    assert isinstance(rib.loc[V4][n(POD)], Multipath)
    node.forget(N3, POD)
    node.flush()
    assert isinstance(rib.candidates[V4][n(POD)], Path)
    assert isinstance(rib.loc[V4][n(POD)], Path)


def test_nothing_is_left_of_a_peer_that_is_no_longer_wanted():
    node = learned(POD, "10.244.3.0/24")
    node.want(N3)
    node.flush()
    assert node.routes == {}
    assert all(node.routing.rib.candidates[f] == {} for f in BOTH)
    assert all(node.routing.rib.loc[f] == {} for f in BOTH)


# --- the origin check stage -------------------------------------------------------------------------

OTHER = "10.244.3.0/24"
THEIRS = OriginVerdict(OriginState.INVALID, Reason(Why.ORIGIN_HIJACK, "n3 owns it"), refused=True)
GOOD = OriginVerdict(OriginState.VALID)


def checks(*names: str, **verdicts: OriginVerdict) -> Checked:
    known = {"pod": (V4, n(POD)), "other": (V4, n(OTHER))}
    return Checked(frozenset(map(PeerName, names)), {known[k]: v for k, v in verdicts.items()})


def states(node: Listener) -> dict[str, OriginState]:
    rib = node.routing.rib
    return {p: rib.rivals(V4, n(p))[0].outcome.origin for p in (POD, OTHER)}


def test_the_origin_check_refuses_single_prefixes_of_an_announcement():
    node = listener(N2, N3)
    node.routing.set_origin_check(checks(N2.name, pod=GOOD, other=THEIRS))
    node.up(N2)
    node.learn(N2, attributes("192.0.2.2"), POD, OTHER)
    node.flush()
    assert set(node.routes) == {POD}
    assert states(node) == {POD: OriginState.VALID, OTHER: OriginState.INVALID}
    (refused,) = node.routing.rib.rivals(V4, n(OTHER))
    assert ineligible(refused).text == "n3 owns it"


def test_a_changed_origin_check_judges_only_what_it_sees_differently():
    node = learned(POD, OTHER)
    node.routing.set_origin_check(checks(N2.name, pod=GOOD, other=GOOD))
    assert set(node.routes) == {POD, OTHER}
    node.flush()
    before = node.routing.rib.rivals(V4, n(POD))
    node.routing.set_origin_check(checks(N2.name, pod=GOOD, other=THEIRS))
    assert node.routing.flush(0.0).fib == {V4: {n(OTHER): None}}
    assert node.routing.rib.rivals(V4, n(POD)) == before


def test_peers_that_are_not_checked_are_not_looked_at():
    node = learned(POD, OTHER)
    node.routing.set_origin_check(checks(N3.name, pod=THEIRS))
    node.flush()
    assert set(node.routes) == {POD, OTHER}
    node.routing.set_origin_check(checks(N2.name, pod=THEIRS))
    node.flush()
    assert set(node.routes) == {OTHER}
    node.routing.set_origin_check(UNCHECKED)
    node.flush()
    assert set(node.routes) == {POD, OTHER}


def test_prefixes_of_one_block_and_one_outcome_share_one_path():
    node = listener(N2)
    node.routing.set_origin_check(checks(N2.name, pod=GOOD, other=GOOD))
    node.up(N2)
    node.learn(N2, attributes("192.0.2.2"), POD, OTHER)
    rib = node.routing.rib
    assert rib.rivals(V4, n(POD)) == rib.rivals(V4, n(OTHER))


def test_a_change_of_what_is_accepted_is_judged_where_it_differs():
    tor = peer(9, PeerKind.EXTERNAL)
    node = listener(tor)
    before, after = (
        Acceptance(exact=frozenset((V4, n(p)) for p in some), words="pods")
        for some in ([POD], [POD, OTHER])
    )
    node.want(tor, acceptances={tor.name: before})
    node.up(tor)
    node.learn(tor, attributes("192.0.2.9"), POD, OTHER, "203.0.113.0/24")
    node.flush()
    node.want(tor, acceptances={tor.name: after})
    node.flush()
    assert set(node.routes) == {POD, OTHER}
    node.want(tor, acceptances={tor.name: before})
    node.flush()
    assert set(node.routes) == {POD}
    few = concerned(ImportRules(acceptance=before), ImportRules(acceptance=after))
    assert few is not None
    assert few.among(V4, node.routing.peers[tor.name].adj_in.tables[V4]) == [n(OTHER)]
    assert concerned(ImportRules(acceptance=before), ImportRules()) is None
    other_words = replace(after, words="other words for it")
    assert concerned(ImportRules(acceptance=before), ImportRules(acceptance=other_words)) is None
