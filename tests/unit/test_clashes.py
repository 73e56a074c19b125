"""Two clusters that share a cluster id, an AS or a router id: what is told of it, and of what it is not told."""

from __future__ import annotations

from typing import Any

import pytest

from kroute.model.bgp import Peer, PeerKind
from kroute.model.problem import Problem
from kroute.plan.clashes import clash_problems
from kroute.plan.policy import Self
from support.routing import ME4, V4, Listener, attributes, listener, n, packed, peer

CLUSTER = packed("0.0.0.9")
ME = Self(router_id=ME4.packed, cluster_id=CLUSTER, addresses=frozenset({ME4.packed}))
REFLECTOR = peer(2, PeerKind.REFLECTOR)
SWITCH = peer(3, PeerKind.EXTERNAL)
THEIRS = ("10.99.1.0/24", "10.99.2.0/24", "10.99.3.0/24", "10.99.4.0/24")
LOOPS: list[tuple[Peer, dict[str, Any], tuple[int, ...], str]] = [
    (
        REFLECTOR,
        {"cluster_list": (CLUSTER,), "originator_id": packed("192.0.2.77")},
        (),
        "clusterId",
    ),
    (REFLECTOR, {"originator_id": ME4.packed}, (), "routerId"),
    (SWITCH, {}, (65003, 64512), "asn"),
]


def told(of: Peer, changes: dict[str, Any], path: tuple[int, ...], *prefixes: str) -> Listener:
    node = listener(REFLECTOR, SWITCH, me=ME)
    node.up(of)
    node.learn(
        of, attributes(f"192.0.2.{2 if of is REFLECTOR else 3}", *path, **changes), *prefixes
    )
    node.flush()
    return node


def problems(node: Listener, of: Peer, *owned: str) -> list[Problem]:
    owners = {(V4, n(prefix)): "n5" for prefix in owned}
    return list(clash_problems(node.routing, node.routing.peers[of.name], owners))


@pytest.mark.parametrize(("of", "changes", "path", "field"), LOOPS)
def test_a_clash_is_one_problem_with_examples(
    of: Peer, changes: dict[str, Any], path: tuple[int, ...], field: str
):
    (problem,) = problems(told(of, changes, path, *THEIRS), of)
    assert (problem.object, problem.field) == (of.name, field)
    assert "4 prefixes refused (10.99.1.0/24, 10.99.2.0/24, 10.99.3.0/24, …)" in problem.reason


@pytest.mark.parametrize(("of", "changes", "path", "field"), LOOPS)
def test_what_our_own_nodes_announce_may_come_back(
    of: Peer, changes: dict[str, Any], path: tuple[int, ...], field: str
):
    assert problems(told(of, changes, path, *THEIRS), of, *THEIRS) == []


def test_what_something_else_leads_to_is_no_clash():
    node = told(SWITCH, {}, (65003, 64512), THEIRS[0])
    node.up(REFLECTOR)
    node.learn(REFLECTOR, attributes(), THEIRS[0])
    node.flush()
    assert problems(node, SWITCH) == []
