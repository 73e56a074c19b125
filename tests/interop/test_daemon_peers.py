"""A whole kroute node with BIRD, FRR, GoBGP and OpenBGPD as explicit peers: both sides' view, both kernels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.daemon import Kroute, Site, kernel_routes
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


def test_a_missing_key_keeps_the_session_down_until_the_file_is_there(site: Site) -> None:
    text = bird_session("k", P4, 65001, K4, CLUSTER, more='password "s3cret";')
    Bird(site.host("p", 2), site.folder / "bird", P4, text)
    key = site.folder / "key"
    node = kroute(site, peer("p0", 65001, passwordFile=str(key)))
    reason = node.problems()["peer/p0 passwordFile"]
    assert str(key) in reason
    assert "never opened without" in reason
    key.write_text("s3cret\n")
    node.established("peer/p0")
    assert node.problems() == {}
    key.unlink()
    wait_for(lambda: "peer/p0 passwordFile" in node.problems(), 10, "the vanished file")
    assert node.peer("peer/p0")["flaps"] == 0, "the session goes on with the key it has"


def test_an_external_peer_is_believed_only_what_the_configuration_says(site: Site) -> None:
    router = Bird(
        site.host("p", 2), site.folder / "bird", P4, bird_session("k", P4, 65001, K4, CLUSTER)
    )
    pods = "10.244.7.0/24"
    router.announce("0.0.0.0/0", NET4, "203.0.113.0/24", pods)
    site.join("n7", [pods], [])
    node = site.node(1, {"peering": {"peers": [{"name": "p0", "address": P4, "asn": 65001}]}})
    node.start()
    node.established("peer/p0")
    wait_for(lambda: node.peer("peer/p0")["received"] == 4, what="four prefixes")
    assert node.kernel() == {}
    for accept, prefixes, expected in (
        ("none", ["203.0.113.0/24"], {"203.0.113.0/24"}),
        ("defaultRoute", [], {"0.0.0.0/0"}),
        ("podCidrs", [], {pods}),
        ("all", [], {"0.0.0.0/0", NET4, "203.0.113.0/24"}),
        ("all", [pods], {"0.0.0.0/0", NET4, "203.0.113.0/24", pods}),
        ("none", [], set()),
    ):
        changed = peer("p0", 65001, accept=accept, acceptPrefixes=prefixes)
        node.configure({"peering": {"peers": [changed]}})
        node.has(*expected)
    rejected = node.ask("routes", rejected="1")
    assert {r["why"] for r in rejected} == {"not-accepted"}
    assert "RFC 8212" in rejected[0]["reason"]
    assert node.peer("peer/p0")["flaps"] == 0, "a change of policy resets no session"


def test_two_peers_share_the_load_until_one_dies(site: Site) -> None:
    routers = [
        Bird(
            site.host(f"p{n}", n),
            site.folder / f"bird{n}",
            f"192.0.2.{n}",
            bird_session("k", f"192.0.2.{n}", 65001, K4, CLUSTER, more="hold time 3;")
            + bird_session(
                "q", f"2001:db8::{n}", 65001, K6, CLUSTER, ipv4=None, ipv6="", more="hold time 3;"
            ),
        )
        for n in (2, 3)
    ]
    node = kroute(
        site,
        *(peer(f"p{n}", 65001, f"192.0.2.{n}", families=["ipv4"]) for n in (2, 3)),
        *(peer(f"q{n}", 65001, f"2001:db8::{n}", families=["ipv6"]) for n in (2, 3)),
        bgp={"gracefulRestart": {"enabled": False}},
    )
    node.established("peer/p2", "peer/p3", "peer/q2", "peer/q3")
    for router in routers:
        router.announce(NET4, NET6)
    both = {NET4: {"192.0.2.2", "192.0.2.3"}, NET6: {"2001:db8::2", "2001:db8::3"}}
    wait_for(lambda: node.kernel() == both, 15, f"two legs: {node.kernel()}")
    routers[0].end()
    one = {NET4: {"192.0.2.3"}, NET6: {"2001:db8::3"}}
    wait_for(lambda: node.kernel() == one, 15, f"one leg: {node.kernel()}")


def test_a_route_reflector_passes_routes_between_a_node_and_another_client(site: Site) -> None:
    def client(name: str, end: str) -> str:
        words = "export where source ~ [RTS_STATIC, RTS_BGP];"
        return bird_session(name, P4, CLUSTER, end, CLUSTER, ipv4=words, more="rr client;")

    other = "192.0.2.3"
    text = client("k", K4) + client("c", other)
    reflector = Bird(site.host("p", 2), site.folder / "bird", P4, text)
    session = bird_session("r", other, CLUSTER, P4, CLUSTER)
    third = Bird(site.host("q", 3), site.folder / "bird3", other, session)
    third.announce(NET4)
    node = kroute(
        site, {"name": "rr", "address": P4, "asn": CLUSTER, "reflector": True, "families": ["ipv4"]}
    )
    node.established("peer/rr")
    node.has(NET4)
    assert node.kernel() == {NET4: {other}}, "the reflector leaves the next hop alone"
    assert node.peer("peer/rr")["kind"] == "reflector"
    learns(reflector, POD4, next_hop=K4, local_pref=100)
    learns(third, POD4, next_hop=K4, local_pref=100, cluster_list=P4)
    third.withdraw(NET4)
    node.has()


def test_a_node_reflects_between_foreign_clients_as_rfc_4456_says(site: Site) -> None:
    """BIRD stands for two nodes; the reflector is the kroute node."""
    clients = {}
    for number in (2, 3):
        own = f"192.0.2.{number}"
        session = bird_session("r", own, CLUSTER, K4, CLUSTER, ipv6="")
        where = site.host(f"c{number}", number)
        clients[number] = Bird(where, site.folder / f"bird{number}", own, session)
        pods = [f"10.244.{number}.0/24", f"fd00:10:244:{number}::/64"]
        site.join(f"n{number}", pods, [own, f"2001:db8::{number}"])
        clients[number].announce(*pods)
    node = site.node(1, {"peering": {"topology": "routeReflector"}})
    label = {"kroute.io/route-reflector": "1.2.3.4"}
    site.join("n1", [POD4, POD6], [K4, K6], **label)
    node.start()
    node.established("node/n2", "node/n3")
    assert node.peer("node/n2")["kind"] == "client"
    node.has(*(p for n in (2, 3) for p in (f"10.244.{n}.0/24", f"fd00:10:244:{n}::/64")))
    for here, there in ((2, 3), (3, 2)):
        found = {"local_pref": 100, "cluster_list": "1.2.3.4", "originator": f"192.0.2.{there}"}
        learns(clients[here], f"10.244.{there}.0/24", next_hop=f"192.0.2.{there}", **found)
        learns(clients[here], f"fd00:10:244:{there}::/64", next_hop=f"2001:db8::{there}", **found)
        learns(clients[here], POD4, next_hop=K4, cluster_list="", originator="")
        routes = kernel_routes(clients[here].where, "bird")
        assert routes[f"10.244.{there}.0/24"] == {f"192.0.2.{there}"}
    clients[3].withdraw("10.244.3.0/24")
    learns(clients[2], "10.244.3.0/24")
    assert clients[2].path("fd00:10:244:3::/64")
