"""Whole kroute nodes for tests: `kroute run` in namespaces on one switch, each with its own folders.

with Site("dmn") as site:
    a, b = site.node(1), site.node(2)
    a.start(), b.start()
    a.established("node/n2")
    assert a.kernel() == {...}

Leaving the block ends every process that was started, by its process id, and deletes namespaces and folders.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kroute.cli.client import Unreachable, ask
from kroute.lab import probe
from support.netns import Lab, Namespace, wait_for

PROGRAM = str(Path(sys.executable).with_name("kroute"))
PROTOCOL = 201
START = 15.0
"""Seconds that a daemon may take to answer, and a session to come up, on a busy machine."""

AFTERMATH = 1.0
"""Seconds that a stream of pings lasts at least, so that late consequences are seen, too."""

Tree = dict[str, Any]


def merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> Tree:
    """Two configurations, the second within the first."""
    result = dict(base)
    for key, value in more.items():
        known = result.get(key)
        both = isinstance(known, Mapping) and isinstance(value, Mapping)
        result[key] = merged(known, value) if both else value
    return result


def node_object(
    name: str, pods: list[str], addresses: list[str], labels: Mapping[str, str]
) -> Tree:
    """A Node as Kubernetes prints it."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {"podCIDR": pods[0], "podCIDRs": pods} if pods else {},
        "status": {"addresses": [{"type": "InternalIP", "address": a} for a in addresses]},
    }


