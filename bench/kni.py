"""KNI: pods attached and detached through a whole daemon, in process, by executing plugins, and by a bare shell script.

Every call goes over gRPC from another process, is durable when it is answered, and gives the pod both families.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.asker import asking
from harness.figures import Complain, Row, Series, plain, row
from harness.wire import FEEDER_ASN
from kroute.drivers.kni.client import KniClient, Refused
from kroute.model.kni import Generation

PODS, SINGLE, TOGETHER, CLIENTS = 250, 60, 30, 8
START = 20.0
LISTENER, HOLD = "192.0.2.2", 3
STORM = 10.0
"""Seconds of attaching and detaching while KEEPALIVEs are watched."""
DRIVER = """set -e
export CNI_COMMAND=$1 CNI_CONTAINERID=$2 CNI_NETNS=$3 CNI_IFNAME=eth0 CNI_PATH=/usr/lib/cni
if [ $1 = ADD ]; then
  result=$(/usr/lib/cni/bridge <"$4/bridge")
  printf '%s, "prevResult": %s}' "$(cat "$4/portmap")" "$result" | /usr/lib/cni/portmap >/dev/null
else
  printf '%s}' "$(cat "$4/portmap")" | /usr/lib/cni/portmap >/dev/null
  /usr/lib/cni/bridge <"$4/bridge" >/dev/null
