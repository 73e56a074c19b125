"""Our conflist, run by the reference plugins: pods with addresses of the podCIDRs that reach each other.

The plugins are those of the folder in ``KROUTE_CNI_PLUGINS``, else Debian's. What is asked follows
from the versions of the specification they speak: STATUS and GC where they know 1.1.0.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from kroute.codec.conflist import VERSIONS
from kroute.drivers.cni import CniDirectory
from kroute.model.config import Cni
from kroute.model.node import Node
from kroute.plan.cni import conflist
from support.cni import CniError, Pod, Runtime
from support.netns import Lab, Namespace

pytestmark = pytest.mark.root

PLUGINS = os.environ.get("KROUTE_CNI_PLUGINS", "/usr/lib/cni")
NODE = Node(name="n1", pod_cidrs=(ip_network("10.244.1.0/24"), ip_network("fd00:10:244:1::/64")))
MOVED = replace(NODE, pod_cidrs=(ip_network("10.244.9.0/24"), ip_network("fd00:10:244:9::/64")))
UPLINK_MTU = 1440


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A node with a neighbour on its uplink, its CNI folder, and a runtime."""

    lab: Lab
    node: Namespace
    outside: Namespace
    runtime: Runtime
    config: Cni

    def network(self, node: Node = NODE, **changes: Any) -> bytes:
        """The file as the runtime reads it: planned, written, read back."""
        config = replace(self.config, **changes)
        directory = CniDirectory(config)
        assert directory.apply(conflist(node, config, UPLINK_MTU)) == ()
        written = directory.read()
        assert written is not None
        return written

    def pods(self, *names: str, **options: Any) -> list[Pod]:
        return [Pod(namespace=self.lab.namespace(name), **options) for name in names]

    def attach(self, network: bytes, pods: list[Pod]) -> list[dict[str, Any]]:
        """ADD all at once, as a kubelet does."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda pod: self.runtime.add(network, pod), pods))

    @property
    def leases(self) -> set[str]:
        folder = Path(self.config.data_directory) / self.config.network
        return {p.name for p in folder.iterdir() if "." in p.name or ":" in p.name} - {
            "last_reserved_ip.0",
            "last_reserved_ip.1",
        }


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "net.d").mkdir()
    with Lab("cni") as lab:
        node, outside = lab.namespace("n1"), lab.namespace("out")
        lab.veth(node, "eth0", outside, "eth0")
        node.address("eth0", "192.0.2.1/24", "2001:db8::1/64")
        outside.address("eth0", "192.0.2.9/24", "2001:db8::9/64")
        config = Cni(
            directory=str(tmp_path / "net.d"),
            bin_directories=(PLUGINS,),
            data_directory=str(tmp_path / "leases"),
            loopback=True,
        )
        yield Bench(
            lab=lab,
            node=node,
            outside=outside,
            runtime=Runtime(node, PLUGINS),
            config=config,
        )


def spoken(runtime: Runtime) -> list[str]:
    """The versions that both the plugins and we know; at least the three of Debian's plugins."""
    known = runtime.versions()
    both = [version for version in VERSIONS if version in known]
    assert both[:3] == ["0.3.1", "0.4.0", "1.0.0"]
    return both


def addresses(result: dict[str, Any]) -> list[str]:
    return [entry["address"].partition("/")[0] for entry in result["ips"]]


def ping(source: Namespace, target: str) -> None:
    source.run(["ping", "-c", "1", "-W", "5", target])


def test_pods_of_a_node_reach_each_other_and_themselves_over_both_families(bench: Bench):
    network = bench.network()
    pods = bench.pods("a", "b")
    results = bench.attach(network, pods)
    for result in results:
        v4, v6 = addresses(result)
        assert ip_network("10.244.1.0/24").supernet_of(ip_network(v4))
        assert ip_network("fd00:10:244:1::/64").supernet_of(ip_network(v6))
        for pod in pods:
            ping(pod.namespace, v4)
            ping(pod.namespace, v6)


def test_the_bridge_is_the_default_gateway_of_both_families(bench: Bench):
    (pod,) = bench.pods("a")
    bench.attach(bench.network(), [pod])
    assert "default via 10.244.1.1 dev eth0" in pod.namespace.ip("-4 route show")
    assert "default via fd00:10:244:1::1 dev eth0" in pod.namespace.ip("-6 route show")
    ping(pod.namespace, "192.0.2.1")
    ping(pod.namespace, "2001:db8::1")


