"""A kroute reflector tells several paths to BIRD, FRR, GoBGP and kroute (RFC 7911): an anycast service on two nodes."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

from support.daemon import Kroute, RouteMonitor, Site, nothing_lost
from support.daemon_peers import Bird, Frr, Gobgp, bird_session, frr_session, gobgp_session
from support.netns import Namespace, wait_for

pytestmark = pytest.mark.root

ASN = 64512
K4, P4 = "192.0.2.1", "192.0.2.2"
ANY4, ANY6 = "198.51.100.53", "2001:db8:53::53"
HOPS4, HOPS6 = {"192.0.2.3", "192.0.2.4"}, {"2001:db8::3", "2001:db8::4"}
BOTH = {f"{ANY4}/32": HOPS4, f"{ANY6}/128": HOPS6}
ONE = {f"{ANY4}/32": {"192.0.2.4"}, f"{ANY6}/128": {"2001:db8::4"}}
PEERING = {
    "topology": "routeReflector",
    "routeReflector": {"nodes": ["n1"]},
    "addPath": "both",
    "initiate": "both",
}
NO_SERVICE = {"services": {"static": []}}
SERVICE = {
    "services": {
        "internalPeers": True,
        "static": [{"name": "dns", "addresses": [ANY4, ANY6], "nodes": ["n3", "n4"]}],
    }
}


class Taker(Protocol):
    """A client that takes several paths."""

    def told(self, prefix: str) -> set[str]:
        """Next hops of all its paths to a prefix."""

    def ids(self, prefix: str) -> dict[str, int]:
        """Path identifiers that these came with, by next hop; empty where the program shows none."""


class TakingBird(Bird):
    def told(self, prefix: str) -> set[str]:
        text = self.ask(f"show route {prefix} all where source = RTS_BGP")
        return {m.split()[0] for m in re.findall(r"BGP\.next_hop: (.*)", text)}

    def ids(self, prefix: str) -> dict[str, int]:
        return {}


class TakingFrr(Frr):
    def told(self, prefix: str) -> set[str]:
        return set(self.ids(prefix))

    def ids(self, prefix: str) -> dict[str, int]:
        family = "ipv6" if ":" in prefix else "ipv4"
        return {
            h["ip"]: path.get("addpathRxId", 0)
            for path in self.show(f"show bgp {family} unicast {prefix}").get("paths", [])
            for h in path["nexthops"]
            if h.get("scope", "global") == "global"
        }


class TakingGobgp(Gobgp):
    def told(self, prefix: str) -> set[str]:
        family = "ipv6" if ":" in prefix else "ipv4"
        paths = (self._ask("global", "rib", "-a", family) or {}).get(prefix, [])
        found = [{a["type"]: a for a in path["attrs"]} for path in paths]
        return {(attributes.get(14) or attributes[3])["nexthop"] for attributes in found}

    def ids(self, prefix: str) -> dict[str, int]:
        family = "ipv6" if ":" in prefix else "ipv4"
        text = self.where.run(["gobgp", "neighbor", K4, "adj-in", "-a", family])
        lines = [line.split() for line in text.splitlines()[1:]]
        return {line[2]: int(line[0]) for line in lines if line[1] == prefix}


def bird(site: Site, where: Namespace) -> Taker:
    session = bird_session("r", P4, ASN, K4, ASN, ipv4="add paths rx;", ipv6="add paths rx;")
    return TakingBird(where, site.folder / "bird", P4, session)


def frr(site: Site, where: Namespace) -> Taker:
    return TakingFrr(where, site.folder / "frr", ASN, P4, frr_session(K4, ASN, "ipv4", "ipv6"))


def gobgp(site: Site, where: Namespace) -> Taker:
    text = gobgp_session(K4, ASN, "ipv4", "ipv6").replace(
        " [neighbors.afi-safis.mp-graceful-restart.config]",
        " [neighbors.afi-safis.add-paths.config]\n receive = true\n"
        " [neighbors.afi-safis.mp-graceful-restart.config]",
    )
    return TakingGobgp(where, site.folder / "gobgp", ASN, text)


@pytest.fixture
def site() -> Iterator[Site]:
    with Site("aps") as site:
        yield site


Nodes = dict[str, Kroute]


@pytest.fixture
def nodes(site: Site) -> Nodes:
    """n1 reflects; n3 and n4 run the service. All are up."""
    found = {f"n{i}": site.node(i, {"peering": PEERING, **SERVICE}) for i in (1, 3, 4)}
    for name, node in found.items():
        if name != "n1":
            # Of the machine and not of the service, so that it answers to the last packet that is on its way there.
            node.where.address("lo", f"{ANY4}/32", f"{ANY6}/128")
        node.start()
    found["n1"].established("node/n3", "node/n4")
    return found


def client(site: Site) -> Namespace:
    """The namespace of n2, which is known to the others as a node."""
    where = site.host("c", 2)
    site.join("n2", ["10.244.2.0/24"], [P4, "2001:db8::2"])
    return where


def ids(reflector: Kroute) -> dict[str, dict[str, int]]:
    """Prefix by prefix, next hops and identifiers of the service's paths that n2 is told."""
    found: dict[str, dict[str, int]] = {}
    for entry in reflector.ask("rib-out", peer="n2"):
        if entry["prefix"] in BOTH:
            hop = entry["attributes"]["next_hop"]
            found.setdefault(entry["prefix"], {})[hop] = entry["pathId"]
    return found


