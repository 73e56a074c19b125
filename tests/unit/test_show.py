"""Answers as tables for people and as JSON and YAML for programs."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from kroute.codec.show import VIEWS, as_json, as_yaml, duration, table, text
from kroute.plan import queries
from support.routing import attributes, listener, peer


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        ("", "-"),
        ([], "-"),
        (0, "0"),
        (True, "yes"),
        (False, "no"),
        (["a", 1], "a, 1"),
        ("x", "x"),
    ],
)
def test_a_value_becomes_a_cell(value: Any, shown: str):
    assert text(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"),
        (0.0, "0s"),
        (59.9, "59s"),
        (60, "1m00s"),
        (192, "3m12s"),
        (3600, "1h00m"),
        (5 * 3600 + 7 * 60 + 59, "5h07m"),
        (12 * 86400 + 3 * 3600, "12d03h"),
    ],
)
def test_durations_read_as_operators_say_them(seconds: float | None, shown: str):
    assert duration(seconds) == shown


def test_a_table_is_aligned_and_has_no_trailing_blanks():
    rows = [
        {"severity": "error", "object": "node/n2", "field": "", "reason": "one"},
        {"severity": "warning", "object": "peer/a-longer-name", "field": "asn", "reason": "two"},
    ]
    assert table("problems", rows) == (
        "SEVERITY  OBJECT              FIELD  WHAT IS WRONG\n"
        "error     node/n2             -      one\n"
        "warning   peer/a-longer-name  asn    two\n"
    )


@pytest.mark.parametrize("view", VIEWS)
def test_an_empty_table_is_a_sentence(view: str):
    assert table(view, []) == f"no {view}\n"


def answers() -> dict[str, list[dict[str, Any]]]:
    """Real answers, as the daemon gives them."""
    one, two = peer(2), peer(3)
    memory = listener(one, two)
    memory.originate("10.244.1.0/24")
    memory.up(one)
    memory.learn(one, attributes(), "10.244.2.0/24")
    memory.learn(one, attributes("198.51.100.1"), "10.244.3.0/24")
    memory.flush()
    return {
        "peers": list(queries.peers(memory.routing, 90.0)),
        "routes": list(queries.routes(memory.routing)),
        "rejected": list(queries.routes(memory.routing, rejected=True)),
    }


def test_real_peers_make_a_table():
    assert table("peers", answers()["peers"]) == (
        "PEER     ADDRESS    AS     KIND  STATE        FOR    RECEIVED  STALE  ANNOUNCED  WHY NOT\n"
        "node/n2  192.0.2.2  64512  mesh  established  1m30s  2         0      1          -\n"
        "node/n3  192.0.2.3  64512  mesh  idle         -      0         0      0          connecting\n"
    )


def test_real_routes_make_a_table():
    assert table("routes", answers()["routes"]).splitlines()[:3] == [
        "PREFIX         NEXT HOPS  FROM     PATHS  STALE  WHY",
        "10.244.1.0/24  local      local    1      no     the only eligible path",
        "10.244.2.0/24  192.0.2.2  node/n2  1      no     the only eligible path",
    ]


def test_rejected_paths_make_a_table():
    (line,) = table("rejected", answers()["rejected"]).splitlines()[1:]
    assert line.split()[:3] == ["10.244.3.0/24", "node/n2", "198.51.100.1"]
    assert "not reachable" in line


@pytest.mark.parametrize("view", ["peers", "routes", "rejected"])
def test_json_and_yaml_say_what_the_answers_say(view: str):
    rows = answers()[view]
    assert json.loads(as_json(rows)) == rows
    assert yaml.safe_load(as_yaml(rows)) == rows
    assert list(json.loads(as_json(rows))[0]) == list(rows[0])


def test_a_route_without_next_hops_is_called_what_the_kernel_calls_it():
    row = {"prefix": "198.51.100.128/25", "nexthops": [], "desired": True, "installed": True}
    assert table("fib", [row]).splitlines()[1].split()[:2] == ["198.51.100.128/25", "blackhole"]