def write(path: Path, content: Any) -> None:
    """Replace a file as a whole, as JSON (which is YAML)."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content))
    draft.replace(path)


class Site:
    """Namespaces on one switch, an inventory that all nodes follow, and a folder for everything."""

    def __init__(self, part: str) -> None:
        self.lab = Lab(part)
        self.folder = Path(tempfile.mkdtemp(prefix="kt-"))  # short: socket paths have 107 octets
        self.folder.chmod(0o755)
        self.inventory = self.folder / "nodes.json"
        self.nodes: dict[str, Tree] = {}
        self._switch: Namespace | None = None
        self._ports = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.lab.close()
        for log in sorted(self.folder.glob("*/log")):
            # pytest shows it where the test has failed.
            print(f"--- {log}\n{log.read_text(errors='replace')[-6000:]}")  # noqa: T201
        shutil.rmtree(self.folder, ignore_errors=True)

    def host(self, name: str, number: int) -> Namespace:
        """A namespace on the switch with 192.0.2.NUMBER/24 and 2001:db8::NUMBER/64, that forwards."""
        if self._switch is None:
            self._switch = self.lab.namespace("sw")
            self._switch.ip("link add br0 type bridge")
            self._switch.ip("link set br0 up")
        made = self.lab.namespace(name)
        self._ports += 1
        self.lab.veth(self._switch, f"port{self._ports}", made, "eth0")
        self._switch.ip(f"link set port{self._ports} master br0")
        made.address("eth0", f"192.0.2.{number}/24", f"2001:db8::{number}/64")
        made.sysctl("net.ipv4.ip_forward", 1)
        made.sysctl("net.ipv6.conf.all.forwarding", 1)
        return made

    def node(self, number: int, config: Mapping[str, Any] | None = None) -> Kroute:
        """A kroute node nNUMBER, in the inventory but not started: 10.244.NUMBER.0/24, fd00:10:244:NUMBER::/64."""
        name = f"n{number}"
        made = Kroute(self, name, self.host(name, number), config or {})
        self.join(
            name,
            [f"10.244.{number}.0/24", f"fd00:10:244:{number}::/64"],
            [f"192.0.2.{number}", f"2001:db8::{number}"],
        )
        return made

    def join(self, name: str, pods: list[str], addresses: list[str], **labels: str) -> None:
        """Put a node into the inventory, or change it."""
        self.nodes[name] = node_object(name, pods, addresses, labels)
        self._save()

    def leave(self, name: str) -> None:
        """Take a node out of the inventory."""
        del self.nodes[name]
        self._save()

    def pod(self, kroute: Kroute, number: int) -> Namespace:
        """A namespace behind a node, as its pod NUMBER: 10.244.N.NUMBER and fd00:10:244:N::NUMBER."""
        net = kroute.name.removeprefix("n")
        pod, port = self.lab.namespace(f"{kroute.name}p{number}"), f"pod{number}"
        self.lab.veth(kroute.where, port, pod, "eth0")
        kroute.where.address(port, f"10.244.{net}.1/24", f"fd00:10:244:{net}::1/64")
        pod.address("eth0", f"10.244.{net}.{number}/24", f"fd00:10:244:{net}::{number}/64")
        pod.ip(f"route add default via 10.244.{net}.1")
        pod.ip(f"-6 route add default via fd00:10:244:{net}::1")
        return pod

    def _save(self) -> None:
        write(self.inventory, {"apiVersion": "v1", "kind": "List", "items": [*self.nodes.values()]})


class Kroute:
    """One `kroute run` with its own configuration, run, state and CNI folders."""

    def __init__(self, site: Site, name: str, where: Namespace, config: Mapping[str, Any]) -> None:
        self.name, self.where = name, where
        self.folder = site.folder / name
        self.folder.mkdir()
        self.file = self.folder / "kroute.yaml"
        self.socket = self.folder / "run" / "kroute.sock"
        self.log = self.folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        base = {
            "nodeName": name,
            "inventory": {"static": {"path": str(site.inventory)}},
            "speaker": {"connectRetry": 1},
            "cni": {
                "directory": str(self.folder / "cni"),
                "binDirectories": ["/usr/lib/cni"],
                "dataDirectory": str(self.folder / "leases"),
            },
            "paths": {"run": str(self.folder / "run"), "state": str(self.folder / "state")},
        }
        (self.folder / "cni").mkdir()
        self.config: Tree = merged(base, config)
        self.configure({})

    # --- life

    def configure(self, more: Mapping[str, Any]) -> None:
        """Change the configuration file; a running daemon follows."""
        self.config = merged(self.config, more)
        write(self.file, self.config)

    def start(self, *options: str) -> None:
        """Start, and return when the local socket answers and the inventory has been read."""
        self.launch(*options)
        wait_for(self.answers, START, f"{self.name} to answer")
        wait_for(lambda: not self._unplanned(), START, "the inventory to be read")

    def launch(self, *prefix: str) -> subprocess.Popen[bytes]:
        """Start without waiting; ``prefix`` are words before the command, such as setpriv and its options."""
        with self.log.open("ab") as log:
            self.process = self.where.popen(
                [*prefix, PROGRAM, "run", "--config", str(self.file)], stdout=log, stderr=log
            )
        return self.process

    @property
    def pid(self) -> int:
        """Process id of the daemon."""
        assert self.process is not None
        return self.process.pid

    @property
    def speaker_pid(self) -> int:
        """Process id of the speaker, its only child."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        assert len(children) == 1, children
        return int(children[0])

    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def end(self, number: int = signal.SIGTERM, timeout: float = 10.0) -> int:
        """Send a signal and wait for the end; its status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def restart(self, number: int = signal.SIGTERM) -> None:
        """End by a signal, start again."""
        self.end(number)
        self.start()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Another command of the same program, in the same namespace."""
        return subprocess.run(
            ["ip", "netns", "exec", self.where.name, PROGRAM, *words],
            capture_output=True,
            text=True,
            check=False,
        )

    # --- what it says

    def ask(self, resource: str, **query: str) -> Any:
        """The answer of the local socket."""
        return ask(str(self.socket), resource, **query)

    def answers(self) -> bool:
        """Whether the local socket answers; fails at once if the daemon is dead."""
        assert self.alive(), self.words()
        try:
            self.ask("status")
        except Unreachable:
            return False
        return True

    def _unplanned(self) -> bool:
        return "inventory" in str(self.ask("status")["waitingFor"])

    def words(self) -> str:
        """All that it has logged."""
        return self.log.read_text(errors="replace")

    def missing(self) -> list[str]:
        """What /readyz misses."""
        found: list[str] = self.ask("status")["missing"]
        return found

    def peer(self, name: str) -> Tree:
        """One row of `kroute show peers`; empty if there is no such peer."""
        return next((p for p in self.ask("peers") if p["name"] == name), {})

    def established(self, *names: str, timeout: float = START) -> None:
        """Wait until these sessions are up and their peers have said End-of-RIB where they say it at all."""
        for name in names:
            try:
                wait_for(lambda name=name: self.peer(name).get("state") == "established", timeout)
            except AssertionError:
                raise AssertionError(f"{self.name}: no session: {self.peer(name)}") from None

    def route(self, prefix: str) -> Tree:
        """One row of `kroute show routes`; empty if there is none."""
        return next((r for r in self.ask("routes") if r["prefix"] == prefix), {})

    def problems(self) -> dict[str, str]:
        """Object (and field) to reasons."""
        found: dict[str, str] = {}
        for p in self.ask("problems"):
            key = f"{p['object']} {p['field']}".strip()
            found[key] = f"{found[key]}; {p['reason']}" if key in found else p["reason"]
        return found

    # --- what the kernel says

    def kernel(self, protocol: int = PROTOCOL) -> dict[str, set[str]]:
        """Our routes in the kernel: prefix to gateways."""
        return kernel_routes(self.where, str(protocol))

    def has(self, *prefixes: str, timeout: float = START) -> None:
        """Wait until our routes in the kernel are exactly those to these prefixes."""
        try:
            wait_for(lambda: set(self.kernel()) == set(prefixes), timeout)
        except AssertionError:
            found = f"{self.name} has {sorted(self.kernel())}, not {sorted(prefixes)}"
            raise AssertionError(f"{found}; {self.ask('routes')}") from None


