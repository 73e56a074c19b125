"""One kroute node with BIRD, FRR, GoBGP, OpenBGPD and another kroute at once, both families over one session with each.

What happens once (a limit is passed, the speaker dies, kroute restarts) happens before all of them; each test asks what
became of it at one of them. What they can is told in ``support/matrix.py``, and from there in docs/peering.md.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from support.daemon import RouteMonitor, Site
from support.ledger import Ledger
from support.matrix import tried
from support.programs import PROGRAMS, TAGS, Session, has_tags
from support.stage import CLUSTER, K4, K6, NUMBER, POD4, POD6, RETURN, Stage, net4, net6, peer

pytestmark = pytest.mark.root

MORE_PODS = [f"10.244.{i}.0/24" for i in range(101, 105)]
LIMIT = 6
OUR_TAGS = ["64512:7", "64512:1:2", "rt:64512:9"]


class Scene(Stage):
    """One IPv4 session with each of the five; OpenBGPD's IPv6 routes do not count in it."""

    def __init__(self, site: Site) -> None:
        limits = {"maxPrefixes": LIMIT, "maxPrefixesRestart": 1}
        ends = {program: f"192.0.2.{number}" for program, number in NUMBER.items()}
        super().__init__(
            site,
            {program: [Session(local=end, peer=K4, limit=3)] for program, end in ends.items()},
            [peer(program, end, passive=True, **limits) for program, end in ends.items()],
        )
        self.first = True

    def calm(self) -> Ledger:
        """The first time the neighbours have connected; from then on n1 does, too."""
        ledger = super().calm()
        if self.first:
            self.first, self.peers = False, [p | {"passive": False} for p in self.peers]
            self.configure()
        return ledger

    def heard(self, program: str) -> bool:
        return (
            net4(program) in self.node.kernel() if program == "openbgpd" else super().heard(program)
        )


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Site("mtx") as site:
        yield Scene(site)


@pytest.fixture(scope="module")
def met(scene: Scene) -> Ledger:
    """All sessions are the neighbours' doing."""
    return scene.calm()


@tried
def test_a_neighbour_connects_to_a_node_that_waits(met: Ledger, program: str) -> None:
    assert not met.wrong[program]


@tried
def test_both_families_travel_both_ways_over_one_session(
    scene: Scene, met: Ledger, program: str
) -> None:
    assert not met.wrong[program]
    other, number = scene.others[program], NUMBER[program]
    ours4, ours6 = other.path(POD4), other.path(POD6)
    if program == "kroute":
        ours4, ours6 = ours4["attributes"], ours6["attributes"]
    assert (ours4["as_path"], ours4["next_hop"]) == (str(CLUSTER), K4)
    assert (ours6["as_path"], ours6["next_hop"]) == (str(CLUSTER), K6)
    kernel = scene.node.kernel()
    assert kernel[net4(program)] == {f"192.0.2.{number}"}
    assert kernel[net6(program)] == {f"2001:db8::{number}"}
    rows = {row["prefix"]: row for row in scene.node.ask("rib-in", peer=program)}
    assert rows[net4(program)]["attributes"]["as_path"] == str(CLUSTER + number)
    assert scene.node.peer(f"peer/{program}")["faults"] == 0


def test_a_next_hop_that_leads_nowhere_is_refused_and_says_so(scene: Scene, met: Ledger) -> None:
    """OpenBGPD 7.7 announces IPv6 over an IPv4 session with the next hop ::1."""
    assert not met.wrong["openbgpd"]
    rows = scene.node.ask("rib-in", peer="openbgpd", rejected="1")
    assert [row["prefix"] for row in rows] == [net6("openbgpd")]
    assert "::1" in rows[0]["reason"]


@pytest.fixture(scope="module")
def tagged(scene: Scene) -> Ledger:
    """Policies on the running sessions: ours marks what goes out, and prefers what bears the neighbour's marks."""
    ledger = scene.calm()
    marks = {"name": "all", "set": {"communities": {"add": OUR_TAGS}}, "then": "accept"}
    prefers = [
        {
            "name": f"r{i}",
            "match": {"communities": [tag]},
            "set": {"localPref": 200 + i},
            "then": "next",
        }
        for i, tag in enumerate(TAGS.values())
    ]
    prefers.append({"name": "end", "then": "accept"})
    policies = [{"name": "out", "rules": [marks]}, {"name": "in", "rules": prefers}]
    scene.node.configure({"policies": policies})
    scene.configure(*PROGRAMS, **{"import": "in", "export": "out"})
    ledger.wait(lambda p: has_tags(scene.others[p].detail(POD4), *OUR_TAGS), "our communities")
    ledger.wait(lambda p: has_tags(scene.others[p].detail(POD6), *OUR_TAGS), "our communities")

    def matched(program: str) -> bool:
        rows = {r["prefix"]: r for r in scene.node.ask("rib-in", peer=program)}
        return rows[net4(program)]["rules"] == ["in/r0", "in/r1", "in/r2", "in/end"]

    ledger.wait(matched, "a rule for each of its communities")
    scene.configure()
    ledger.wait(lambda p: not has_tags(scene.others[p].detail(POD4), *OUR_TAGS), "none again")
    return ledger


