"""Nodes of several ASes, told by a label: external BGP among own nodes, and a label that changes while pods talk."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.daemon import Kroute, Site, nothing_lost, reaches, wait_for

pytestmark = pytest.mark.root

LABEL = "kroute.io/asn"
NORTH, SOUTH = 64701, 64703


@pytest.fixture
def site() -> Iterator[Site]:
    with Site("asn") as site:
        yield site


def pods_of(*numbers: int) -> tuple[str, ...]:
    return tuple(p for n in numbers for p in (f"10.244.{n}.0/24", f"fd00:10:244:{n}::/64"))


def of_as(site: Site, asn: int, *numbers: int) -> None:
    """Label nodes, as an operator does."""
    for n in numbers:
        labels = {LABEL: str(asn)}
        site.join(f"n{n}", list(pods_of(n)), [f"192.0.2.{n}", f"2001:db8::{n}"], **labels)


def cluster(site: Site) -> list[Kroute]:
    """n1 and n2 in the north, n3 and n4 in the south. One configuration for all: whoever is of another AS is a peer."""
    names = ["n1", "n2", "n3", "n4"]
    peers = [
        {
            "name": name,
            "address": f"192.0.2.{number}",
            "asn": "external",
            "nodes": [other for other in names if other != name],
            "accept": "podCidrs",
        }
        for number, name in enumerate(names, 1)
    ]
    config = {"bgp": {"asnLabel": LABEL}, "peering": {"peers": peers}}
    nodes = [site.node(n, config) for n in (1, 2, 3, 4)]
    of_as(site, NORTH, 1, 2)
    of_as(site, SOUTH, 3, 4)
    for node in nodes:
        node.start()
    return nodes


def whole(nodes: list[Kroute], timeout: float = 20) -> None:
    """Every node has the pods of all others, each by way of their own node."""
    for me, node in enumerate(nodes, 1):
        others = [n for n in (1, 2, 3, 4) if n != me]
        node.has(*pods_of(*others), timeout=timeout)
        for n in others:
            direct = {f"192.0.2.{n}", f"2001:db8::{n}"}
            wait_for(lambda n=n, node=node, direct=direct: gateways(node, n) == direct, 10)


def sessions(node: Kroute) -> set[str]:
    return {p["name"] for p in node.ask("peers") if p["state"] == "established"}


def gateways(node: Kroute, number: int) -> set[str]:
    """The next hops to the pods of another node, both families."""
    found = node.kernel()
    return {gateway for prefix in pods_of(number) for gateway in found.get(prefix, ())}


def test_nodes_of_two_ases_reach_each_other_over_external_bgp(site: Site) -> None:
    nodes = cluster(site)
    pods = [site.pod(node, 10) for node in nodes]
    whole(nodes)
    assert [sessions(node) for node in nodes] == [
        {"node/n2", "peer/n3", "peer/n4"},
        {"node/n1", "peer/n3", "peer/n4"},
        {"node/n4", "peer/n1", "peer/n2"},
        {"node/n3", "peer/n1", "peer/n2"},
    ]
    assert nodes[0].peer("peer/n3")["asn"] == SOUTH
    reaches(pods[1], "10.244.4.10")
    reaches(pods[1], "fd00:10:244:4::10")
    assert not any(node.problems() for node in nodes)


def test_a_node_whose_label_changes_changes_its_as_and_only_its_own_sessions(site: Site) -> None:
    nodes = cluster(site)
    a, _, c, d = nodes
    pods = [site.pod(node, 10) for node in nodes]
    whole(nodes)
    for asn, expected in (
        (NORTH, {"node/n1", "node/n2", "peer/n3"}),
        (SOUTH, {"node/n3", "peer/n1", "peer/n2"}),
    ):
        with nothing_lost((pods[0], "10.244.3.10"), (pods[0], "fd00:10:244:3::10")):
            of_as(site, asn, 4)
            wait_for(lambda e=expected: sessions(d) == e, 20, f"n4's sessions in AS {asn}")
            whole(nodes)
            reaches(pods[3], "10.244.2.10")
            reaches(pods[3], "fd00:10:244:3::10")
        assert a.peer("peer/n3")["flaps"] == c.peer("peer/n1")["flaps"] == 0
        assert a.peer("node/n2")["flaps"] == 0
    assert not any(node.problems() for node in nodes)


def test_a_label_that_is_no_as_number_costs_its_node_alone_and_is_told(site: Site) -> None:
    """The AS of the configuration holds for it, which is a third one here."""
    nodes = cluster(site)
    a, b, *_ = nodes
    whole(nodes)
    site.join("n2", list(pods_of(2)), ["192.0.2.2", "2001:db8::2"], **{LABEL: "north"})
    wait_for(lambda: "'north' is no AS number" in str(b.problems()), 20, "the problem")
    wait_for(lambda: sessions(b) == {"peer/n1", "peer/n3", "peer/n4"}, 30, "n2 as a stranger")
    whole(nodes)
    assert a.peer("peer/n3")["flaps"] == 0
    of_as(site, NORTH, 2)
    whole(nodes)
    wait_for(lambda: not b.problems(), 20, "the problem to go")
