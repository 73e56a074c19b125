"""A new configuration: what it puts in force, and what it can only promise."""

from __future__ import annotations

from kroute.model.problem import Problem
from support.scenario import Scenario

NODES = """
kind: List
items:
- {kind: Node, metadata: {name: n1}, spec: {podCIDRs: [10.244.1.0/24]},
   status: {addresses: [{type: InternalIP, address: 192.0.2.11}]}}
- {kind: Node, metadata: {name: n2}, spec: {podCIDRs: [10.244.2.0/24]},
   status: {addresses: [{type: InternalIP, address: 192.0.2.12}]}}
"""


def node(config: str = "nodeName: n1") -> Scenario:
    found = Scenario()
    found.given_config(config)
    found.given_nodes(NODES)
    return found


def config_problems(scenario: Scenario) -> list[Problem]:
    return [p for p in scenario.control.desired.problems if p.object == "config"]


def test_a_part_that_is_read_at_start_only_is_a_problem_until_it_is_as_it_was() -> None:
    scenario = node()
    scenario.given_config("nodeName: n1\nfib: {metric: 9}")
    assert [p.field for p in config_problems(scenario)] == ["fib"]
    scenario.given_config("nodeName: n1\nfib: {metric: 9}\nbgp: {holdTime: 30}")
    assert [p.field for p in config_problems(scenario)] == ["fib"]
    scenario.given_config("nodeName: n1\nbgp: {holdTime: 30}")
    assert config_problems(scenario) == []


def test_a_change_of_what_no_session_depends_on_touches_no_session() -> None:
    scenario = node()
    before = dict(scenario.held)
    scenario.given_config("nodeName: n1\nbgp: {multipath: 2, maxPrefixes: 5}\ncni: {mtu: 1400}")
    assert scenario.held == before
    assert before


def test_a_change_of_the_hold_time_replaces_the_session() -> None:
    scenario = node()
    before = dict(scenario.held)
    scenario.given_config("nodeName: n1\nbgp: {holdTime: 30}")
    assert before
    assert before.keys().isdisjoint(scenario.held)
    assert [p.hold_time for p in scenario.held.values()] == [30]
