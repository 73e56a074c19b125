"""Sessions over link-local addresses that nobody configured, with FRR and BIRD; IPv4 routes over IPv6 (RFC 8950)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.daemon import Kroute, Site
from support.daemon_peers import Bird, Frr, Router
from support.netns import Namespace, wait_for

pytestmark = pytest.mark.root

CLUSTER, FRR_AS, BIRD_AS = 64512, 65001, 65002
POD4, POD6 = "10.244.1.0/24", "fd00:10:244:1::/64"
NET4, NET6 = "198.51.100.0/24", "2001:db8:100::/48"
LOOPBACKS = [("203.0.113.1", "2001:db8:113::1"), ("203.0.113.3", "2001:db8:113::3")]
NEAR = [("203.0.113.0/31", "2001:db8:113::/127"), ("203.0.113.2/31", "2001:db8:113::2/127")]
"""What each router announces besides: networks with its loopback addresses."""

UPLINKS = {
    "name": "up",
    "asn": "external",
    "accept": "all",
    "addressFrom": {"unnumbered": {"interfaces": ["eth1", "eth2"]}},
}


@pytest.fixture
def site() -> Iterator[Site]:
    with Site("unnum") as site:
        yield site


class Rack:
    """A node n1 with two cables, eth1 and eth2, to routers without any address but link-local ones."""

    def __init__(self, site: Site) -> None:
        self.node = site.node(1, {"peering": {"topology": "none", "peers": [UPLINKS]}})
        self.routers: list[Namespace] = []
        for number in (1, 2):
            router = site.lab.namespace(f"r{number}")
            site.lab.veth(self.node.where, f"eth{number}", router, "eth1")
            router.sysctl("net.ipv4.ip_forward", 1)
            router.sysctl("net.ipv6.conf.all.forwarding", 1)
            four, six = LOOPBACKS[number - 1]
            router.address("lo", f"{four}/32", f"{six}/128")
            self.routers.append(router)
        self.pod = site.pod(self.node, 10)


def frr(site: Site, where: Namespace, *more: str) -> Frr:
    lines = " neighbor eth1 interface remote-as external\n neighbor eth1 timers connect 1\n"
    lines += " neighbor eth1 advertisement-interval 0\n"
    lines += "".join(f" neighbor eth1 {words}\n" for words in more)
    for family in ("ipv4", "ipv6"):
        lines += (
            f" address-family {family} unicast\n  neighbor eth1 activate\n exit-address-family\n"
        )
    return Frr(where, site.folder / "frr", FRR_AS, "", lines)


def bird(site: Site, where: Namespace) -> Bird:
    text = (
        'protocol radv { interface "eth1" { max ra interval 4; default lifetime 0; }; }\n'
        f"protocol bgp up {{ local as {BIRD_AS}; neighbor range fe80::/10 as {CLUSTER};"
        ' interface "eth1"; dynamic name "up"; hold time 9;'
        " ipv4 { import all; export where source = RTS_STATIC; extended next hop yes; };"
        " ipv6 { import all; export where source = RTS_STATIC; }; }\n"
    )
    return Bird(where, site.folder / "bird", "192.0.2.8", text)


def up(node: Kroute, *names: str) -> bool:
    states = {p["name"]: p for p in node.ask("peers")}
    return states.keys() == set(names) and all(
        states[name]["state"] == "established" for name in names
    )


def hops(node: Kroute, prefix: str) -> set[tuple[str, str]]:
    """Address family and interface of each leg that the kernel has for a prefix."""
    text = (
        node.where.ip(f"route show {prefix}")
        if "." in prefix
        else node.where.ip(f"-6 route show {prefix}")
    )
    words = text.replace("nexthop", "\nnexthop").splitlines()
    found = [line.split() for line in words if " via " in f" {line}"]
    return {
        ("inet6" if "inet6" in w or ":" in w[w.index("via") + 1] else "inet", w[w.index("dev") + 1])
        for w in found
    }


def knows(router: Router, prefix: str) -> None:
    wait_for(lambda: router.path(prefix), 10, f"{prefix} at {router}")


def leads(node: Kroute, prefix: str, *interfaces: str) -> None:
    """Wait until the kernel has a prefix by way of IPv6 gateways on these interfaces."""
    wanted = {("inet6", interface) for interface in interfaces}
    wait_for(lambda: hops(node, prefix) == wanted, 10, f"{prefix} by {wanted}")


def reaches(where: Namespace, target: str, source: str) -> None:
    words = ["ping", "-c1", "-W1", "-I", source, target]
    wait_for(lambda: "1 received" in where.run(words, check=False), 10, f"{target} from {source}")


def test_frr_and_bird_are_found_at_the_ends_of_cables_and_carry_both_families(site: Site) -> None:
    rack = Rack(site)
    node = rack.node
    first, second = frr(site, rack.routers[0]), bird(site, rack.routers[1])
    node.start()
    wait_for(lambda: up(node, "peer/up/eth1", "peer/up/eth2"), 20, f"{node.ask('peers')}")
    peers: dict[str, Any] = {p["name"]: p for p in node.ask("peers")}
    assert {n: p["asn"] for n, p in peers.items()} == {
        "peer/up/eth1": FRR_AS,
        "peer/up/eth2": BIRD_AS,
    }
    assert peers["peer/up/eth1"]["address"].endswith("%eth1")

    for router, near in zip((first, second), NEAR, strict=True):
        for prefix in (POD4, POD6):
            knows(router, prefix)
            assert router.path(prefix)["as_path"] == str(CLUSTER)
        for prefix in (NET4, NET6, *near):
            router.announce(prefix)
    leads(node, NET4, "eth1", "eth2")
    leads(node, NET6, "eth1", "eth2")
    for where, (four, six) in zip(rack.routers, LOOPBACKS, strict=True):
        reaches(where, "10.244.1.10", four)
        reaches(where, "fd00:10:244:1::10", six)

    # A cable is pulled: its session ends and its legs go, the other session does not notice.
    rack.routers[1].ip("link set eth1 down")
    wait_for(lambda: up(node, "peer/up/eth1"), 10, "the other end of eth2 to be gone")
    leads(node, NET4, "eth1")
    (problem,) = [p for p in node.ask("problems") if p["object"] == "peer/up"]
    assert problem["reason"] == "eth2 is down or has no carrier; there is no session"
    rack.routers[1].ip("link set eth1 up")
    wait_for(lambda: up(node, "peer/up/eth1", "peer/up/eth2"), 20, "eth2 to be back")
    assert {p["name"]: p["flaps"] for p in node.ask("peers")}["peer/up/eth1"] == 0


@pytest.mark.parametrize("passive", [False, True], ids=["both", "passive"])
def test_a_cable_may_be_guarded_by_gtsm_and_a_password(site: Site, passive: bool) -> None:
    rack = Rack(site)
    key = site.folder / "key"
    key.write_text("s3cret")
    peer = {
        **UPLINKS,
        "ttlSecurity": 1,
        "passive": passive,
        "passwordFile": str(key),
        "addressFrom": {"unnumbered": {"interfaces": ["eth1"]}},
    }
    rack.node.configure({"peering": {"peers": [peer]}})
    router = frr(site, rack.routers[0], "ttl-security hops 1", "password s3cret")
    rack.node.start()
    wait_for(lambda: up(rack.node, "peer/up/eth1"), 20, "the guarded session")
    knows(router, POD4)
    rack.node.restart()
    wait_for(lambda: up(rack.node, "peer/up/eth1"), 20, "the session after a restart")


def test_an_external_peer_of_our_own_as_is_refused_and_says_why(site: Site) -> None:
    rack = Rack(site)
    text = f"protocol bgp up {{ local fe80::8%eth1 as {CLUSTER}; neighbor fe80::7%eth1 as {CLUSTER}; direct; ipv6; }}\n"
    rack.routers[0].address("eth1", "fe80::8/64")
    rack.node.where.address("eth1", "fe80::7/64")
    bird = Bird(rack.routers[0], site.folder / "bird", "192.0.2.8", text)
    assert bird.ask("show status")
    peer = {
        "name": "same",
        "asn": "external",
        "address": "fe80::8%eth1",
        "localAddress": "fe80::7%eth1",
    }
    rack.node.configure({"peering": {"peers": [peer]}})
    rack.node.start()

    def reason() -> str:
        (told,) = rack.node.ask("peers")
        return str(told["reason"])

    wait_for(lambda: "an external peer cannot be of our own AS" in reason(), 20, reason())
    assert "bad peer AS" in reason()