def reaches(where: Namespace, target: str, timeout: float = START) -> None:
    """Wait until a ping is answered: the first one of all may wait for neighbour discovery."""
    wait_for(
        lambda: "1 received" in where.run(["ping", "-c1", "-W1", target], check=False),
        timeout,
        f"{target} to answer {where.name}",
    )


def kernel_routes(where: Namespace, protocol: str) -> dict[str, set[str]]:
    """Routes of one protocol in a namespace's main table: prefix to gateways."""
    found: dict[str, set[str]] = {}
    for option in ("-4", "-6"):
        out = where.run(["ip", "-json", option, "route", "show", "protocol", protocol])
        for route in json.loads(out or "[]"):
            default = "::/0" if option == "-6" else "0.0.0.0/0"
            prefix = default if route["dst"] == "default" else route["dst"]
            found.setdefault(prefix, set()).update(_gateways(route))
    return found


def _gateways(route: Tree) -> Iterator[str]:
    for leg in route.get("nexthops", [route]):
        via = leg.get("gateway") or leg.get("via", {}).get("host")
        if via:
            yield via


class RouteMonitor:
    """Hears every route that is deleted in a namespace while the block runs."""

    def __init__(self, where: Namespace) -> None:
        self._where = where

    def __enter__(self) -> Self:
        self._out = tempfile.NamedTemporaryFile()
        self._process = self._where.popen(["ip", "monitor", "route"], stdout=self._out)
        probe = "203.0.113.255"
        # It listens once it has heard of a route of our own.
        wait_for(lambda: self._touch(probe) or probe in self.words(), what="ip monitor to listen")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._out.close()

    def _touch(self, address: str) -> None:
        self._where.ip(f"route add unreachable {address} metric 4242", check=False)
        self._where.ip(f"route del unreachable {address} metric 4242", check=False)

    def words(self) -> str:
        """All that was heard."""
        return Path(self._out.name).read_text()

    def deleted(self, prefix: str) -> bool:
        """Whether a route to this prefix was deleted, even for a moment."""
        return f"Deleted {prefix} " in self.words()


class Stream:
    """A continuous stream of 100 echo requests a second, by the labs' own probe."""

    def __init__(self, where: Namespace, target: str) -> None:
        self.name = f"{where.name} to {target}"
        self.tally: Tree = {}
        self._process = where.popen(
            [sys.executable, "-I", str(probe.__file__), target, "100"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline().decode() == probe.HELLO

    def end(self) -> str:
        """Stop; what was lost in words, or that too few were sent to prove anything; empty if all is well."""
        self._process.send_signal(signal.SIGINT)
        tally = json.loads(self._process.communicate(timeout=10)[0])
        if tally["lost"] or tally["errors"]:
            return f"{self.name}: of {tally['sent']} lost {tally['lost'][:20]} {tally['errors']}"
        if tally["sent"] < max(40, tally["seconds"] * 40):
            return f"{self.name}: only {tally['sent']} sent in {tally['seconds']} s"
        return ""


@contextmanager
def nothing_lost(*routes: tuple[Namespace, str]) -> Iterator[None]:
    """While the block runs, echo requests along (namespace, target) routes are all answered."""
    for where, target in routes:
        reaches(where, target)
    streams = [Stream(where, target) for where, target in routes]
    began = time.monotonic()
    yield
    wait_for(lambda: time.monotonic() > began + AFTERMATH, what="what comes late to happen")
    complaints = [complaint for stream in streams if (complaint := stream.end())]
    assert not complaints, complaints
