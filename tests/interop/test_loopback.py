"""Addresses of static services on lo, in a real kernel: marked, repaired, removed, and none but ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from kroute.drivers import loopback
from support.netns import Lab, Namespace

pytestmark = pytest.mark.root

OURS = 201
FOUR, SIX = map(ip_address, ("192.0.2.53", "2001:db8::53"))


@pytest.fixture
def node() -> Iterator[Namespace]:
    with Lab("lo") as lab:
        yield lab.namespace("n1")


def held(node: Namespace) -> set[str]:
    (link,) = json.loads(node.ip("-json address show dev lo"))
    found = {f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"]}
    return found - {"127.0.0.1/8", "::1/128"}


def test_wanted_addresses_are_put_on_lo_and_unwanted_ones_of_ours_go(node: Namespace):
    assert loopback.apply(frozenset({FOUR, SIX}), OURS, netns=node.path) == ()
    assert held(node) == {"192.0.2.53/32", "2001:db8::53/128"}
    assert loopback.apply(frozenset({FOUR, SIX}), OURS, netns=node.path) == ()
    loopback.apply(frozenset({SIX}), OURS, netns=node.path)
    assert held(node) == {"2001:db8::53/128"}


def test_an_address_that_somebody_removed_is_put_back(node: Namespace):
    loopback.apply(frozenset({FOUR}), OURS, netns=node.path)
    node.ip("address del 192.0.2.53/32 dev lo")
    loopback.apply(frozenset({FOUR}), OURS, netns=node.path)
    assert held(node) == {"192.0.2.53/32"}


def test_others_addresses_are_used_but_never_removed(node: Namespace):
    node.address("lo", "192.0.2.53/32", "198.51.100.1/32")
    problems = loopback.apply(frozenset({FOUR, SIX}), OURS, netns=node.path)
    assert problems == ()
    loopback.apply(frozenset(), OURS, netns=node.path)
    assert held(node) == {"192.0.2.53/32", "198.51.100.1/32"}


def test_cleanup_removes_what_bears_our_mark_and_tells_it(node: Namespace):
    node.address("lo", "198.51.100.1/32")
    loopback.apply(frozenset({FOUR, SIX}), OURS, netns=node.path)
    assert loopback.cleanup({OURS, 202}, netns=node.path) == [
        "address 192.0.2.53/32 dev lo proto 201",
        "address 2001:db8::53/128 dev lo proto 201",
    ]
    assert held(node) == {"198.51.100.1/32"}
    assert loopback.cleanup({OURS}, netns=node.path) == []
