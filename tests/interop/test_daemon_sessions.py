"""Sessions of a whole kroute node with BIRD, FRR, GoBGP, OpenBGPD and another kroute: guards, words, limits, pages."""

from __future__ import annotations

import base64
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.daemon import Kroute, Site
from support.daemon_peers import (
    Bird,
    Frr,
    Gobgp,
    OpenBgpd,
    bird_session,
    frr_session,
    gobgp_session,
)
from support.fakekube import FakeKube
from support.inventory import kubeconfig
from support.netns import Namespace, wait_for

pytestmark = pytest.mark.root

CLUSTER, OTHER = 64512, 65001
K4, K6, P4, P6 = "192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2"
KEY = "s3cret-Of-Ours"
NETS = [f"198.51.{i}.0/24" for i in range(6)]


@pytest.fixture
def site() -> Iterator[Site]:
    with Site("ses") as site:
        yield site


def tor(**more: Any) -> dict[str, Any]:
    """The peer of all these tests, believed everything."""
    return {"name": "tor", "address": P4, "asn": OTHER, "accept": "all", **more}


def kroute(site: Site, *peers: dict[str, Any], **config: Any) -> Kroute:
    """The node n1 with these peers, running."""
    node = site.node(1, {"peering": {"peers": list(peers)}, **config})
    node.start()
    return node


def bird(site: Site, where: Namespace) -> Bird:
    guards = f'password "{KEY}"; ttl security on;'
    return Bird(
        where, site.folder / "bird", P4, bird_session("k", P4, OTHER, K4, CLUSTER, more=guards)
    )


def frr(site: Site, where: Namespace) -> Frr:
    more = (f"password {KEY}", "ttl-security hops 1")
    return Frr(where, site.folder / "frr", OTHER, P4, frr_session(K4, CLUSTER, "ipv4", more=more))


def gobgp(site: Site, where: Namespace) -> Gobgp:
    session = gobgp_session(K4, CLUSTER, "ipv4")
    guarded = session.replace(
        f"peer-as = {CLUSTER}\n", f'peer-as = {CLUSTER}\n auth-password = "{KEY}"\n'
    )
    guarded += " [neighbors.ttl-security.config]\n enabled = true\n ttl-min = 255\n"
    return Gobgp(where, site.folder / "gobgp", OTHER, guarded)


def openbgpd(site: Site, where: Namespace) -> OpenBgpd:
    text = (
        f"neighbor {K4} {{\n remote-as {CLUSTER}\n announce IPv4 unicast\n ttl-security yes\n"
        f' tcp md5sig password "{KEY}"\n}}\n'
    )
    return OpenBgpd(where, site.folder / "openbgpd", OTHER, text)


def shut(router: Any, text: str) -> None:
    """Have the operator of a router shut its session down with these words."""
    match router:
        case Bird():
            router.ask(f'disable k "{text}"')
        case Frr():
            where = ("configure terminal", f"router bgp {OTHER}")
            router.run(*where, f"neighbor {K4} shutdown message {text}")
        case Gobgp():
            router.where.run(["gobgp", "neighbor", K4, "shutdown", "--reason", text])
        case OpenBgpd():
            router._ctl("neighbor", K4, "down", text)


def all_that_is_shown(node: Kroute, peer: str) -> str:
    """Every output there is: log, commands in each form, both servers' answers, metrics, command lines."""
    with node.where.entered():
        pages = [
            urllib.request.urlopen(f"http://127.0.0.1:20244{path}", timeout=10).read().decode()
            for path in ("/metrics", "/v1/config", "/v1/peers", f"/v1/peer?name={peer}")
        ]
    socket = ("--socket", str(node.socket))
    shown = [node.run("show", "peer", peer, *form, *socket) for form in ((), ("-o", "json"))]
    shown += [
        node.run("show", what, *socket) for what in ("config", "problems", "status", "routes")
    ]
    lines = [Path(f"/proc/{pid}/cmdline").read_text() for pid in (node.pid, node.speaker_pid)]
    assert all(done.returncode == 0 for done in shown), [done.stderr for done in shown]
    return "".join([node.words(), *pages, *(s.stdout + s.stderr for s in shown), *lines])


