"""Graceful restart (RFC 4724, RFC 8538) of a whole node: as the one who restarts, and as helper of one who does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from support.daemon import Kroute, RouteMonitor, Site
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
