"""A whole kroute node with BIRD, FRR, GoBGP and OpenBGPD as explicit peers: both sides' view, both kernels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.daemon import Kroute, Site
from support.daemon_peers import (
    Bird,
    Frr,
    Gobgp,
    OpenBgpd,
    Router,
    bird_session,
    frr_session,
    gobgp_session,
)
from support.netns import Namespace, wait_for

pytestmark = pytest.mark.root

CLUSTER = 64512
K4, K6, P4, P6 = "192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2"
POD4, POD6 = "10.244.1.0/24", "fd00:10:244:1::/64"
NET4, NET6 = "198.51.100.0/24", "2001:db8:100::/48"


@pytest.fixture
def site() -> Iterator[Site]:
    with Site("peer") as site:
        yield site


def peer(name: str, asn: int, address: str = P4, **more: Any) -> dict[str, Any]:
    """An explicit peer of the configuration that is believed everything."""
    return {"name": name, "address": address, "asn": asn, "accept": "all", **more}


def kroute(site: Site, *peers: dict[str, Any], **config: Any) -> Kroute:
    """The node n1 with these peers, running."""
    node = site.node(1, {"peering": {"peers": list(peers)}, **config})
    node.start()
    return node


def bird(site: Site, where: Namespace, asn: int) -> Router:
    return Bird(where, site.folder / "bird", P4, bird_session("k", P4, asn, K4, CLUSTER, ipv6=""))


def frr(site: Site, where: Namespace, asn: int) -> Router:
    return Frr(where, site.folder / "frr", asn, P4, frr_session(K4, CLUSTER, "ipv4", "ipv6"))


def gobgp(site: Site, where: Namespace, asn: int) -> Router:
    sessions = gobgp_session(K4, CLUSTER, "ipv4") + gobgp_session(K6, CLUSTER, "ipv6")
    return Gobgp(where, site.folder / "gobgp", asn, sessions)


def openbgpd(site: Site, where: Namespace, asn: int) -> Router:
    text = "".join(
        f"neighbor {address} {{\n remote-as {CLUSTER}\n announce {family} unicast\n}}\n"
        for address, family in ((K4, "IPv4"), (K6, "IPv6"))
    )
    return OpenBgpd(where, site.folder / "openbgpd", asn, text)


BOTH_OVER_ONE = [{"families": ["ipv4", "ipv6"]}]
ONE_EACH = [{"families": ["ipv4"]}, {"address": P6, "families": ["ipv6"]}]


def learns(router: Router, prefix: str, **expected: Any) -> None:
    """Wait until a router knows a route with these attributes; with none expected, until it knows it no more."""

    def holds() -> bool:
        path = router.path(prefix)
        return bool(path) == bool(expected) and expected.items() <= path.items()

    wait_for(holds, 15, f"{prefix} with {expected}: {router.path(prefix)}")


@pytest.mark.parametrize("asn", [CLUSTER, 65001], ids=["internal", "external"])
@pytest.mark.parametrize(
    "start, sessions",
    [(bird, BOTH_OVER_ONE), (frr, BOTH_OVER_ONE), (gobgp, ONE_EACH), (openbgpd, ONE_EACH)],
    ids=["bird", "frr", "gobgp", "openbgpd"],
)
def test_routes_of_both_families_go_both_ways_and_are_withdrawn(
    site: Site, start: Any, sessions: list[dict[str, Any]], asn: int
) -> None:
    where = site.host("p", 2)
    peers = [peer(f"p{number}", asn, **more) for number, more in enumerate(sessions)]
    router = start(site, where, asn)
    node = kroute(site, *peers)
    node.established(*(f"peer/{p['name']}" for p in peers))

    said = {"as_path": "" if asn == CLUSTER else str(CLUSTER), "origin": "igp"}
    if asn == CLUSTER:
        said["local_pref"] = 100  # type: ignore[assignment]
    learns(router, POD4, next_hop=K4, **said)
    learns(router, POD6, next_hop=K6, **said)

    router.announce(NET4)
    router.announce(NET6)
    node.has(NET4, NET6)
    assert node.kernel() == {NET4: {P4}, NET6: {P6}}
    assert node.route(NET4)["best"] == "peer/p0"

    router.withdraw(NET4)
    node.has(NET6)
    router.withdraw(NET6)
    node.has()

    site.join("n1", [POD4], [K4, K6])
    learns(router, POD6)
    assert router.path(POD4)
    assert all(p["flaps"] == 0 and p["faults"] == 0 for p in node.ask("peers"))