@tried
def test_communities_of_each_kind_go_both_ways_and_policies_see_them(
    tagged: Ledger, program: str
) -> None:
    assert not tagged.wrong[program]


@pytest.fixture(scope="module")
def shut_here(scene: Scene) -> Ledger:
    ledger = scene.calm()
    scene.configure(*PROGRAMS, shutdown="rack 4 runs empty")
    ledger.wait(lambda p: "rack 4 runs empty" in scene.others[p].words(), "our words")
    scene.configure()
    ledger.wait(scene.up, "the session to return", timeout=RETURN)
    return ledger


@tried
def test_our_words_at_a_shutdown_are_read_there(shut_here: Ledger, program: str) -> None:
    assert not shut_here.wrong[program]


@pytest.fixture(scope="module")
def shut_there(scene: Scene) -> Ledger:
    ledger = scene.calm()
    for other in scene.others.values():
        other.shut("power-work")
    ledger.wait(lambda p: '"power-work"' in scene.reason(p), "their words")
    for other in scene.others.values():
        other.reopen()
    ledger.wait(scene.up, "the session to return", timeout=RETURN)
    return ledger


@tried
def test_words_of_a_shutdown_there_are_read_here(shut_there: Ledger, program: str) -> None:
    assert not shut_there.wrong[program]


@pytest.fixture(scope="module")
def over_our_limit(scene: Scene) -> Ledger:
    ledger = scene.calm()
    excess = {
        program: [f"203.0.{number}.{i * 16}/28" for i in range(LIMIT)]
        for program, number in NUMBER.items()
    }
    for program, prefixes in excess.items():
        scene.others[program].announce(*prefixes)
    ledger.wait(lambda p: f"announced more than {LIMIT} ipv4" in scene.reason(p), "why")
    ledger.wait(lambda p: net4(p) not in scene.node.kernel(), "its routes to go")
    for program, prefixes in excess.items():
        scene.others[program].withdraw(*prefixes)
        scene.others[program].reopen()
    ledger.wait(scene.up, "the session to return", timeout=RETURN)
    ledger.wait(scene.heard, "its routes to return")
    return ledger


@tried
def test_a_peer_over_our_limit_is_closed_out_and_comes_back(
    over_our_limit: Ledger, program: str
) -> None:
    assert not over_our_limit.wrong[program]


@pytest.fixture(scope="module")
def speaker_killed(scene: Scene) -> Ledger:
    ledger = scene.calm()
    with RouteMonitor(scene.node.where) as monitor:
        flaps = {p: scene.node.peer(f"peer/{p}")["flaps"] for p in PROGRAMS}
        os.kill(scene.node.speaker_pid, signal.SIGKILL)

        def lost(program: str) -> bool:
            return bool(scene.node.peer(f"peer/{program}")["flaps"] > flaps[program])

        ledger.wait(lost, "the session to be lost")
        ledger.check(scene.told, "our routes to be kept")
        ledger.wait(scene.up, "the session to return", timeout=RETURN)
        ledger.wait(lambda p: bool(scene.node.peer(f"peer/{p}")["endOfRib"]), "End-of-RIB")
        ledger.wait(scene.told, "our routes")
        ledger.check(lambda p: not monitor.deleted(net4(p)), "our kernel to keep its route")
    return ledger


@tried
def test_a_killed_speaker_costs_the_session_and_no_route_on_either_side(
    speaker_killed: Ledger, program: str
) -> None:
    assert not speaker_killed.wrong[program]


HIJACKS = {"10.244.23.0/24": "origin-hijack", "fd00:10:244:23::/64": "origin-hijack"}
LIES = HIJACKS | {
    "10.244.23.128/25": "origin-more-specific",
    "10.244.0.0/16": "origin-covering",
    "fd00:10:244:23:8000::/65": "origin-more-specific",
    "fd00:10:244::/48": "origin-covering",
}
DEFAULT = "0.0.0.0/0"


def lies(program: str) -> dict[str, str]:
    """What a program tells of others' podCIDRs; kroute's own cannot overlap each other."""
    return HIJACKS if program == "kroute" else LIES