def test_pods_appear_outside_by_their_own_addresses(bench: Bench):
    (pod,) = bench.pods("a")
    (result,) = bench.attach(bench.network(), [pod])
    bench.outside.ip("route add 10.244.1.0/24 via 192.0.2.1")
    bench.outside.ip("-6 route add fd00:10:244:1::/64 via 2001:db8::1")
    bench.node.sysctl("net.ipv4.ip_forward", 1)
    bench.node.sysctl("net.ipv6.conf.all.forwarding", 1)
    for address in addresses(result):
        ping(bench.outside, address)
    assert "MASQUERADE" not in bench.node.run(["iptables-save"])


def test_mtu_and_hairpin_arrive_at_the_interfaces(bench: Bench):
    (pod,) = bench.pods("a")
    result = bench.attach(bench.network(), [pod])[0]
    (inside,) = json.loads(pod.namespace.ip("-j link show eth0"))
    assert inside["mtu"] == UPLINK_MTU
    port = next(i["name"] for i in result["interfaces"] if i["name"].startswith("veth"))
    (outside,) = json.loads(bench.node.ip(f"-j -d link show {port}"))
    assert outside["master"] == "kroute0"
    assert outside["linkinfo"]["info_slave_data"]["hairpin"] is True


def test_each_version_is_served_from_attach_to_detach(bench: Bench):
    for version in spoken(bench.runtime):
        serve(bench, version)


def serve(bench: Bench, version: str) -> None:
    network = bench.network(cni_version=version)
    pods = bench.pods(f"kept{version}", f"gone{version}")
    kept, gone = pods
    results = bench.attach(network, pods)
    assert [r["cniVersion"] for r in results] == [version, version]
    assert bench.leases == {a for r in results for a in addresses(r)}
    if version >= "0.4.0":
        bench.runtime.check(network, gone)
        gone.namespace.ip("route del default")
        with pytest.raises(CniError, match="CHECK"):
            bench.runtime.check(network, gone)
    if version >= "1.1.0":
        bench.runtime.status(network)
        bench.runtime.collect(network, [kept])
        assert bench.leases == set(addresses(results[0]))
    for pod in pods:
        bench.runtime.delete(network, pod)
        assert "eth0" not in pod.namespace.ip("-br link")
        bench.runtime.delete(network, pod)
    assert bench.leases == set()


def test_a_changed_podcidr_gives_new_pods_addresses_of_the_new_range_alone(bench: Bench):
    before, after, beside = bench.pods("old", "new", "new2")
    bench.attach(bench.network(), [before])
    network = bench.network(MOVED)
    results = bench.attach(network, [after, beside])
    for result in results:
        v4, v6 = addresses(result)
        assert v4.startswith("10.244.9.")
        assert v6.startswith("fd00:10:244:9::")
        ping(after.namespace, v4)
        ping(beside.namespace, v6)
    assert "10.244.1.1/24" not in bench.node.ip("-4 address show dev kroute0")
    assert "10.244.9.1/24" in bench.node.ip("-4 address show dev kroute0")


def test_a_host_port_leads_into_the_pod(bench: Bench):
    mapping = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
    (pod,) = bench.pods("a", ports=(mapping,))
    bench.node.sysctl("net.ipv4.ip_forward", 1)
    bench.attach(bench.network(), [pod])
    bench.outside.ip("route add 10.244.1.0/24 via 192.0.2.1")
    with serving(pod.namespace, 80, b"from the pod"):
        assert fetched(bench.outside, ("192.0.2.1", 8080)) == b"from the pod"
        assert fetched(pod.namespace, ("192.0.2.1", 8080)) == b"from the pod"


class serving:
    """A TCP server inside a namespace that greets every connection with the same bytes."""

    def __init__(self, where: Namespace, port: int, greeting: bytes) -> None:
        with where.entered():
            self.listener = socket.create_server(("", port))
        self.greeting = greeting
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        self.listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(self.greeting)


def fetched(where: Namespace, address: tuple[str, int]) -> bytes:
    with where.entered(), socket.create_connection(address, timeout=5) as connection:
        connection.settimeout(5)
        return connection.recv(100)