@pytest.mark.parametrize("start", [bird, frr, gobgp, openbgpd])
def test_a_guarded_session_comes_up_and_words_go_both_ways(site: Site, start: Any) -> None:
    router = start(site, site.host("p", 2))
    key = site.folder / "key"
    key.write_text(f"{KEY}\n")
    guarded = tor(passwordFile=str(key), ttlSecurity=1, holdTime=9)
    node = kroute(site, guarded)
    node.established("peer/tor")
    told = node.ask("peer", name="tor")
    assert told["negotiated"]["holdTime"] == 9
    rows = {c["name"]: c for c in told["negotiated"]["capabilities"]}
    assert rows["ipv4 unicast"]["holds"]
    assert rows["4-octet AS"]["theirs"] == str(OTHER)
    assert told["counters"]["connection"]["received"]["open"] == 1

    shut(router, "power-work")
    wait_for(lambda: node.peer("peer/tor")["state"] != "established", 15, "the shutdown")
    error = node.ask("peer", name="tor")["lastError"]
    assert (error["by"], error["code"][0]) == ("peer", 6), error
    assert "power-work" in node.ask("peer", name="tor")["reason"]

    shown = all_that_is_shown(node, "tor")
    assert KEY not in shown


def test_our_words_reach_a_peer_that_is_shut_down_and_it_returns_when_they_go(site: Site) -> None:
    router = Bird(
        site.host("p", 2), site.folder / "bird", P4, bird_session("k", P4, OTHER, K4, CLUSTER)
    )
    router.announce(NETS[0])
    node = kroute(site, tor())
    node.has(NETS[0])
    node.configure({"peering": {"peers": [tor(shutdown="rack 4 läuft leer")]}})
    node.has()
    wait_for(lambda: "rack 4 läuft leer" in router.ask("show protocols all k"), 10, "the words")
    told = node.peer("peer/tor")
    assert (told["state"], told["reason"]) == (
        "idle",
        'shut down by its configuration: "rack 4 läuft leer"',
    )
    assert node.problems() == {}
    assert node.missing() == []
    node.configure({"peering": {"peers": [tor()]}})
    node.has(NETS[0])


def test_a_peer_over_its_limit_is_closed_out_and_comes_back(site: Site) -> None:
    router = Bird(
        site.host("p", 2), site.folder / "bird", P4, bird_session("k", P4, OTHER, K4, CLUSTER)
    )
    router.announce(*NETS[:3])
    limited = tor(maxPrefixes=4, maxPrefixesWarning=75, maxPrefixesRestart=2)
    node = kroute(site, limited)
    node.has(*NETS[:3])
    assert "75 % of its limit of 4" in node.problems()["peer/tor maxPrefixesWarning"]
    router.announce(*NETS[3:])
    wait_for(lambda: node.peer("peer/tor")["state"] == "idle", 10, "the session to be closed")
    node.has()
    assert "stays down" in node.problems()["peer/tor maxPrefixes"]
    assert "maximum number of prefixes" in router.ask("show protocols all k").lower()
    router.withdraw(*NETS[3:])
    node.has(*NETS[:3])
    assert node.peer("peer/tor")["flaps"] >= 1