def hops(found: dict[str, dict[str, int]]) -> dict[str, set[str]]:
    return {prefix: set(paths) for prefix, paths in found.items()}


def hears(taker: Taker, expected: dict[str, set[str]]) -> None:
    """Wait until a client has these paths and no others."""

    def has() -> dict[str, set[str]]:
        return {prefix: taker.told(prefix) for prefix in expected}

    wait_for(lambda: has() == expected, 20, f"{expected}, it has {has()}")


@pytest.mark.parametrize("start", [bird, frr, gobgp])
def test_a_client_takes_every_path_and_keeps_them_while_the_reflector_restarts(
    site: Site, nodes: Nodes, start: Callable[[Site, Namespace], Taker]
) -> None:
    reflector = nodes["n1"]
    taker = start(site, client(site))
    reflector.established("node/n2")
    hears(taker, BOTH)
    told = ids(reflector)
    assert hops(told) == BOTH
    if not isinstance(taker, Bird):  # shows no identifiers
        assert {prefix: taker.ids(prefix) for prefix in BOTH} == told
    page = reflector.ask("peer", name="n2")["negotiated"]
    assert page["addPathSend"] == ["ipv4", "ipv6"]
    row = next(c for c in page["capabilities"] if c["name"] == "add-path")
    assert ("send and receive" in row["ours"], "receive" in row["theirs"]) == (True, True)
    assert row["holds"]

    nodes["n3"].configure(NO_SERVICE)
    hears(taker, ONE)
    nodes["n3"].configure(SERVICE)
    hears(taker, BOTH)
    assert ids(reflector) == told

    reflector.end(signal.SIGKILL)
    assert {prefix: taker.told(prefix) for prefix in BOTH} == BOTH, "stale, but there"
    reflector.start()
    reflector.established("node/n2", "node/n3", "node/n4")
    wait_for(lambda: ids(reflector) == told, 20, "the same paths under the same identifiers")
    hears(taker, BOTH)
    assert reflector.peer("node/n2")["faults"] == 0


def test_a_kroute_client_shares_its_traffic_among_all_that_announce_an_address(
    site: Site, nodes: Nodes
) -> None:
    """Its kernel has both legs, and flows take either; losing one node, or the reflector, loses no route."""
    reflector = nodes["n1"]
    node = site.node(2, {"peering": PEERING, **SERVICE})
    node.where.sysctl("net.ipv4.fib_multipath_hash_policy", 1)
    node.start()
    node.established("node/n1")
    legs(node, BOTH)
    assert taken(node, ANY4) == HOPS4
    assert hops(ids(reflector)) == BOTH
    shown = node.run("show", "rib", "in", "n1", "--socket", str(node.socket)).stdout
    for paths in ids(reflector).values():
        assert all(str(number) in shown for number in paths.values())
    story = reflector.ask("why", target=f"{ANY4}/32")["story"]
    assert any("told to" in line and "via 192.0.2.4" in line for line in story)
    with RouteMonitor(node.where) as monitor:
        with nothing_lost((node.where, ANY4), (node.where, ANY6)):
            nodes["n3"].configure(NO_SERVICE)
            legs(node, ONE)
            nodes["n3"].configure(SERVICE)
            legs(node, BOTH)
            reflector.end(signal.SIGKILL)
            wait_for(lambda: node.peer("node/n1")["stale"] >= 4, 20, "stale paths")
            legs(node, BOTH)
            assert taken(node, ANY4) == HOPS4, "all stale paths share the traffic"
            reflector.start()
            node.established("node/n1")
            reflector.established("node/n3", "node/n4")
            legs(node, BOTH)
        assert not any(monitor.deleted(address) for address in (ANY4, ANY6))
    assert node.peer("node/n1")["faults"] == 0