fi
"""
"""What a runtime does, with as little around it as there can be."""


class Node:
    """A node namespace with a daemon that serves KNI."""

    def __init__(self, name: str, fast: bool, *, bgp: bool = False) -> None:
        """``bgp``: with a session to :meth:`listener`, on which a KEEPALIVE is due each second."""
        self.name = f"kb-kni-{os.getpid()}-{name}"
        # Where a node has these files: a new one in /tmp may cost 1 ms more for all that was deleted there (ADR 22).
        self.folder = Path(tempfile.mkdtemp(prefix="kb-", dir="/var/lib"))
        self.folder.chmod(0o755)
        self.socket = self.folder / "kni.sock"
        self.process: subprocess.Popen[bytes] | None = None
        for part in ("net.d", "leases", "driver"):
            (self.folder / part).mkdir()
        _ip("netns", "add", self.name)
        _ip("-n", self.name, "link", "set", "lo", "up")
        _ip("-n", self.name, "addr", "add", "192.0.2.1/32", "dev", "lo")
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "n1"},
            "spec": {"podCIDRs": ["10.244.0.0/22", "fd00:10:244::/64"]},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
        }
        listed = {"apiVersion": "v1", "kind": "List", "items": [node]}
        (self.folder / "nodes.json").write_text(json.dumps(listed))
        config = {
            "nodeName": "n1",
            "inventory": {"static": {"path": str(self.folder / "nodes.json")}},
            "http": {"enabled": False},
            "cni": {
                "directory": str(self.folder / "net.d"),
                "binDirectories": ["/usr/lib/cni"],
                "dataDirectory": str(self.folder / "leases"),
                "mtu": 1500,
            },
            "kni": {
                "enabled": True,
                "sockets": [str(self.socket)],
                "cacheDirectory": str(self.folder / "cache"),
                "fastPath": "auto" if fast else "off",
            },
            "paths": {"run": str(self.folder / "run"), "state": str(self.folder / "state")},
        }
        if bgp:
            peer = {"name": "listener", "address": LISTENER, "asn": FEEDER_ASN}
            config["bgp"] = {"asn": 65000, "holdTime": HOLD}
            config["peering"] = {"topology": "none", "peers": [peer]}
        (self.folder / "kroute.yaml").write_text(json.dumps(config))
        self.start()

    def start(self) -> float:
        """Seconds until a query is answered and the network is ready."""
        program = Path(sys.executable).with_name("kroute")
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [
                "ip",
                "netns",
                "exec",
                self.name,
                program,
                "run",
                "--config",
                self.folder / "kroute.yaml",
            ],
            stdout=(self.folder / "log").open("ab"),
            stderr=subprocess.STDOUT,
        )
        while time.perf_counter() - began < START:
            with suppress(Refused), self.client() as client:
                if client.nodes().networks[0].ready:
                    return time.perf_counter() - began
            time.sleep(0.01)
        raise RuntimeError(f"no network: {(self.folder / 'log').read_text()[-2000:]}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the daemon."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()
            self.process = None

    def rss(self) -> float:
        """MiB that the daemon's own memory takes (without shared files)."""
        assert self.process is not None
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        told = dict(line.split(":") for line in text.splitlines()[1:])
        return int(told["Private_Dirty"].split()[0]) / 1024

    def client(self) -> KniClient:
        return KniClient(str(self.socket), Generation.V008)

    def close(self) -> None:
        self.stop()
        subprocess.run(["ip", "netns", "del", self.name], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def _pods(count: int) -> Iterator[list[str]]:
    """Names of network namespaces, gone afterwards."""
    names = [f"kb-knip-{os.getpid()}-{i}" for i in range(count)]
    try:
        for name in names:
            _ip("netns", "add", name)
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@contextmanager
def _node(name: str, fast: bool, *, bgp: bool = False) -> Iterator[Node]:
    made = Node(name, fast, bgp=bgp)
    try:
        yield made
    finally:
        made.close()


def rows(only: str | None, runs: int, complain: Complain, *, quick: bool = False) -> Iterator[Row]:
    """``kni/…``: one pod, thirty together, a storm of 250, memory, restart, KEEPALIVEs during a storm."""
    runs = min(runs, 3)
    pods = 60 if quick else PODS
    with _pods(pods) as names, _node("fast", True) as fast, _node("exec", False) as slow:
        nodes = {"kroute": fast, "exec": slow}
        for node in nodes.values():  # the plugin makes the bridge
            _time(node, names[:1])
        yield from _single(nodes, names[:SINGLE], runs)
        yield from _script(slow, names[:SINGLE], runs)
        yield from _together(nodes, names[:TOGETHER], runs)
        yield from _storm(nodes, names, runs)
        yield from _lasting(fast, names, runs)
    with _pods(pods) as names:
        yield _keepalives(names, runs)


def _single(nodes: dict[str, Node], names: Sequence[str], runs: int) -> Iterator[Row]:
    figures: dict[str, dict[str, Series]] = {}
    for _ in range(runs):
        for subject, node in nodes.items():
            attach, detach = _time(node, names)
            for what, values in (("attach", attach), ("detach", detach)):
                for part, value in (("p50", statistics.median(values)), ("p99", _p99(values))):
                    series = figures.setdefault(f"kni/{what}/{part}", {})
                    series.setdefault(subject, Series()).values.append(value * 1e3)
    for name, series in figures.items():
        found = row(name, "ms", series, note="one pod after another, both families, durable")
        assert found is not None
        yield found


def _script(node: Node, names: Sequence[str], runs: int) -> Iterator[Row]:
    """The exec path of the daemon beside a shell script that calls the same plugins."""
    config = json.loads(next((node.folder / "net.d").glob("*")).read_text())
    shared = {"name": config["name"], "cniVersion": config["cniVersion"]}
    bridge, portmap = config["plugins"]
    (node.folder / "driver" / "bridge").write_text(json.dumps({**shared, **bridge}))
    (node.folder / "driver" / "portmap").write_text(json.dumps({**shared, **portmap})[:-1])
    series = {"kroute": Series(), "script": Series()}

    def script(command: str, name: str) -> float:
        began = time.perf_counter()
        argv = ["nsenter", f"--net=/run/netns/{node.name}", "sh", "-c", DRIVER, "sh", command, name]
        subprocess.run([*argv, f"/run/netns/{name}", node.folder / "driver"], check=True)
        return time.perf_counter() - began

    for _ in range(runs):
        attach, detach = _time(node, names)
        series["kroute"].values.append(
            statistics.median(map(sum, zip(attach, detach, strict=True))) * 1e3
        )
        # In the same order: a bridge of many ports lets go of one more slowly.
        attach, detach = ([script(command, name) for name in names] for command in ("ADD", "DEL"))
        series["script"].values.append(
            statistics.median(map(sum, zip(attach, detach, strict=True))) * 1e3
        )
    found = row(
        "kni/exec-pair", "ms", series, note="attach and detach of one pod by executed plugins"
    )
    assert found is not None
    yield found


def _together(nodes: dict[str, Node], names: Sequence[str], runs: int) -> Iterator[Row]:
    series: dict[str, Series] = {}
    for _ in range(runs):
        for subject, node in nodes.items():
            with node.client() as client, ThreadPoolExecutor(len(names)) as pool:
                list(pool.map(lambda n, c=client: c.attach(n, f"/run/netns/{n}"), names))
                began = time.perf_counter()
                list(pool.map(client.detach, names))
                taken = time.perf_counter() - began
            series.setdefault(subject, Series()).values.append(taken * 1e3)
    found = row(f"kni/detach-{len(names)}-together", "ms", series)
    assert found is not None
    yield found


def _storm(nodes: dict[str, Node], names: Sequence[str], runs: int) -> Iterator[Row]:
    rates: dict[str, Series] = {}
    late: dict[str, Series] = {}
    for _ in range(runs):
        for subject, node in nodes.items():
            queries: list[float] = []
            rate = _load(node, names, queries)
            rates.setdefault(subject, Series()).values.append(rate)
            late.setdefault(subject, Series()).values.append(_p99(queries) * 1e3)
    note = f"{len(names)} pods attached, then detached, by {CLIENTS} clients at once"
    for name, unit, series in (
        ("kni/storm/pods", "pods/s", rates),
        ("kni/storm/query-p99", "ms", late),
    ):
        found = row(name, unit, series, note=note)
        assert found is not None
        yield found


def _load(node: Node, names: Sequence[str], queries: list[float]) -> float:
    """Pods a second; query durations into ``queries`` meanwhile."""

    def work(call: Callable[[KniClient, str], Any]) -> None:
        def some(mine: Sequence[str]) -> None:
            with node.client() as client:
                for name in mine:
                    call(client, name)

        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(some, [names[i::CLIENTS] for i in range(CLIENTS)]))

    with asking(node.socket, names[0], queries):
        began = time.perf_counter()
        work(lambda client, name: client.attach(name, f"/run/netns/{name}"))
        work(lambda client, name: client.detach(name))
        taken = time.perf_counter() - began
    return len(names) / taken