def test_two_kroutes_rotate_their_key_and_change_timers_without_a_flap(site: Site) -> None:
    keys = [site.folder / f"key{n}" for n in (1, 2)]
    nodes = []
    for number, key in enumerate(keys, 1):
        key.write_text("first\n")
        other = 3 - number
        peers = [
            {
                "name": f"k{other}{family}",
                "address": address,
                "asn": 65000 + other,
                "localAsn": 65000 + number,
                "passwordFile": str(key),
                "ttlSecurity": 1,
                "holdTime": 30,
                "families": [family],
            }
            for family, address in (
                ("ipv4", f"192.0.2.{other}"),
                ("ipv6", f"2001:db8::{other}"),
            )
        ]
        nodes.append(site.node(number, {"peering": {"topology": "none", "peers": peers}}))
    for node in nodes:
        node.start()
    for node, other in zip(nodes, (2, 1), strict=True):
        node.established(f"peer/k{other}ipv4", f"peer/k{other}ipv6")
    for key in keys:
        key.write_text("second\n")
    peers = nodes[0].config["peering"]["peers"]
    changed = [p | {"keepalive": 1, "connectRetry": 3, "ttlSecurity": 2} for p in peers]
    nodes[0].configure({"peering": {"peers": changed}})
    # With KEEPALIVEs each second the other end hears ever more under the new key, or nothing any more.
    seen = nodes[1].ask("peer", name="k1ipv4")["counters"]["connection"]["received"]["keepalive"]
    for family in ("ipv4", "ipv6"):
        wait_for(
            lambda family=family: (
                nodes[1].ask("peer", name=f"k1{family}")["counters"]["connection"]["received"][
                    "keepalive"
                ]
                > seen + 3
            ),
            20,
            "KEEPALIVEs under the new key",
        )
    for node in nodes:
        assert all(p["flaps"] == 0 for p in node.ask("peers"))
        assert "second" not in node.words() + str(node.ask("config"))


def test_the_page_says_what_to_do_about_a_peer_that_is_not_there(site: Site) -> None:
    site.host("p", 2)
    node = kroute(site, tor(), tor(name="ghost", address="192.0.2.77"))
    wait_for(lambda: node.ask("peer", name="tor")["lastError"], 10, "the first failure")
    found = node.run("show", "peer", "tor", "--socket", str(node.socket))
    assert found.returncode == 0
    assert "connection refused" in found.stdout
    assert "nothing listens there" in found.stdout
    assert (
        '"hint": "nothing'
        in node.run("show", "peer", "tor", "-o", "json", "--socket", str(node.socket)).stdout
    )
    unknown = node.run("show", "peer", "nobody", "--socket", str(node.socket))
    assert unknown.returncode == 1
    assert "there are: peer/ghost, peer/tor" in unknown.stderr
    assert node.run("show", "peer", "--socket", str(node.socket)).returncode == 2
    assert node.run("show", "peers", "tor", "--socket", str(node.socket)).returncode == 2
    wait_for(
        lambda: (
            "no route" in node.peer("peer/ghost")["reason"].lower()
            or "timed out" in node.peer("peer/ghost")["reason"]
        ),
        15,
        "the ghost",
    )
    assert node.ask("peer", name="ghost")["hint"]


def test_tcp_ao_that_is_asked_for_keeps_the_session_down(site: Site) -> None:
    Bird(site.host("p", 2), site.folder / "bird", P4, bird_session("k", P4, OTHER, K4, CLUSTER))
    node = kroute(site, tor(tcpAo=True))
    assert "not opened without it" in node.problems()["peer/tor tcpAo"]
    assert node.peer("peer/tor") == {}


def _bird_with_paths(site: Site, where: Namespace) -> Bird:
    """A BIRD that passes on what two more hosts on the same network announce, all of it."""
    text = bird_session(
        "k",
        P4,
        OTHER,
        K4,
        CLUSTER,
        ipv4="add paths tx; export where source = RTS_BGP; next hop keep;",
    ).replace("export where source = RTS_STATIC;", "")
    text += "".join(bird_session(f"u{n}", P4, OTHER, f"192.0.2.{n}", 65000 + n) for n in (3, 4))
    return Bird(where, site.folder / "bird", P4, text)


def _frr_with_paths(site: Site, where: Namespace) -> Frr:
    lines = frr_session(K4, CLUSTER, "ipv4", more=()).replace(
        f"  neighbor {K4} activate",
        f"  neighbor {K4} activate\n  neighbor {K4} addpath-tx-all-paths"
        f"\n  neighbor {K4} attribute-unchanged next-hop",
    )
    lines += "".join(frr_session(f"192.0.2.{n}", 65000 + n, "ipv4") for n in (3, 4))
    return Frr(where, site.folder / "frr", OTHER, P4, lines)


