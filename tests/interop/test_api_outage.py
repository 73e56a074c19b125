"""Nodes that take their inventory from an API server, and what happens to their pods while it comes and goes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from support.daemon import Kroute, Site, nothing_lost, wait_for
from support.fakekube import FakeKube
from support.inventory import kubeconfig
from support.netns import Namespace
from support.services import endpoint, service_object, slice_object

pytestmark = pytest.mark.root

API, PORT = 100, 6443
OUTAGE = 20.0
"""Seconds that daemons may take to notice that the server is away, and that it is back: they back off up to 10 s."""


class Cluster:
    """Kroute nodes, and an API server of their own on the same switch."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._host = site.host("api", API)
        self.kube = FakeKube(f"192.0.2.{API}", PORT)
        self.start_api()
        self._config = kubeconfig(site.folder / "kubeconfig", self.kube.url)

    def start_api(self) -> None:
        """Have the server listen, in its namespace."""
        with self._host.entered():
            self.kube.start()

    def node(self, number: int, **config: Any) -> Kroute:
        """A node that is known to the API and runs."""
        inventory = {"kind": "kubernetes", "kubernetes": {"kubeconfig": self._config}}
        made = self.site.node(number, {"inventory": inventory, **config})
        self.kube.put(self.site.nodes[made.name])
        made.launch()
        wait_for(made.answers, 15, f"{made.name} to answer")
        return made


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Site("api") as site:
        made = Cluster(site)
        try:
            yield made
        finally:
            made.kube.stop()


def pods_of(number: int) -> tuple[str, str]:
    """What others have of a node in their kernels."""
    return f"10.244.{number}.0/24", f"fd00:10:244:{number}::/64"


def ready(*nodes: Kroute) -> None:
    for node in nodes:
        wait_for(lambda node=node: not node.missing(), 20, f"{node.name} misses {node.missing()}")


def stale(node: Kroute) -> bool:
    return "inventory" in node.problems()


def answers(where: Namespace, target: str) -> bool:
    return "1 received" in where.run(["ping", "-c1", "-W1", target], check=False)


def test_an_api_server_that_goes_and_comes_back_with_another_history_costs_no_packet(
    cluster: Cluster,
) -> None:
    a, b = cluster.node(1), cluster.node(2)
    pods = cluster.site.pod(a, 10), cluster.site.pod(b, 10)
    ready(a, b)
    with nothing_lost((pods[0], "10.244.2.10"), (pods[1], "fd00:10:244:1::10")):
        cluster.kube.stop("rst")
        wait_for(lambda: stale(a) and stale(b), OUTAGE, "the outage to be noticed")
        a.has(*pods_of(2))
        cluster.kube.store.compact()
        cluster.start_api()
        wait_for(lambda: not stale(a) and not stale(b), OUTAGE, "the return to be noticed")
        a.has(*pods_of(2))
        b.has(*pods_of(1))
    assert not a.problems()


def test_a_daemon_started_while_the_api_is_away_leaves_forwarding_alone(cluster: Cluster) -> None:
    a, b = cluster.node(1), cluster.node(2)
    pods = cluster.site.pod(a, 10), cluster.site.pod(b, 10)
    ready(a, b)
    with nothing_lost((pods[0], "10.244.2.10"), (pods[1], "fd00:10:244:1::10")):
        cluster.kube.stop()
        a.end()
        a.launch()
        wait_for(a.answers, 15)
        wait_for(lambda: stale(a), OUTAGE, "the outage to be noticed")
        a.has(*pods_of(2))
        assert a.missing()
        cluster.start_api()
        a.established("node/n2", timeout=OUTAGE + 15)
        ready(a)
        a.has(*pods_of(2))


def test_a_node_that_is_deleted_goes_everywhere_and_one_that_is_added_is_reached(
    cluster: Cluster,
) -> None:
    a, b = cluster.node(1), cluster.node(2)
    pod = cluster.site.pod(a, 10)
    ready(a, b)
    a.has(*pods_of(2))
    cluster.kube.delete("n2")
    a.has()
    assert not a.peer("node/n2")
    c = cluster.node(3)
    cluster.site.pod(c, 10)
    a.established("node/n3")
    a.has(*pods_of(3))
    c.has(*pods_of(1))
    wait_for(lambda: answers(pod, "10.244.3.10"), 15, "the new node's pod to answer")


