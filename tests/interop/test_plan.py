"""`kroute plan` against running daemons: what they observe and hear, and what a candidate would change of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.daemon import Kroute, Site, Tree, merged

pytestmark = pytest.mark.root


def plan(node: Kroute, *words: str, **more: Any) -> tuple[int, Tree, str]:
    """Exit code, report and complaints of a plan for the node's configuration with some more."""
    path = node.folder / "new.yaml"
    path.write_text(json.dumps(merged(node.config, more)))
    socket = ("--socket", str(node.socket), "-o", "json")
    done = node.run("plan", "--config", str(path), *socket, *words)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def test_a_plan_says_what_the_change_then_does() -> None:
    with Site("pln") as site:
        a, b = site.node(1), site.node(2)
        c = site.node(3)
        for node in (a, b, c):
            node.start()
        a.established("node/n2", "node/n3")
        held = {f"10.244.{i}.0/24" for i in (2, 3)} | {f"fd00:10:244:{i}::/64" for i in (2, 3)}
        a.has(*held)

        # Nothing new is no change, told by the exit code as well.
        code, report, _ = plan(a)
        assert (code, report["nodes"][0]["change"]) == (0, "same")

        # A reset is foretold with its reason.
        code, report, _ = plan(a, bgp={"asn": 64999})
        assert report["nodes"][0]["routesBefore"] == 4, "what it hears is what the kernel has"
        (reset,) = report["nodes"][0]["sessions"]
        assert (reset["change"], reset["peers"]) == ("reset", ["node/n2", "node/n3"])
        assert any(word.startswith("asn 64512") for word in reset["because"]), reset

        # A candidate for this node alone: the others would wait for it in vain.
        words = ("--only-on", "n1", "--all")
        code, report, _ = plan(a, *words, peering={"topology": "none"})
        assert code == 4
        said = {(c["node"], c["code"]) for c in report["cautions"]}
        assert {("n1", "no-peer-left"), ("n2", "one-sided"), ("n3", "one-sided")} <= said
        gone = {r["prefix"] for r in report["nodes"][0]["routes"] if r["change"] == "removed"}
        assert gone == held

        # The same change in force does what was foretold.
        a.configure({"peering": {"topology": "none"}})
        a.has()

        # Wrong candidates are refused, and the daemon is not even asked; none is there to ask in the end.
        assert plan(b, bgp={"asn": 0})[0] == 2
        b.end()
        code, _, words_of_it = plan(b)
        assert (code, "no daemon" in words_of_it or "does not answer" in words_of_it) == (3, True)


def test_a_dead_neighbour_is_no_news() -> None:
    with Site("pld") as site:
        # Seeded routes are for the meantime and no part of a rehearsal: here only what is heard counts.
        a, b = site.node(1, {"bgp": {"seeding": {"enabled": False}}}), site.node(2)
        site.node(3)
        a.start(), b.start()
        a.established("node/n2")
        code, report, words = plan(a, bgp={"multipath": 2})
        assert code == 0
        assert report["nodes"][0]["routesBefore"] == 2
        assert "down now, and counted as silent: node/n3" in words