NEITHER = "so it tells us one path to a prefix and we tell it the best path alone"


def deaf_bird(site: Site, where: Namespace) -> Taker:
    return TakingBird(where, site.folder / "bird", P4, bird_session("r", P4, ASN, K4, ASN, ipv6=""))


def telling_bird(site: Site, where: Namespace) -> Taker:
    session = bird_session("r", P4, ASN, K4, ASN, ipv4="add paths tx;", ipv6="add paths tx;")
    return TakingBird(where, site.folder / "bird", P4, session)


def half_deaf_bird(site: Site, where: Namespace) -> Taker:
    session = bird_session("r", P4, ASN, K4, ASN, ipv4="add paths on;", ipv6="")
    return TakingBird(where, site.folder / "bird", P4, session)


def deaf_frr(site: Site, where: Namespace) -> Taker:
    session = frr_session(K4, ASN, "ipv4", "ipv6").replace(
        f"  neighbor {K4} activate", f"  neighbor {K4} activate\n  neighbor {K4} disable-addpath-rx"
    )
    return TakingFrr(where, site.folder / "frr", ASN, P4, session)


def deaf_gobgp(site: Site, where: Namespace) -> Taker:
    session = gobgp_session(K4, ASN, "ipv4", "ipv6")
    return TakingGobgp(where, site.folder / "gobgp", ASN, session)


@pytest.mark.parametrize(
    ("start", "words", "next_step"),
    [
        (
            deaf_bird,
            f"ipv4, ipv6: addPath both was asked for, nothing is granted, for the peer offers no add-path; {NEITHER}",
            "tell and take",
        ),
        (
            telling_bird,
            "ipv4, ipv6: addPath both was asked for, receive is granted, for the peer offers ipv4 unicast send, ipv6 "
            "unicast send; so it tells us several paths to a prefix and we tell it the best path alone",
            "take",
        ),
        (
            half_deaf_bird,
            "ipv6: addPath both was asked for, nothing is granted, for the peer offers ipv4 unicast send and receive; "
            + NEITHER,
            "tell and take",
        ),
        (
            deaf_frr,
            "ipv4, ipv6: addPath both was asked for, nothing is granted, for the peer offers ipv4 unicast neither, "
            f"ipv6 unicast neither; {NEITHER}",
            "tell and take",
        ),
        (
            deaf_gobgp,
            f"ipv4, ipv6: addPath both was asked for, nothing is granted, for the peer offers no add-path; {NEITHER}",
            "tell and take",
        ),
    ],
)
def test_a_peer_that_declines_is_a_problem_that_says_what_is_in_force(
    site: Site,
    nodes: Nodes,
    start: Callable[[Site, Namespace], Taker],
    words: str,
    next_step: str,
) -> None:
    reflector = nodes["n1"]
    taker = start(site, client(site))
    reflector.established("node/n2")
    assert [(p["object"], p["reason"], p["severity"]) for p in add_path_problems(reflector)] == [
        ("node/n2", words, "warning")
    ]
    family = words.partition(":")[0]
    assert f"in {family}" in reflector.peer("node/n2")["reason"]
    shown = reflector.run("show", "peer", "n2", "--socket", str(reflector.socket)).stdout
    assert words in shown
    assert f"let the peer {next_step} several paths" in shown
    alone = f"{ANY6}/128"
    wait_for(lambda: len(taker.told(alone)) == 1, 20, f"one path, it has {taker.told(alone)}")
    story = reflector.ask("why", target=alone)["story"]
    assert any("told to node/n2 with the best path alone" in line for line in story)
    reflector.configure({"peering": PEERING | {"addPath": "off"}})
    wait_for(lambda: not add_path_problems(reflector), 20, "no problem where nothing is asked for")


def add_path_problems(node: Kroute) -> list[dict[str, str]]:
    return [p for p in node.ask("problems") if p["field"] == "addPath"]


def legs(node: Kroute, expected: dict[str, set[str]]) -> None:
    """Wait until the kernel has these legs to the service."""

    def has() -> dict[str, set[str]]:
        known = node.kernel()
        return {prefix: known.get(prefix.partition("/")[0], set()) for prefix in expected}

    wait_for(lambda: has() == expected, 20, f"{expected}, the kernel has {has()}")


def taken(node: Kroute, target: str) -> set[str]:
    """The gateways that the kernel picks for flows from many ports."""
    found = set()
    for port in range(20000, 20064):
        flow = f"{target} ipproto udp sport {port} dport 53"
        (route,) = json.loads(node.where.run(["ip", "-json", "route", "get", *flow.split()]))
        found.add(route["gateway"])
    return found
