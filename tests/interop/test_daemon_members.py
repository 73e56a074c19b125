"""Nodes that join, leave, change and die: what the other nodes' kernels make of it."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from support.daemon import Kroute, Site, reaches
from support.netns import wait_for

pytestmark = pytest.mark.root

SHORT = {"bgp": {"holdTime": 3, "gracefulRestart": {"restartTime": 2}}}


@pytest.fixture
def site() -> Iterator[Site]:
    with Site("node") as site:
        yield site


def pods(*numbers: int) -> list[str]:
    """The podCIDRs of these nodes."""
    return [p for n in numbers for p in (f"10.244.{n}.0/24", f"fd00:10:244:{n}::/64")]


def ready(*nodes: Kroute) -> None:
    for node in nodes:
        node.launch()
    for node in nodes:
        wait_for(node.answers, 15)
        wait_for(lambda node=node: not node.missing(), 20, f"{node.name} to be ready")


def test_a_node_that_joins_is_routed_by_all_and_one_that_leaves_by_none(site: Site) -> None:
    one, two = site.node(1), site.node(2)
    ready(one, two)
    one.has(*pods(2))
    two.has(*pods(1))

    three = site.node(3)
    three.start()
    one.has(*pods(2, 3))
    two.has(*pods(1, 3))
    three.has(*pods(1, 2))
    pod1, pod3 = site.pod(one, 10), site.pod(three, 10)
    reaches(pod1, "10.244.3.10")
    reaches(pod3, "fd00:10:244:1::10")

    site.leave("n3")
    one.has(*pods(2))
    two.has(*pods(1))
    assert one.peer("node/n3") == {}
    wait_for(lambda: "no node of this name" in three.problems().get("node/n3", ""), 10, "its words")
    assert one.peer("node/n2")["flaps"] == 0


def test_a_peer_that_is_dead_is_noticed_by_hold_time(site: Site) -> None:
    one, two = site.node(1, SHORT), site.node(2, SHORT)
    ready(one, two)
    one.has(*pods(2))
    two.where.ip("link set eth0 down")
    wait_for(lambda: one.peer("node/n2")["state"] != "established", 15, "the hold time to pass")
    assert "hold timer" in one.peer("node/n2")["reason"]
    one.has()
    assert one.alive()
    two.where.ip("link set eth0 up")
    two.where.address("eth0", "2001:db8::2/64")
    one.established("node/n2")
    one.has(*pods(2))


def test_a_peer_that_hangs_is_noticed_by_hold_time(site: Site) -> None:
    one, two = site.node(1, SHORT), site.node(2, SHORT)
    ready(one, two)
    one.has(*pods(2))
    two.process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
    speaker = two.speaker_pid
    two.where.run(["kill", "-STOP", str(speaker)])
    one.has()
    two.where.run(["kill", "-CONT", str(speaker), str(two.pid)])
    one.has(*pods(2))
    two.has(*pods(1))


def test_a_changed_pod_cidr_replaces_the_old_one_everywhere(site: Site) -> None:
    one, two = site.node(1), site.node(2)
    ready(one, two)
    conflist = two.folder / "cni" / "10-kroute.conflist"
    assert "10.244.2.0/24" in conflist.read_text()
    site.join("n2", ["10.244.92.0/24", "fd00:10:244:92::/64"], ["192.0.2.2", "2001:db8::2"])
    one.has(*pods(92))
    wait_for(lambda: "10.244.92.0/24" in conflist.read_text(), 10, "the conflist")
    assert "10.244.2.0/24" not in conflist.read_text()
    site.join("n2", ["10.244.92.0/24"], ["192.0.2.2", "2001:db8::2"])
    one.has("10.244.92.0/24")
    assert one.peer("node/n2")["flaps"] == 0, "a change of podCIDRs resets no session"


def test_a_changed_address_moves_the_session_and_the_routes(site: Site) -> None:
    one, two = site.node(1), site.node(2)
    ready(one, two)
    two.where.address("eth0", "192.0.2.22/24")
    site.join("n2", pods(2), ["192.0.2.22", "2001:db8::2"])
    wait_for(lambda: one.kernel().get("10.244.2.0/24") == {"192.0.2.22"}, 15, "the new next hop")
    one.has(*pods(2))
    two.has(*pods(1))


def test_overlapping_pod_cidrs_are_refused_for_the_later_claimant(site: Site) -> None:
    one, two, three = site.node(1), site.node(2), site.node(3)
    site.join("n3", ["10.244.2.0/25"], ["192.0.2.3", "2001:db8::3"])
    three.launch()
    ready(one, two)
    one.has(*pods(2))
    for node in (one, two, three):
        wait_for(node.answers, 15)
        wait_for(
            lambda node=node: (
                "overlaps a range of node n2" in node.problems().get("node/n3 spec.podCIDRs", "")
            ),
            10,
            "the refusal",
        )
    assert "cni: the conflist is not written" in three.missing(), "no pod may start there"
    site.join("n3", pods(3), ["192.0.2.3", "2001:db8::3"])
    one.has(*pods(2, 3))
    wait_for(lambda: one.problems() == {}, 10, "the problem to go")


def test_routes_deleted_or_changed_by_hand_come_back_and_foreign_ones_stay(site: Site) -> None:
    one, two = site.node(1), site.node(2)
    ready(one, two)
    one.where.ip("route del 10.244.2.0/24 proto 201")
    one.has(*pods(2))
    one.where.ip("-6 route del fd00:10:244:2::/64 proto 201")
    one.has(*pods(2))
    one.where.ip("route replace 10.244.2.0/24 via 192.0.2.99 proto 201 metric 512")
    wait_for(lambda: one.kernel().get("10.244.2.0/24") == {"192.0.2.2"}, 10, "the right next hop")
    one.where.ip("route add 203.0.113.0/24 via 192.0.2.2 proto 201 metric 512")
    one.has(*pods(2))
    one.where.ip("link set eth0 down")
    one.where.ip("link set eth0 up")
    one.where.address("eth0", "2001:db8::1/64")
    one.has(*pods(2))
    one.where.ip("route add 203.0.113.0/24 via 192.0.2.2 proto static metric 512")
    assert "203.0.113.0/24" not in one.kernel()
    assert one.ask("status")["fib"]["heals"] >= 3


def test_a_place_held_by_another_is_left_to_it_and_taken_when_vacated(site: Site) -> None:
    one, two = site.node(1), site.node(2)
    one.where.ip("route add 10.244.2.0/24 via 192.0.2.99 proto static metric 512")
    for node in (one, two):
        node.start()
    one.has("fd00:10:244:2::/64")
    wait_for(lambda: "fib" in one.problems(), 10, "the problem")
    assert "10.244.2.0/24" in one.problems()["fib"]
    one.where.ip("route del 10.244.2.0/24 proto static")
    one.has(*pods(2))
    wait_for(lambda: one.problems() == {}, 10, "the problem to go")
