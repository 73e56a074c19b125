"""Full ranges of pod addresses: a problem, an Event of Kubernetes, metrics; and all that ends them."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.request import urlopen

import grpc
import pytest

from kroute.drivers.kni.client import Refused
from support.daemon import Kroute, Site
from support.fakekube import FakeKube
from support.inventory import kubeconfig
from support.kni_daemon import client, ready
from support.netns import Namespace, wait_for

pytestmark = pytest.mark.root

FOUR, SIX = "10.244.1.0/29", "fd00:10:244:1::/126"
"""Ranges with five and with two addresses for pods."""
TOLD = 30.0
"""Seconds that an Event may take: problems are looked at every five."""


class Scene:
    """One node whose podCIDRs are small, and the API server that it has them from."""

    def __init__(self, site: Site) -> None:
        self.site = site
        host = site.host("api", 100)
        self.kube = FakeKube("192.0.2.100", 6443)
        with host.entered():
            self.kube.start()
        config = kubeconfig(site.folder / "kubeconfig", self.kube.url)
        inventory = {"kind": "kubernetes", "kubernetes": {"kubeconfig": config}}
        self.node: Kroute = site.node(1, {"inventory": inventory})
        self.folder = self.node.folder / "leases" / "kroute"

    def start(self, *pod_cidrs: str) -> None:
        """Start the node with these podCIDRs."""
        folder = self.node.folder
        kni = {"enabled": True, "gcInterval": 86400, "sockets": [str(folder / "kni.sock")]}
        self.node.configure({"kni": kni | {"cacheDirectory": str(folder / "cache")}})
        self.site.join("n1", [*pod_cidrs], ["192.0.2.1", "2001:db8::1"])
        self.kube.put(self.site.nodes["n1"])
        self.node.start()
        ready(self.node)

    def attach(self, pod: Namespace) -> None:
        with client(self.node) as wire:
            wire.attach(pod.name, pod.path)

    def full(self) -> list[str]:
        """Ranges that are told to be full."""
        return [p["object"] for p in self.node.ask("problems") if "exhausted" in p["field"]]

    def events(self) -> list[tuple[str, str, str]]:
        """What Kubernetes has been told: object, reason and message."""
        found = list(self.kube.store.objects["events"].values())
        return [(e["involvedObject"]["name"], e["reason"], e["message"]) for e in found]

    def metric(self, name: str) -> float:
        """One line of what Prometheus reads."""
        url = "http://127.0.0.1:20244/metrics"
        with self.node.where.entered(), urlopen(url, timeout=10) as page:
            lines = page.read().decode().splitlines()
        (found,) = [line.split()[-1] for line in lines if line.startswith(f"{name} ")]
        return float(found)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Site("knx") as site:
        made = Scene(site)
        try:
            yield made
        finally:
            made.kube.stop()


@pytest.mark.parametrize("pod_cidrs", [(FOUR, SIX), (SIX,)], ids=["dual-stack", "ipv6"])
def test_the_last_address_is_an_event_of_the_node_and_a_problem_while_it_lasts(
    scene: Scene, pod_cidrs: tuple[str, ...]
):
    scene.start(*pod_cidrs)
    pods = [scene.site.lab.namespace(name) for name in "abc"]
    for pod in pods[:2]:
        scene.attach(pod)
    wait_for(lambda: scene.full() == [f"range/{SIX}"], what="the problem")
    assert scene.metric(f'kroute_kni_leases_free{{range="{SIX}"}}') == 0.0
    assert scene.metric(f'kroute_kni_leases_used{{range="{SIX}"}}') == 2.0
    with pytest.raises(Refused) as caught:
        scene.attach(pods[2])
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    wait_for(scene.events, TOLD, "the Event")
    ((name, reason, message),) = scene.events()
    assert (name, reason) == ("n1", "AddressesExhausted")
    assert f"range/{SIX}: every address is leased" in message
    with client(scene.node) as wire:
        own = wire.nodes().networks[0]
        assert (own.ready, own.extradata["exhausted"]) == (True, SIX)
        assert scene.metric("kroute_kni_ready") == 1.0
        wire.detach(pods[0].name)
    wait_for(lambda: scene.full() == [], what="room")
    scene.attach(pods[2])


def test_leases_of_nobody_that_fill_a_range_are_told_by_the_attach_that_meets_them(scene: Scene):
    scene.start(FOUR)
    scene.folder.mkdir(parents=True)
    for number in range(2, 7):
        (scene.folder / f"10.244.1.{number}").write_text("nobody\r\neth0")
    pod = scene.site.lab.namespace("a")
    assert scene.full() == []
    with pytest.raises(Refused):
        scene.attach(pod)
    wait_for(lambda: scene.full() == [f"range/{FOUR}"], what="the problem")
    for path in scene.folder.glob("10.*"):
        path.unlink()
    socket = ("--socket", str(scene.node.folder / "kni.sock"))
    assert scene.node.run("kni", "gc", *socket).returncode == 0
    wait_for(lambda: scene.full() == [], what="the collection to look")