def _keepalives(names: Sequence[str], runs: int) -> Row:
    """A session beside the storm; the peer is a process of its own in a namespace of its own."""
    waits = {"kroute": Series(), "exec": Series()}
    for subject, fast in (("kroute", True), ("exec", False)):
        with _node(f"bgp-{subject}", fast, bgp=True) as node, _listener(node) as longest:
            _time(node, names[:1])
            for _ in range(runs):
                longest()
                over = time.monotonic() + STORM
                while time.monotonic() < over:
                    _load(node, names, [])
                waits[subject].values.append(longest())
    note = f"longest wait for a KEEPALIVE that is due each second, while {CLIENTS} clients attach and detach"
    found = row("kni/storm/keepalive", "s", waits, note=note)
    assert found is not None
    return found


@contextmanager
def _listener(node: Node) -> Iterator[Callable[[], float]]:
    """A BGP peer of the node; each call tells the longest wait for a KEEPALIVE since the one before."""
    name = f"{node.name}-peer"
    _ip("netns", "add", name)
    try:
        veth = ("wire", "type", "veth", "peer", "name", "wire", "netns", name)
        _ip("-n", node.name, "link", "add", *veth)
        _ip("-n", node.name, "addr", "add", "192.0.2.1/24", "dev", "wire")
        _ip("-n", name, "addr", "add", f"{LISTENER}/24", "dev", "wire")
        for each in (node.name, name):
            _ip("-n", each, "link", "set", "wire", "up")
        peer = subprocess.Popen(
            ["ip", "netns", "exec", name, sys.executable, "-m", "harness.listener", str(HOLD)],
            cwd=Path(__file__).parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert peer.stdin is not None
        assert peer.stdout is not None
        out, into = peer.stdout, peer.stdin

        def longest() -> float:
            into.write("\n")
            into.flush()
            return float(out.readline())

        try:
            if not out.readline():
                raise RuntimeError("no session to the listener")
            yield longest
        finally:
            into.close()
            peer.wait(10)
    finally:
        _ip("netns", "del", name)


def _lasting(node: Node, names: Sequence[str], runs: int) -> Iterator[Row]:
    node.stop()
    node.start()
    before = node.rss()
    with node.client() as client:
        for name in names:
            client.attach(name, f"/run/netns/{name}")
    note = f"{len(names)} attachments"
    yield plain("kni/memory", "MiB", [node.rss() - before], note=f"more with {note} than without")
    taken = []
    for _ in range(runs):
        node.stop(signal.SIGKILL)
        taken.append(node.start())
    yield plain("kni/restart", "s", taken, note=f"killed with {note}, until the network is ready")
    with node.client() as client:
        for name in names:
            client.detach(name)


def _time(node: Node, names: Sequence[str]) -> tuple[list[float], list[float]]:
    """Seconds of each attach and each detach, one after another."""
    attach, detach = [], []
    with node.client() as client:
        client.nodes()
        for name in names:
            began = time.perf_counter()
            client.attach(name, f"/run/netns/{name}")
            attach.append(time.perf_counter() - began)
        for name in names:
            began = time.perf_counter()
            client.detach(name)
            detach.append(time.perf_counter() - began)
    return attach, detach


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
