"""Who owns which podCIDR where nodes disagree."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from itertools import permutations

import pytest

from kroute.model.node import Node
from kroute.plan.claims import settle_claims
from support.routing import node


def settled(*nodes: Node) -> dict[str, list[str]]:
    return {
        name: [str(p) for p in found.pod_cidrs]
        for name, found in settle_claims({n.name: n for n in nodes})[0].items()
    }


def refused(*nodes: Node) -> list[str]:
    return [f"{p.object}: {p.reason}" for p in settle_claims({n.name: n for n in nodes})[1]]


def test_ranges_that_do_not_touch_are_all_owned():
    nodes = [
        node(1, "10.244.1.0/24", "fd00:1::/64"),
        node(2, "10.244.2.0/24", "fd00:2::/64"),
        node(3),
    ]
    assert settled(*nodes) == {
        "n1": ["10.244.1.0/24", "fd00:1::/64"],
        "n2": ["10.244.2.0/24", "fd00:2::/64"],
        "n3": [],
    }
    assert refused(*nodes) == []


@pytest.mark.parametrize(
    ("older", "younger"),
    [
        ("10.244.1.0/24", "10.244.1.0/24"),
        ("10.244.0.0/16", "10.244.1.0/24"),
        ("10.244.1.0/24", "10.244.0.0/16"),
        ("fd00:1::/64", "fd00::/16"),
        ("0.0.0.0/0", "10.244.1.0/24"),
    ],
)
def test_of_two_overlapping_ranges_the_older_nodes_one_stays(older: str, younger: str):
    nodes = [node(1, older), node(2, younger)]
    assert settled(*nodes) == {"n1": [older], "n2": []}
    assert refused(*nodes) == [
        f"node/n2: {younger} overlaps a range of node n1, which is older; it is refused for n2"
    ]


def test_the_losers_other_ranges_stay_and_so_do_those_of_the_other_family():
    nodes = [
        node(1, "10.244.1.0/24", "fd00:1::/64"),
        node(2, "10.244.1.0/24", "fd00:2::/64", "10.244.2.0/24"),
    ]
    assert settled(*nodes)["n2"] == ["fd00:2::/64", "10.244.2.0/24"]


def test_nodes_of_one_age_are_ranked_by_name():
    same = [replace(node(i, "10.244.1.0/24"), created="") for i in (2, 1)]
    assert settled(*same) == {"n1": ["10.244.1.0/24"], "n2": []}
    assert refused(*same) == [
        "node/n2: 10.244.1.0/24 overlaps a range of node n1, which is of the same age and comes first by name; "
        "it is refused for n2"
    ]


def test_a_node_that_overlaps_itself_is_told_so():
    assert refused(node(1, "10.244.0.0/16", "10.244.1.0/24")) == [
        "node/n1: 10.244.1.0/24 overlaps 10.244.0.0/16, another range of this node; it is refused"
    ]


def test_the_order_of_the_inventory_does_not_matter():
    nodes = [
        node(3, "10.244.0.0/16"),
        node(2, "10.244.1.0/24", "10.244.9.0/24"),
        node(1, "10.244.1.0/25"),
        node(4, "10.245.0.0/16", "fd00::/16"),
    ]
    found = {str((settled(*order), refused(*order))) for order in permutations(nodes)}
    assert len(found) == 1
    assert settled(*nodes) == {
        "n1": ["10.244.1.0/25"],
        "n2": ["10.244.9.0/24"],
        "n3": [],
        "n4": ["10.245.0.0/16", "fd00::/16"],
    }


def test_a_range_between_two_rivals_loses_to_the_one_it_overlaps():
    nodes = [node(1, "10.0.0.0/24"), node(2, "10.0.2.0/24"), node(3, "10.0.0.0/22")]
    assert settled(*nodes) == {"n1": ["10.0.0.0/24"], "n2": ["10.0.2.0/24"], "n3": []}
    assert "node n1" in refused(*nodes)[0]


def test_a_range_named_twice_by_its_node_is_owned_once_and_no_problem():
    twice = node(1, "10.244.1.0/24", "10.244.1.0/24")
    assert refused(twice) == []
    assert settled(twice)["n1"]


def test_a_refused_range_leaves_its_place_to_a_third():
    """The second loses to the first and so cannot keep the third from its range."""
    nodes = [node(1, "10.0.0.0/24"), node(2, "10.0.0.0/16"), node(3, "10.0.9.0/24")]
    assert settled(*nodes) == {"n1": ["10.0.0.0/24"], "n2": [], "n3": ["10.0.9.0/24"]}


def test_adjacent_ranges_do_not_overlap():
    assert refused(node(1, "10.0.0.0/25"), node(2, "10.0.0.128/25")) == []


def test_prefixes_stay_prefixes():
    found, _ = settle_claims({"n1": node(1, "10.0.0.0/24")})
    assert found["n1"].pod_cidrs == (ip_network("10.0.0.0/24"),)
