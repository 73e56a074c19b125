"""Policies towards real routers: what BIRD and FRR see, and that a change reaches them in the same sessions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.request import urlopen

import pytest

from support.daemon import Kroute, Site
from support.daemon_peers import Bird, Frr, Router, bird_session, frr_session
from support.netns import wait_for

pytestmark = pytest.mark.root

CLUSTER, TOR = 64512, 65001
K4, BIRD4, FRR4, K6 = "192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"
POD4, POD6, NET, DRAINED = (
    "10.244.1.0/24",
    "fd00:10:244:1::/64",
    "198.51.100.0/24",
    "203.0.113.0/24",
)

TO_TOR = {
    "name": "to-tor",
    "rules": [
        {
            "name": "pods",
            "match": {"originClass": ["ownPods"]},
            "set": {
                "med": 50,
                "prepend": {"times": 2},
                "communities": {"add": ["mine", "64512:1:2", "rt:64512:9"]},
            },
            "then": "accept",
        }
    ],
}
ASIDE = {"table": 300, "metric": 40}
FROM_TOR: dict[str, Any] = {
    "name": "from-tor",
    "rules": [
        {
            "name": "nets",
            "match": {"communities": [f"{TOR}:*"], "asPath": {"origin": [TOR]}},
            "set": {"localPref": 200, "communities": {"add": ["64512:5"]}},
            "then": "accept",
        }
    ],
}


def policies(*found: dict[str, Any]) -> dict[str, Any]:
    return {"policies": list(found), "communityNames": {"mine": "64512:7"}}


@pytest.fixture
def site() -> Iterator[Site]:
    with Site("policy") as site:
        yield site


def bird(site: Site) -> Bird:
    """A switch in its own AS that marks what it tells."""
    tells = (
        "export filter { if source != RTS_STATIC then reject;"
        f" bgp_community.add(({TOR}, 1)); bgp_med = 3; accept; }};"
    )
    text = bird_session("k", BIRD4, TOR, K4, CLUSTER, ipv4=tells, ipv6="")
    return Bird(site.host("b", 2), site.folder / "bird", BIRD4, text)


def frr(site: Site) -> Frr:
    """A router in the cluster's AS."""
    return Frr(
        site.host("f", 3), site.folder / "frr", CLUSTER, FRR4, frr_session(K4, CLUSTER, "ipv4")
    )


def node(site: Site) -> Kroute:
    tor = {"name": "tor", "address": BIRD4, "asn": TOR, "import": "from-tor", "export": "to-tor"}
    edge = {"name": "edge", "address": FRR4, "asn": CLUSTER, "families": ["ipv4"]}
    peers = [{**tor, "families": ["ipv4", "ipv6"], "passOn": True}, edge]
    made = site.node(1, {"peering": {"peers": peers}, **policies(TO_TOR, FROM_TOR)})
    made.start()
    made.established("peer/tor", "peer/edge")
    return made


def sees(router: Router, prefix: str, **expected: Any) -> None:
    """Wait until a router knows a route with these attributes; with none expected, until it knows none."""

    def holds() -> bool:
        path = router.path(prefix)
        return bool(path) == bool(expected) and expected.items() <= path.items()

    wait_for(holds, 15, f"{prefix} with {expected}: {router.path(prefix)}")


def _stands_aside(kroute: Kroute) -> None:
    """The kernel has the route where the policy puts it, nowhere else, and everybody who is asked says so."""
    where = f"dev eth0 table {ASIDE['table']} proto 201 metric {ASIDE['metric']}"

    def lines() -> list[str]:
        shown = kroute.where.ip(f"-4 -o route show table all {NET}")
        return [" ".join(line.split()) for line in shown.splitlines()]

    wait_for(lambda: [where in line for line in lines()] == [True], 15, f"{NET} {where}: {lines()}")
    rows = [row for row in kroute.ask("fib") if row["prefix"] == NET]
    assert [(r["table"], r["metric"], r["installed"], r["note"]) for r in rows] == [
        (ASIDE["table"], ASIDE["metric"], True, "")
    ]
    told = kroute.run("why", NET, "--socket", str(kroute.socket)).stdout
    assert "as import policy says in table 300 metric 40" in told
    assert "the kernel has it" in told


def test_routers_see_what_policies_set_and_follow_their_changes_in_the_same_session(
    site: Site,
) -> None:
    tor, edge, kroute = bird(site), frr(site), node(site)
    tor.announce(NET)
    tor.announce(DRAINED)
    sees(
        tor,
        POD4,
        as_path=f"{CLUSTER} {CLUSTER} {CLUSTER}",
        med="50",
        community="(64512,7)",
        large_community="(64512, 1, 2)",
        ext_community="(rt, 64512, 9)",
    )
    sees(
        edge, NET, local_pref=200, next_hop=K4, as_path=str(TOR), med=3, community="64512:5 65001:1"
    )
    sees(edge, POD4, local_pref=100, next_hop=K4)
    kroute.has(NET, DRAINED)
    wait_for(lambda: all(p["endOfRib"] for p in kroute.ask("peers")), 15, "End-of-RIB of both")
    before = {p["name"]: p for p in kroute.ask("peers")}

    drain = {
        "name": "drained",
        "match": {"prefixes": [{"prefix": DRAINED}]},
        "then": "reject",
        "reason": "drained by hand",
    }
    lower = [{**rule, "set": {"localPref": 50, "med": 8, **ASIDE}} for rule in FROM_TOR["rules"]]
    plain = {"name": "to-tor", "rules": [{"name": "pods", "set": {"med": 60}, "then": "accept"}]}
    kroute.configure(policies(plain, {"name": "from-tor", "rules": [drain, *lower]}))

    sees(tor, POD4, as_path=str(CLUSTER), med="60", community="", large_community="")
    sees(edge, NET, local_pref=50, med=8, community="65001:1")
    sees(edge, DRAINED)
    _stands_aside(kroute)
    (rejected,) = kroute.ask("rib-in", peer="tor", rejected="1")
    assert (rejected["prefix"], rejected["rules"]) == (DRAINED, ["from-tor/drained"])
    assert rejected["reason"] == "rejected by rule from-tor/drained: drained by hand"
    shown = kroute.run("show", "rib", "in", "tor", "--rejected", "--socket", str(kroute.socket))
    assert "from-tor/drained" in shown.stdout
    counted = 'kroute_paths_rejected{peer="peer/tor",reason="policy"} 1.0'
    with kroute.where.entered(), urlopen("http://127.0.0.1:20244/metrics", timeout=10) as page:
        assert counted in page.read().decode()
    after = {p["name"]: p for p in kroute.ask("peers")}
    for name, was in before.items():
        now = after[name]
        assert (now["flaps"], now["updates"]) == (was["flaps"], was["updates"]), name
        assert now["uptime"] >= was["uptime"], name
