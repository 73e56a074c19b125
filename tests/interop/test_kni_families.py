"""KNI where there is IPv6 alone, and where a pod has several networks of both families."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kroute.model.kni import Generation
from support.daemon import Kroute, Site, reaches
from support.kni_daemon import client, kni_node, leases, ready, veths

pytestmark = pytest.mark.root


@pytest.fixture
def site():
    with Site("kn6") as made:
        yield made


def test_a_cluster_of_ipv6_alone_attaches_announces_and_forwards(site):
    a, b = kni_node(site, 1, announcePods="all", otherNodes=True), kni_node(site, 2)
    for number, node in ((1, a), (2, b)):
        site.join(node.name, [f"fd00:10:244:{number}::/64"], [f"2001:db8::{number}"])
    for node in (a, b):
        node.start()
    a.established("node/n2")
    for node in (a, b):
        ready(node)
    pods, there = [site.lab.namespace(f"p{i}") for i in range(4)], site.lab.namespace("there")
    generations = list(Generation)
    with client(b) as wire:
        target = wire.attach(there.name, there.path).ipconfigs["eth0"].ip
    for pod, generation in zip(pods, generations, strict=True):
        with client(a, generation) as wire:
            wire.attach(pod.name, pod.path)
            (address,) = wire.query(pod.name).ipconfigs["eth0"].ip
        assert address.startswith("fd00:10:244:1::")
        reaches(pod, *target)
        reaches(there, address)
    assert {row["how"] for row in a.ask("pods")} == {"exec", "fast"}
    with client(a) as wire:
        own, other = wire.nodes().networks
    assert own.extradata["podCIDRs"] == "fd00:10:244:1::/64"
    assert own.extradata["freeAddresses"] == f"fd00:10:244:1::/64={2**64 - 2 - len(pods)}"
    assert (other.ready, other.extradata["podCIDRs"]) == (True, "fd00:10:244:2::/64")
    alone = [f"fd00:10:244:1::{number}" for number in range(2, 6)]
    b.has("fd00:10:244:1::/64", *alone)
    assert b.kernel()[alone[0]] == {"2001:db8::1"}
    for pod, generation in zip(pods, generations, strict=True):
        with client(a, generation) as wire:
            wire.detach(pod.name)
    b.has("fd00:10:244:1::/64")
    assert (veths(a), leases(a)) == ([], {})


def network(node: Kroute, name: str, *subnets: str) -> None:
    """A further conflist of the node."""
    ranges = [[{"subnet": subnet}] for subnet in subnets]
    ipam = {"type": "host-local", "dataDir": str(node.folder / "leases"), "ranges": ranges}
    plugin: dict[str, Any] = {"type": "bridge", "bridge": f"{name}0", "isGateway": True}
    content = {"cniVersion": "1.0.0", "name": name, "plugins": [plugin | {"ipam": ipam}]}
    (node.folder / "cni" / f"50-{name}.conflist").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("annotation", "interfaces"),
    [
        ({"kni.io/multi-network": "blue,red@r0"}, ["net1", "r0"]),
        ({"k8s.v1.cni.cncf.io/networks": "kube-system/blue@b0, default/red"}, ["b0", "net2"]),
        (
            {
                "k8s.v1.cni.cncf.io/networks": '[{"name": "blue"}, {"name": "red", "interface": "r0"}]'
            },
            ["net1", "r0"],
        ),
    ],
    ids=["kni.io", "simple", "json"],
)
def test_a_pod_of_several_networks_has_both_families_on_each_and_announces_its_own(
    site, annotation, interfaces
):
    node, other = kni_node(site, 1, announcePods="all"), site.node(2)
    network(node, "blue", "10.9.0.0/24", "fd09::/64")
    network(node, "red", "fd0a::/64", "10.10.0.0/24")
    for each in (node, other):
        each.start()
    ready(node)
    peer, pod = site.lab.namespace("peer"), site.lab.namespace("pod")
    with client(node) as wire:
        for each in (peer, pod):
            told = wire.attach(each.name, each.path, annotations=annotation).ipconfigs
        expected = {
            "eth0": ("10.244.1.3", "fd00:10:244:1::3"),
            interfaces[0]: ("10.9.0.3", "fd09::3"),
            interfaces[1]: ("fd0a::3", "10.10.0.3"),
        }
        assert {name: told[name].ip for name in expected} == expected
        for neighbour in ("10.9.0.2", "fd09::2", "fd0a::2", "10.10.0.2"):
            reaches(pod, neighbour)
        (row,) = [row for row in node.ask("pods") if row["id"] == pod.name]
        assert row["interfaces"] == ["eth0", *interfaces]
        assert row["addresses"] == [ip for ips in expected.values() for ip in ips]
        own = {ip for name in (2, 3) for ip in (f"10.244.1.{name}", f"fd00:10:244:1::{name}")}
        other.has("10.244.1.0/24", "fd00:10:244:1::/64", *own)
        for each in (peer, pod):
            wire.detach(each.name)
    other.has("10.244.1.0/24", "fd00:10:244:1::/64")
    folder = node.folder / "leases"
    assert list(folder.glob("*/[0-9a-f]*")) == []
    assert veths(node) == []
