"""Graceful restart (RFC 4724, RFC 8538) of a whole node: as the one who restarts, and as helper of one who does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from support.daemon import Kroute, RouteMonitor, Site
from support.daemon_hostile import ScriptedRouter
from support.daemon_peers import Bird, Frr, bird_session, frr_session
from support.netns import Namespace, wait_for

pytestmark = pytest.mark.root

CLUSTER, OTHER = 64512, 65001
K4, K6, P4, P6 = "192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2"
POD4, POD6 = "10.244.1.0/24", "fd00:10:244:1::/64"
NET4, NET6 = "198.51.100.0/24", "2001:db8:100::/48"


@pytest.fixture
def site() -> Iterator[Site]:
    with Site("gr") as site:
        yield site


def bird(site: Site, where: Namespace, more: str = "", restart_time: int = 120) -> Bird:
    words = f"graceful restart on; graceful restart time {restart_time}; {more}"
    text = bird_session("k", P4, OTHER, K4, CLUSTER, more=words, ipv6="")
    return Bird(where, site.folder / "bird", P4, text)


def frr(site: Site, where: Namespace, more: str = "") -> Frr:
    lines = more + frr_session(K4, CLUSTER, "ipv4", "ipv6")
    return Frr(where, site.folder / "frr", OTHER, P4, lines)


def kroute(site: Site, *, accept: str = "all", **config: Any) -> Kroute:
    peer = {"name": "p", "address": P4, "asn": OTHER, "accept": accept}
    peer["families"] = ["ipv4", "ipv6"]  # type: ignore[assignment]
    node = site.node(1, {"peering": {"peers": [peer]}, **config})
    node.start()
    node.established("peer/p")
    return node


def is_stale(router: Bird | Frr) -> bool:
    """Whether the router keeps what the node announced although the session is lost."""
    if isinstance(router, Bird):
        return "graceful restart active" in router.ask("show protocols all k")
    return bool(router.path(POD4).get("stale"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("start", [bird, frr])
def test_a_helper_forwards_to_a_node_that_restarts_all_the_time(
    site: Site, start: Any, number: int
) -> None:
    where = site.host("p", 2)
    router = start(site, where)
    node = kroute(site, accept="none")
    wait_for(lambda: router.path(POD4) and router.path(POD6), 15, "the routes")
    with RouteMonitor(where) as monitor:
        node.end(number)
        wait_for(lambda: is_stale(router), 15, "the routes to be stale")
        assert router.path(POD4)
        assert router.path(POD6)
        site.join("n1", [POD4], [K4, K6])
        node.start()
        wait_for(lambda: not is_stale(router), 15, "the routes to be fresh")
        wait_for(
            lambda: not router.path(POD6), 15, "End-of-RIB to remove what is not announced again"
        )
        assert router.path(POD4)
        assert not monitor.deleted(POD4)


def test_end_of_rib_goes_out_for_each_family(site: Site) -> None:
    router = frr(site, site.host("p", 2))
    kroute(site)

    def ended() -> dict[str, bool]:
        said = router.show(f"show bgp neighbors {K4}").get(K4, {}).get("gracefulRestartInfo", {})
        found: dict[str, bool] = said.get("endOfRibRecv", {})
        return found

    wait_for(lambda: ended() == {"ipv4Unicast": True, "ipv6Unicast": True}, 15, f"{ended()}")


def test_routes_of_a_neighbour_that_restarts_stay_in_the_kernel_all_the_time(site: Site) -> None:
    router = bird(site, site.host("p", 2))
    router.announce(NET4, NET6)
    node = kroute(site)
    node.has(NET4, NET6)
    with RouteMonitor(node.where) as monitor:
        router.end(signal.SIGKILL)
        wait_for(lambda: node.peer("peer/p")["state"] != "established", 15, "the loss")
        assert node.peer("peer/p")["stale"] == 2
        assert node.route(NET4)["stale"]
        assert set(node.kernel()) == {NET4, NET6}
        router.statics.remove(NET6)
        router.start()
        node.established("peer/p")
        node.has(NET4)
        assert node.peer("peer/p")["stale"] == 0
        assert not node.route(NET4)["stale"]
        assert monitor.deleted(NET6)
        assert not monitor.deleted(NET4)


def test_routes_of_a_neighbour_that_does_not_come_back_go_when_its_restart_time_is_over(
    site: Site,
) -> None:
    router = bird(site, site.host("p", 2), restart_time=3)
    router.announce(NET4)
    node = kroute(site)
    node.has(NET4)
    router.end(signal.SIGKILL)
    wait_for(lambda: node.peer("peer/p")["stale"] == 1, 15, "the loss")
    assert set(node.kernel()) == {NET4}
    node.has()
    assert node.route(NET4) == {}


def test_stale_routes_of_a_neighbour_that_is_back_but_never_ends_go_after_the_stale_time(
    site: Site,
) -> None:
    where = site.host("p", 2)
    router = bird(site, where)
    router.announce(NET4)
    node = kroute(site, bgp={"gracefulRestart": {"staleTime": 2}})
    node.has(NET4)
    router.end(signal.SIGKILL)
    wait_for(lambda: node.peer("peer/p")["stale"] == 1, 15, "the loss")
    silent = ScriptedRouter(where, P4, OTHER, restart=(1, 2))
    silent.meet(K4)
    node.established("peer/p")
    assert set(node.kernel()) == {NET4}, "it says that it kept forwarding"
    node.has()
    silent.close()


def test_a_neighbour_that_lost_its_forwarding_state_loses_its_stale_routes_at_once(
    site: Site,
) -> None:
    where = site.host("p", 2)
    router = bird(site, where)
    router.announce(NET4)
    node = kroute(site)
    node.has(NET4)
    router.end(signal.SIGKILL)
    wait_for(lambda: node.peer("peer/p")["stale"] == 1, 15, "the loss")
    amnesiac = ScriptedRouter(where, P4, OTHER, restart=())
    amnesiac.meet(K4)
    node.established("peer/p")
    node.has()
    amnesiac.close()


def test_a_notification_flushes_where_rfc_8538_is_not_spoken(site: Site) -> None:
    router = bird(site, site.host("p", 2))
    router.announce(NET4)
    node = kroute(site)
    node.has(NET4)
    router.ask("disable k")
    node.has()
    assert "administrative shutdown" in node.peer("peer/p")["reason"]


def test_a_notification_keeps_routes_where_rfc_8538_is_spoken_unless_it_is_a_hard_reset(
    site: Site,
) -> None:
    lines = " bgp graceful-restart notification\n bgp graceful-restart preserve-fw-state\n"
    lines += " no bgp hard-administrative-reset\n"
    router = frr(site, site.host("p", 2), lines)
    router.announce(NET4)
    node = kroute(site)
    node.has(NET4)
    flaps = node.peer("peer/p")["flaps"]
    with RouteMonitor(node.where) as ours:
        router.run("clear bgp *")
        wait_for(lambda: node.peer("peer/p")["flaps"] == flaps + 1, 15, "the reset")
        node.established("peer/p")
        wait_for(lambda: not node.peer("peer/p")["stale"], 15, "End-of-RIB")
        assert not ours.deleted(NET4)
    router.run("configure terminal", f"router bgp {OTHER}", "bgp hard-administrative-reset")
    with RouteMonitor(node.where) as ours:
        router.run("clear bgp *")
        wait_for(lambda: ours.deleted(NET4), 15, "the hard reset to flush")
