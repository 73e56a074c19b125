"""Restart with the API's help: all nodes at once, dead neighbours, nodes that left or broke while nobody looked."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from support.daemon import Kroute, RouteMonitor, Site, nothing_lost, reaches
from support.netns import wait_for

pytestmark = pytest.mark.root

PATIENT = {"bgp": {"gracefulRestart": {"deferralTime": 3600}}}
"""Nothing but a reason lets anything go before an hour is over."""


@pytest.fixture
def site() -> Iterator[Site]:
    with Site("seed") as site:
        yield site


def pods(*numbers: int) -> list[str]:
    """The podCIDRs of these nodes."""
    return [p for n in numbers for p in (f"10.244.{n}.0/24", f"fd00:10:244:{n}::/64")]


def in_sync(*nodes: Kroute) -> None:
    for node in nodes:
        wait_for(node.answers, 15)
        wait_for(lambda node=node: not node.ask("status")["waitingFor"], 20, f"{node.name}")


def seeded(node: Kroute) -> set[str]:
    """What a node routes on the inventory's word alone."""
    return {route["prefix"] for route in node.ask("routes") if route["seeded"]}


def test_all_nodes_restart_at_once_and_a_dead_neighbour_delays_nothing(site: Site) -> None:
    nodes = [site.node(number, PATIENT) for number in range(1, 5)]
    one = nodes[0]
    site.host("n9", 9)
    site.join("n9", pods(9), ["192.0.2.9", "2001:db8::9"])
    for node in nodes:
        node.launch()
    in_pod = {node.name: site.pod(node, 10) for node in nodes}
    for node in nodes:
        wait_for(node.answers, 15)
        others = [f"node/{other.name}" for other in nodes if other is not node]
        node.established(*others)
    one.has(*pods(2, 3, 4, 9))
    ways = [
        (in_pod["n1"], "10.244.2.10"),
        (in_pod["n2"], "fd00:10:244:3::10"),
        (in_pod["n3"], "10.244.4.10"),
        (in_pod["n4"], "fd00:10:244:1::10"),
    ]
    with nothing_lost(*ways), RouteMonitor(one.where) as monitor:
        for node in nodes:
            node.end(signal.SIGKILL)
        site.leave("n9")
        for node in nodes[:3]:
            node.launch()
        wait_for(one.answers, 15)
        one.established("node/n2", "node/n3")
        # n4 is silent for ever, and would be waited for an hour; n9's routes go all the same, and n4's stay.
        one.has(*pods(2, 3, 4))
        wait_for(lambda: seeded(one) == set(pods(4)), 15, "only n4 to be seeded")
        assert one.ask("status")["waitingFor"] == ["node/n4 has not sent its whole table"]
        assert not any(monitor.deleted(prefix) for prefix in pods(2, 3, 4))


def test_a_fresh_node_reaches_live_nodes_without_bgp_for_the_lifetime_only(site: Site) -> None:
    one = site.node(1, {"bgp": {"seeding": {"lifetime": 6}}})
    broken = site.node(2)
    for way in (["-4", "10.244.1.0/24", "192.0.2.1"], ["-6", "fd00:10:244:1::/64", "2001:db8::1"]):
        broken.where.ip(f"{way[0]} route add {way[1]} via {way[2]}")
    pod1, _ = site.pod(one, 10), site.pod(broken, 10)
    one.start()
    one.has(*pods(2))
    reaches(pod1, "10.244.2.10")
    reaches(pod1, "fd00:10:244:2::10")
    assert seeded(one) == set(pods(2))
    why: dict[str, Any] = one.ask("why", target="10.244.2.10")
    assert any("seeded by the inventory" in line for line in why["story"]), why
    assert "from inventory" in "\n".join(why["story"])
    one.has()
    assert one.route("10.244.2.0/24") == {}


def test_a_node_that_is_not_ready_is_neither_seeded_nor_waited_for(site: Site) -> None:
    one = site.node(1, {"bgp": {**PATIENT["bgp"], "seeding": {"notReadyTime": 1}}})
    site.join("n2", pods(2), ["192.0.2.2", "2001:db8::2"])
    one.start()
    one.has(*pods(2))
    site.nodes["n2"]["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]
    site.join("n3", pods(3), ["192.0.2.3"])
    site.leave("n3")
    one.has()
    in_sync(one)