@pytest.mark.parametrize("start", [_bird_with_paths, _frr_with_paths], ids=["bird", "frr"])
def test_all_paths_that_a_router_knows_share_the_traffic(site: Site, start: Any) -> None:
    start(site, site.host("p", 2))
    uplinks = {}
    for number in (3, 4):
        end = f"192.0.2.{number}"
        session = bird_session("r", end, 65000 + number, P4, OTHER)
        where = site.host(f"u{number}", number)
        uplinks[number] = Bird(where, site.folder / f"bird{number}", end, session)
        uplinks[number].announce(NETS[0])
    node = kroute(site, tor(addPath="receive", families=["ipv4"]))
    node.has(NETS[0])
    wait_for(
        lambda: node.kernel() == {NETS[0]: {"192.0.2.3", "192.0.2.4"}},
        15,
        f"both paths: {node.ask('routes')}",
    )
    told = node.ask("peer", name="tor")
    assert told["negotiated"]["addPath"] == ["ipv4"]
    uplinks[3].withdraw(NETS[0])
    wait_for(lambda: node.kernel() == {NETS[0]: {"192.0.2.4"}}, 15, "one path")
    uplinks[4].withdraw(NETS[0])
    node.has()
    assert node.peer("peer/tor")["faults"] == 0


def test_a_key_from_a_secret_is_waited_for_rotated_live_and_shown_nowhere(site: Site) -> None:
    """The peer is another kroute with a file; the API server is the double, on the same network."""
    api = site.host("api", 100)
    kube = FakeKube("192.0.2.100", 6443)
    with api.entered():
        kube.start()
    key = site.folder / "key"
    key.write_text(f"{KEY}\n")
    ends = {"passive": True, "families": ["ipv4"], "keepalive": 1}
    far = {"name": "k1", "address": K4, "asn": 65001, "localAsn": 65002, "passwordFile": str(key)}
    near = {"name": "k2", "address": P4, "asn": 65002, "localAsn": 65001, "families": ["ipv4"]}
    secret = {"namespace": "kube-system", "name": "bgp", "key": "tor"}
    none = {"topology": "none"}
    other = site.node(2, {"peering": {**none, "peers": [far | ends]}})
    access = {"kubernetes": {"kubeconfig": kubeconfig(site.folder / "kubeconfig", kube.url)}}
    node = site.node(
        1, {"inventory": access, "peering": {**none, "peers": [near | {"passwordSecret": secret}]}}
    )
    try:
        other.start()
        node.start()
        wait_for(
            lambda: "does not exist" in node.problems().get("peer/k2 passwordSecret", ""), 10, "why"
        )
        assert "never opened without" in node.peer("peer/k2")["reason"]
        kube.put(_secret(tor=KEY), "secrets")
        node.established("peer/k2")
        assert node.problems() == {}
        kube.put(_secret(tor="another-One"), "secrets")
        key.write_text("another-One\n")
        seen = node.ask("peer", name="k2")["counters"]["connection"]["received"]["keepalive"]
        wait_for(
            lambda: (
                node.ask("peer", name="k2")["counters"]["connection"]["received"]["keepalive"]
                > seen + 4
            ),
            25,
            "KEEPALIVEs under the new key",
        )
        assert node.peer("peer/k2")["flaps"] == 0
        kube.store.delete("secrets", "bgp", "kube-system")
        wait_for(lambda: "peer/k2 passwordSecret" in node.problems(), 10, "the vanished secret")
        assert node.peer("peer/k2")["state"] == "established"
        shown = all_that_is_shown(node, "k2")
        assert KEY not in shown
        assert "another-One" not in shown
    finally:
        kube.stop()


def _secret(**data: str) -> dict[str, Any]:
    packed = {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}
    return {"metadata": {"namespace": "kube-system", "name": "bgp"}, "data": packed}
