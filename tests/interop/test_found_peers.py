"""Peers that a real kernel names: its default gateways, the routers that it heard; and what is told without rights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.daemon import Kroute, Site
from support.daemon_peers import Bird, bird_session
from support.netns import wait_for

pytestmark = pytest.mark.root

CLUSTER, TOR = 64512, 65001
K4 = "192.0.2.1"


@pytest.fixture
def site() -> Iterator[Site]:
    with Site("found") as site:
        yield site


def states(node: Kroute) -> dict[str, str]:
    return {p["name"]: p["state"] for p in node.ask("peers")}


def reasons(node: Kroute) -> list[str]:
    return [p["reason"] for p in node.ask("problems")]


def node_with(site: Site, source: dict[str, object]) -> Kroute:
    peer = {"name": "gw", "asn": "external", "accept": "all", "addressFrom": source}
    return site.node(1, {"peering": {"topology": "none", "peers": [peer]}})


def test_the_default_gateway_is_the_peer_and_another_gateway_is_another_peer(site: Site) -> None:
    node = node_with(site, {"defaultGateway": {"interface": "eth0"}})
    for number in (2, 3):
        where = site.host(f"gw{number}", number)
        folder = site.folder / f"bird{number}"
        Bird(
            where,
            folder,
            f"192.0.2.{number}",
            bird_session("k", f"192.0.2.{number}", TOR, K4, CLUSTER),
        )
    node.start()
    assert "no default route that leaves by eth0" in reasons(node)[0]
    node.where.ip("route add default via 192.0.2.2")
    wait_for(lambda: states(node) == {"peer/gw/192.0.2.2": "established"}, 15, "the gateway")
    node.where.ip("route add default via 192.0.2.3 metric 9")
    both = {"peer/gw/192.0.2.2": "established", "peer/gw/192.0.2.3": "established"}
    wait_for(lambda: states(node) == both, 15, "the second gateway")
    node.where.ip("route del default via 192.0.2.2")
    wait_for(lambda: states(node) == {"peer/gw/192.0.2.3": "established"}, 15, "the first to go")
    assert [p["flaps"] for p in node.ask("peers")] == [0]


def test_a_router_that_the_kernel_heard_is_the_peer(site: Site) -> None:
    node = node_with(site, {"routerAdvertisement": {}})
    node.where.sysctl("net.ipv6.conf.eth0.accept_ra", 2)
    where = site.host("ra", 2)
    text = (
        'protocol radv { interface "eth0" { max ra interval 4; default lifetime 60; }; }\n'
        f'protocol bgp up {{ local as {TOR}; neighbor range fe80::/10 as {CLUSTER}; interface "eth0";'
        " ipv4 { import all; export none; extended next hop yes; }; ipv6 { import all; export none; }; }\n"
    )
    Bird(where, site.folder / "bird", "192.0.2.2", text)
    node.start()
    wait_for(lambda: states(node) == {"peer/gw/eth0": "established"}, 20, "the router")
    (peer,) = node.ask("peers")
    assert peer["address"].startswith("fe80::")
    assert peer["address"].endswith("%eth0")
    assert peer["asn"] == TOR


def test_without_the_right_to_send_router_advertisements_it_says_so_and_goes_on(site: Site) -> None:
    node = node_with(site, {"unnumbered": {"interfaces": ["eth0"]}})
    node.launch("setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw")
    wait_for(node.answers, 20, "the node to answer")
    wait_for(
        lambda: any("it needs CAP_NET_RAW" in reason for reason in reasons(node)),
        15,
        "the complaint",
    )
    assert any(
        "no router advertisement was heard on eth0 yet" in reason for reason in reasons(node)
    )
