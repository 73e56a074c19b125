"""`kroute apply`: whole daemons that return from a configuration on trial by themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.daemon import Kroute, Site, merged
from support.netns import wait_for

pytestmark = pytest.mark.root


def candidate(node: Kroute, **more: Any) -> str:
    """A file with the node's configuration and some more."""
    path = node.folder / "new.yaml"
    path.write_text(json.dumps(merged(node.config, more)))
    return str(path)


def apply(node: Kroute, *words: str) -> tuple[int, str]:
    """What `kroute apply` says, on either stream, and its exit code."""
    done = node.run("apply", "--socket", str(node.socket), *words)
    return done.returncode, done.stdout + done.stderr


def hold_time(node: Kroute) -> int:
    found: int = node.ask("config")["bgp"]["holdTime"]
    return found


def trial(node: Kroute) -> str:
    return node.problems().get("config trial", "")


def test_a_candidate_is_watched_returned_from_and_kept() -> None:
    with Site("trl") as site:
        a, b = site.node(1), site.node(2)
        a.start(), b.start()
        a.established("node/n2")
        a.has("10.244.2.0/24", "fd00:10:244:2::/64")

        # Wrong ones are refused with all their errors, and nothing has happened.
        code, words = apply(a, candidate(a, bgp={"asn": 0, "holdTime": 1}))
        assert code == 1
        assert "nothing has changed" in words
        assert "bgp.asn" in words
        assert "bgp.holdTime" in words
        assert trial(a) == ""

        # Not confirmed: it returns, and says so; the routes stayed all the time.
        code, words = apply(a, candidate(a, bgp={"holdTime": 30}), "--confirm", "3s")
        assert (code, "kroute confirm" in words) == (0, True), words
        assert hold_time(a) == 30
        assert "on trial" in trial(a)
        shown = a.run("show", "config", "--socket", str(a.socket)).stdout
        assert shown.startswith("# on trial: the configuration before returns in ")
        a.established("node/n2")
        wait_for(lambda: hold_time(a) == 90, 15, "the trial to end")
        assert "not confirmed within 3 s" in trial(a)
        a.established("node/n2")

        # A restart in between: the new life goes on with the trial, and ends it.
        code, words = apply(a, candidate(a, bgp={"holdTime": 30}), "--confirm", "1h")
        assert code == 0, words
        a.restart()
        assert hold_time(a) == 30
        assert a.ask("trial")["remaining"] > 3000
        a.established("node/n2")
        assert apply(a, "--rollback")[0] == 0
        wait_for(lambda: hold_time(a) == 90, 5, "the configuration before")

        # Confirmed: the watched file says it from now on, in every life.
        assert apply(a, candidate(a, bgp={"holdTime": 33}))[0] == 0
        done = a.run("confirm", "--socket", str(a.socket))
        assert done.returncode == 0, done.stderr
        assert json.loads(a.file.read_text())["bgp"]["holdTime"] == 33
        assert "holdTime" not in Path(f"{a.file}.before").read_text()
        assert trial(a) == ""
        assert apply(a, "--confirmed")[0] == 1
        a.restart()
        assert hold_time(a) == 33


def test_a_candidate_that_loses_routes_or_sessions_is_returned_from_at_once() -> None:
    with Site("trs") as site:
        a, b = site.node(1), site.node(2)
        a.start(), b.start()
        a.established("node/n2")
        routes = ("10.244.2.0/24", "fd00:10:244:2::/64")
        a.has(*routes)

        # No peers at all: the routes go with them.
        assert apply(a, candidate(a, peering={"topology": "none"}), "--confirm", "1h")[0] == 0
        wait_for(lambda: "routed prefixes fell to 0 of 2" in trial(a), 15, "the way back")
        a.established("node/n2")
        a.has(*routes)

        # Routes stay, for graceful restart keeps them, but no session comes up any more.
        wrong = candidate(a, bgp={"asn": 64999})
        code, words = apply(a, wrong, "--confirm", "1h", "--grace", "2s", "--min-routes", "0")
        assert code == 0, words
        wait_for(lambda: "sessions fell to 0 of 1" in trial(a), 15, "the way back")
        a.established("node/n2")
        a.has(*routes)


def test_a_trial_whose_time_ends_while_the_daemon_is_away_is_over() -> None:
    with Site("tra") as site:
        a = site.node(1)
        a.start()
        assert apply(a, candidate(a, bgp={"holdTime": 30}), "--confirm", "1h")[0] == 0
        a.end()
        state = a.folder / "state" / "trial.json"
        written = json.loads(state.read_text())
        state.write_text(json.dumps({**written, "until": written["began"] + 1e-3}))
        a.start()
        assert hold_time(a) == 90
        assert "while the daemon was away" in trial(a)
        assert not state.exists()
