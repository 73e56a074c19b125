"""``plan()`` and ``observe()``: from events to all that follows from them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from kroute.model.config import AnnouncePods, Bgp, Cni, Config, Kni
from kroute.model.config_peering import PeerConfig, Peering
from kroute.model.inventory import Fresh, Listed, NodeChanged, NodeGone, Problems, Stale
from kroute.model.kernel import KernelState
from kroute.model.node import Node
from kroute.model.problem import Problem, Severity
from kroute.model.state import AttachedPod, Desired, Observed
from kroute.plan import plan
from kroute.plan.observe import ConfigChanged, KernelChanged, Reported, observe
from support.routing import V4, V6, dual, kernel, n, node

N1 = node(1, "10.244.1.0/24", "fd00:1::/64", addresses=dual(1))
N2 = node(2, "10.244.2.0/24")
N3 = node(3)


def observed(*nodes: Node, **changes: Any) -> Observed:
    values: dict[str, Any] = {
        "me": "n1",
        "config": Config(),
        "nodes": {x.name: x for x in nodes},
        "listed": True,
        "kernel": kernel(),
    }
    return Observed(**(values | changes))


def said(desired: Desired) -> list[str]:
    return [f"{p.object} {p.field}: {p.reason}" for p in desired.problems]


def test_from_nodes_follow_peers_originations_conflist_and_owners():
    found = plan(observed(N1, N2, N3))
    assert list(found.peers) == ["node/n2", "node/n3"]
    assert [str(o.prefix) for o in found.originations] == ["10.244.1.0/24", "fd00:1::/64"]
    assert found.originations[0].source == "podCIDR of node n1"
    assert found.conflist is not None
    assert found.conflist.ranges == N1.pod_cidrs
    assert found.owners == {
        (V4, n("10.244.1.0/24")): "n1",
        (V6, n("fd00:1::/64")): "n1",
        (V4, n("10.244.2.0/24")): "n2",
    }
    assert found.complete
    assert found.problems == ()


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (AnnouncePods.NONE, set()),
        (AnnouncePods.ANNOTATED, {"10.244.1.7/32", "fd00:1::7/128"}),
        (AnnouncePods.ALL, {"10.244.1.7/32", "fd00:1::7/128", "10.244.1.8/32"}),
    ],
)
def test_addresses_of_attached_pods_are_announced_as_configured(
    which: AnnouncePods, expected: set[str]
):
    asking = (ip_address("10.244.1.7"), ip_address("fd00:1::7"))
    pods = (
        AttachedPod(name="default/web", addresses=asking, asks=True),
        AttachedPod(name="default/db", addresses=(ip_address("10.244.1.8"),), asks=False),
    )
    found = plan(observed(N1, pods=pods, config=Config(kni=Kni(announce_pods=which))))
    own = {"10.244.1.0/24", "fd00:1::/64"}
    told = {str(o.prefix): o.source for o in found.originations}
    assert set(told) == own | expected
    assert {told[prefix] for prefix in expected} <= {
        "address of pod default/web",
        "address of pod default/db",
    }


def test_until_the_inventory_is_listed_nothing_is_complete():
    found = plan(observed(N1, N2, listed=False))
    assert not found.complete
    assert list(found.peers) == ["node/n2"]


def test_without_the_own_node_nothing_is_wanted_and_nothing_may_go():
    found = plan(observed(N2, N3))
    assert (found.peers, found.originations, found.conflist) == ({}, (), None)
    assert not found.complete
    assert found.owners == {(V4, n("10.244.2.0/24")): "n2"}
    (problem,) = found.problems
    assert problem.severity is Severity.ERROR
    assert "no node of this name (it has: n2, n3)" in problem.reason


def test_a_missing_own_node_is_no_problem_before_the_inventory_is_listed():
    assert plan(observed(listed=False)).problems == ()


def test_no_conflist_is_wanted_before_the_links_are_known():
    assert plan(observed(N1, kernel=None)).conflist is None


@pytest.mark.parametrize(
    ("held", "mtu"),
    [
        ([(1, "192.0.2.1/24")], 1500),
        ([(2, "192.0.2.1/24")], 9000),
        ([(1, "192.0.2.1/24"), (2, "2001:db8::1/64")], 1500),
        ([(1, "192.0.2.77/24")], None),
        ([(9, "192.0.2.1/24")], None),
    ],
)
def test_the_pods_mtu_is_the_least_of_the_links_that_hold_the_nodes_addresses(
    held: list[tuple[int, str]], mtu: int | None
):
    first, second = kernel().links
    state = KernelState(
        links=(first, replace(second, mtu=9000)),
        addresses=tuple((index, ip_interface(text)) for index, text in held),
    )
    found = plan(observed(N1, kernel=state)).conflist
    assert found is not None
    assert found.mtu == mtu


def test_a_lost_pod_cidr_is_neither_announced_nor_given_to_pods():
    older = node(0, "10.244.1.0/24", addresses=(ip_address("192.0.2.100"),))
    found = plan(observed(N1, older))
    assert [str(o.prefix) for o in found.originations] == ["fd00:1::/64"]
    assert found.conflist is not None
    assert found.conflist.ranges == (ip_network("fd00:1::/64"),)
    assert found.owners[(V4, n("10.244.1.0/24"))] == "n0"
    assert any("overlaps a range of node n0" in text for text in said(found))


def test_a_node_without_address_is_a_problem():
    assert said(plan(observed(N1, replace(N2, addresses=())))) == [
        "node/n2 status.addresses: has no address yet; there is no session with it"
    ]


def tor(name: str, address: str, **changes: Any) -> PeerConfig:
    return PeerConfig(name=name, address=ip_address(address), asn=65001, **changes)


def with_peers(*peers: PeerConfig) -> Config:
    return Config(peering=Peering(peers=peers))


def test_two_peers_of_one_address_and_port_cannot_both_have_a_session():
    config = with_peers(tor("a", "198.51.100.1"), tor("b", "198.51.100.1"))
    found = plan(observed(N1, config=config))
    assert list(found.peers) == ["peer/a"]
    assert said(found) == [
        "peer/b address: 198.51.100.1 port 179 is already the peer peer/a; only that session is set up"
    ]


def test_two_ports_of_one_address_are_two_peers():
    config = with_peers(tor("a", "198.51.100.1"), tor("b", "198.51.100.1", port=1179))
    assert list(plan(observed(N1, config=config)).peers) == ["peer/a", "peer/b"]


def test_an_explicit_peer_comes_before_a_node_of_its_address():
    found = plan(observed(N1, N2, config=with_peers(tor("a", "192.0.2.2"))))
    assert list(found.peers) == ["peer/a"]
    assert [p.object for p in found.problems] == ["node/n2"]


def test_of_two_nodes_with_one_address_the_first_by_name_has_the_session():
    twin = replace(N2, name="n10", pod_cidrs=())
    for order in ((N1, N2, twin), (twin, N2, N1)):
        found = plan(observed(*order))
        assert list(found.peers) == ["node/n10"]
        assert [p.object for p in found.problems] == ["node/n2"]


def test_a_node_with_our_own_address_gets_no_session():
    found = plan(observed(N1, replace(N2, addresses=N1.addresses)))
    assert found.peers == {}
    assert said(found) == [
        "node/n2 address: 192.0.2.1 is an address of this node, too; no session is set up"
    ]


def test_reports_of_drivers_are_problems_too():
    report = Problem(object="file/x", reason="unreadable")
    found = plan(observed(N1, reports={"cni": (report,), "fib": ()}))
    assert found.problems == (report,)


def test_a_problem_is_told_once():
    report = Problem(object="file/x", reason="unreadable")
    assert plan(observed(N1, reports={"a": (report,), "b": (report,)})).problems == (report,)


# --- observe ----------------------------------------------------------------------------------------


def after(*events: Any, before: Observed | None = None) -> Observed:
    state = before or Observed(me="n1", config=Config())
    for event in events:
        state = observe(state, event)
    return state


def test_a_list_replaces_all_nodes_and_says_that_absence_counts():
    found = after(NodeChanged(N3), Listed((N1, N2)))
    assert (set(found.nodes), found.listed) == ({"n1", "n2"}, True)


def test_nodes_change_and_go_one_by_one():
    found = after(Listed((N1, N2)), NodeChanged(replace(N2, pod_cidrs=())), NodeGone("n1"))
    assert found.nodes == {"n2": replace(N2, pod_cidrs=())}


def test_a_node_that_is_not_there_can_go():
    assert after(NodeGone("n9")).nodes == {}


def test_configuration_and_kernel_are_the_latest_ones():
    config = Config(bgp=Bgp(asn=65010), cni=Cni(enabled=False))
    found = after(ConfigChanged(config), KernelChanged(kernel()))
    assert (found.config, found.kernel) == (config, kernel())


def test_a_report_replaces_the_one_before_of_its_driver():
    one, two = (Problem(object=f"file/{i}", reason="x") for i in "ab")
    found = after(Reported("cni", (one,)), Reported("fib", (two,)), Reported("cni", ()))
    assert found.reports == {"cni": (), "fib": (two,)}


def test_a_silent_inventory_keeps_its_nodes_and_says_so_until_it_answers():
    found = after(
        Listed((N1,)), Problems((Problem(object="node/x", reason="bad"),)), Stale("timeout")
    )
    assert set(found.nodes) == {"n1"}
    assert [p.reason for p in plan(found).problems if p.object == "inventory"] == [
        "timeout; the last known nodes stay in force"
    ]
    again = plan(after(Fresh(), before=found))
    assert [p.object for p in again.problems] == ["node/x"]


def test_what_is_not_an_event_is_a_bug():
    with pytest.raises(AssertionError):
        observe(observed(), object())  # type: ignore[arg-type]