@pytest.fixture(scope="module")
def lied(scene: Scene) -> Ledger:
    """All announce what is node n23's, parts of it and what is around it; and a default route, which `all` takes."""
    ledger = scene.calm()
    scene.site.join("n23", [*HIJACKS], ["192.0.2.23", "2001:db8::23"])
    routers = [program for program in PROGRAMS if program != "kroute"]
    said = {p: [*lies(p), DEFAULT] if p in routers else [*lies(p)] for p in PROGRAMS}
    for program, other in scene.others.items():
        other.announce(*said[program])

    def judged(program: str) -> bool:
        rows = scene.node.ask("rib-in", peer=program, rejected="1")
        found = {r["prefix"]: r["why"] for r in rows if r["origin"] == "invalid"}
        heard = {p: w for p, w in lies(program).items() if program != "openbgpd" or "." in p}
        return heard.items() <= found.items()

    def taken(program: str) -> bool:
        return DEFAULT in {r["prefix"] for r in scene.node.ask("rib-in", peer=program)}

    ledger.wait(judged, "the verdicts of the origin check")
    ledger.wait(taken, "its default route", only=routers)
    told = {p: scene.node.problems().get(f"peer/{p} origin", "") for p in PROGRAMS}
    ledger.check(lambda p: "10.244." in told[p], f"a problem of the peer: {told}")
    ledger.check(lambda p: not {*LIES} & set(scene.node.kernel()), "a clean kernel")
    for program, other in scene.others.items():
        other.withdraw(*said[program])
    scene.site.leave("n23")
    return ledger


@tried
def test_what_the_cluster_owns_is_refused_from_outside_and_says_so(
    lied: Ledger, program: str
) -> None:
    assert not lied.wrong[program]


def restarted(scene: Scene, number: int) -> Ledger:
    """kroute ends by a signal and comes back: do the others keep what it announced, and does the kernel?"""
    ledger = scene.calm()
    with RouteMonitor(scene.node.where) as monitor:
        scene.node.end(number)
        ledger.check(scene.told, "our routes right after the end")
        scene.node.start()
        ledger.wait(
            lambda p: scene.told(p) and scene.up(p), "the session, our routes kept", timeout=RETURN
        )
        ledger.wait(scene.heard, "its routes")
        ledger.check(lambda p: not monitor.deleted(net4(p)), "our kernel to keep its route")
    return ledger


@pytest.fixture(scope="module")
def ended(scene: Scene) -> Ledger:
    return restarted(scene, signal.SIGTERM)


@pytest.fixture(scope="module")
def killed(scene: Scene) -> Ledger:
    return restarted(scene, signal.SIGKILL)


@tried
def test_a_neighbour_keeps_our_routes_while_kroute_is_ended_and_started(
    ended: Ledger, program: str
) -> None:
    assert not ended.wrong[program]


@tried
def test_a_neighbour_keeps_our_routes_while_kroute_is_killed_and_started(
    killed: Ledger, program: str
) -> None:
    assert not killed.wrong[program]


def returned(scene: Scene, ledger: Ledger, end: Any) -> None:
    """All neighbours end, are missed, and come back; the ledger tells whose routes the kernel lost meanwhile."""
    with RouteMonitor(scene.node.where) as monitor:
        for other in scene.others.values():
            end(other)
        ledger.wait(lambda p: not scene.up(p), "the loss")
        ledger.check(scene.heard, "its routes to stay in our kernel")
        for other in scene.others.values():
            other.start()
        back = Ledger(PROGRAMS)
        back.wait(scene.up, "the session to return", timeout=RETURN)
        back.wait(lambda p: not scene.node.peer(f"peer/{p}")["stale"], "nothing stale")
        back.wait(scene.heard, "its routes to return")
        for program, wrong in back.wrong.items():
            ledger.wrong[program] = wrong or ledger.wrong[program]
        ledger.check(lambda p: not monitor.deleted(net4(p)), "its route to stay all the time")


@pytest.fixture(scope="module")
def others_killed(scene: Scene) -> Ledger:
    ledger = scene.calm()
    returned(scene, ledger, lambda other: other.end(signal.SIGKILL))
    return ledger


@tried
def test_routes_of_a_neighbour_that_is_killed_stay_until_it_is_back(
    others_killed: Ledger, program: str
) -> None:
    assert not others_killed.wrong[program]


@pytest.fixture(scope="module")
def others_left(scene: Scene) -> Ledger:
    ledger = scene.calm()
    returned(scene, ledger, lambda other: other.leave())
    return ledger


@tried
def test_routes_of_a_neighbour_that_leaves_for_a_restart_stay_until_it_is_back(
    others_left: Ledger, program: str
) -> None:
    assert not others_left.wrong[program]


@pytest.fixture(scope="module")
def over_their_limit(scene: Scene) -> Ledger:
    ledger = scene.calm()
    scene.site.join("n1", [POD4, POD6, *MORE_PODS], [K4, K6])
    ledger.wait(lambda p: "maximum number of prefixes" in scene.reason(p), "why")
    scene.site.join("n1", [POD4, POD6], [K4, K6])
    return ledger


@tried
def test_a_neighbour_that_takes_no_more_prefixes_is_understood(
    over_their_limit: Ledger, program: str
) -> None:
    assert not over_their_limit.wrong[program]