def test_a_service_stays_where_it_was_during_an_outage_and_moves_when_the_api_is_back(
    cluster: Cluster,
) -> None:
    vip, kube = "198.51.100.1", cluster.kube  # as `ip route` shows a host
    kube.put(service_object(balancer=["198.51.100.1"], externalTrafficPolicy="Local"), "services")
    kube.put(slice_object(endpoint("n2")), "endpointslices")
    wanted = {
        "enabled": True,
        "advertise": ["loadBalancerIP"],
        "ranges": ["198.51.100.0/24"],
        "internalPeers": True,
    }
    a, b = cluster.node(1, services=wanted), cluster.node(2, services=wanted)
    ready(a, b)
    a.has(*pods_of(2), vip)
    cluster.kube.stop("rst")
    kube.put(slice_object(endpoint("n1")), "endpointslices")
    wait_for(lambda: stale(a) and stale(b), OUTAGE, "the outage to be noticed")
    a.has(*pods_of(2), vip)
    cluster.start_api()
    b.has(*pods_of(1), vip, timeout=OUTAGE + 15)
    a.has(*pods_of(2))


def test_a_node_deleted_during_an_outage_goes_when_the_api_is_back(cluster: Cluster) -> None:
    a, b, c = cluster.node(1), cluster.node(2), cluster.node(3)
    pods = cluster.site.pod(a, 10), cluster.site.pod(b, 10)
    ready(a, b, c)
    a.has(*pods_of(2), *pods_of(3))
    with nothing_lost((pods[0], "10.244.2.10")):
        cluster.kube.stop()
        cluster.kube.delete("n3")
        cluster.kube.store.compact()
        wait_for(lambda: stale(a), OUTAGE, "the outage to be noticed")
        a.has(*pods_of(2), *pods_of(3))
        cluster.start_api()
        a.has(*pods_of(2), timeout=OUTAGE)
    assert not a.peer("node/n3")


def test_a_server_restored_without_its_nodes_costs_no_packet_and_is_told(cluster: Cluster) -> None:
    a, b = cluster.node(1), cluster.node(2)
    pods = cluster.site.pod(a, 10), cluster.site.pod(b, 10)
    ready(a, b)
    a.has(*pods_of(2))
    kept = {name: cluster.kube.store.objects["nodes"]["", name] for name in ("n1", "n2")}
    with nothing_lost((pods[0], "10.244.2.10"), (pods[1], "fd00:10:244:1::10")):
        cluster.kube.stop("rst")
        for name in kept:
            cluster.kube.delete(name)
        cluster.kube.store.compact()
        cluster.start_api()
        wait_for(
            lambda: "lacks this node, n1" in a.problems().get("inventory", ""),
            OUTAGE,
            "the empty list to be doubted",
        )
        a.has(*pods_of(2))
        for thing in kept.values():
            cluster.kube.put(thing)
        wait_for(lambda: not a.problems() and not b.problems(), OUTAGE, "the nodes' return")
        a.has(*pods_of(2))
        b.has(*pods_of(1))


def test_a_server_restored_without_anything_withdraws_no_address_of_a_service(
    cluster: Cluster,
) -> None:
    vips, kube = ("198.51.100.1", "2001:db8:100::1"), cluster.kube
    local = service_object(balancer=list(vips), externalTrafficPolicy="Local")
    kube.put(local, "services")
    kube.put(slice_object(endpoint("n2")), "endpointslices")
    kube.put(slice_object(endpoint("n2"), number=2, addressType="IPv6"), "endpointslices")
    wanted = {
        "enabled": True,
        "advertise": ["loadBalancerIP"],
        "ranges": ["198.51.100.0/24", "2001:db8:100::/64"],
        "internalPeers": True,
    }
    a, b = cluster.node(1, services=wanted), cluster.node(2, services=wanted)
    ready(a, b)
    a.has(*pods_of(2), *vips)
    kept = dict(kube.store.objects["nodes"])
    kube.stop("rst")
    for things in kube.store.objects.values():
        things.clear()
    kube.store.compact()
    cluster.start_api()
    wait_for(
        lambda: sum("restored" in p["reason"] for p in b.ask("problems")) == 3,
        OUTAGE,
        "three lists to be doubted",
    )
    a.has(*pods_of(2), *vips)
    for thing in kept.values():
        kube.put(thing)
    wait_for(lambda: not b.problems(), 75, "the nodes' return")
    a.has(*pods_of(2))


def test_a_stolen_podcidr_is_one_event_of_the_node_that_claims_it(cluster: Cluster) -> None:
    a, b = cluster.node(1), cluster.node(2)
    ready(a, b)
    thief = copy.deepcopy(cluster.kube.store.objects["nodes"]["", "n2"])
    thief["spec"]["podCIDRs"] = [*thief["spec"]["podCIDRs"], "0.0.0.0/1"]
    cluster.kube.put(thief)
    events = cluster.kube.store.objects["events"]
    wait_for(lambda: events, 90, "the event, which n2 tells of itself")
    (event,) = events.values()
    assert event["involvedObject"]["name"] == "n2"
    assert event["source"]["host"] == "n2"
    assert "0.0.0.0/1 is too wide for one node" in event["message"]
