"""The namespaces back-end: a node is a pause process that owns network, mount, UTS, PID and IPC namespaces.

Its root is an overlay over the host's (see ``rootfs``), its network namespace has a name (``kl.<lab>.<node>``),
and killing the pause process kills all that runs in the node. Pods' namespaces are made inside the node's mount
namespace: names made outside would show there as empty files.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kroute.lab import images, processes, rootfs, state, system
from kroute.lab.backend import NodeStatus, Result, finish
from kroute.lab.errors import LabError
from kroute.lab.progress import Progress
from kroute.lab.state import LabState, NodeState
from kroute.lab.topology import Node, Topology

_SETTLED = ("ip", "sysctl")
"""Leading commands of ``exec`` with these names run before the node's main process: a daemon should find its
addresses there, and setting them while a hundred daemons start took 50 s."""


class NetnsBackend:
    """Runs a topology on this host's kernel. ``topology`` may be None for a lab whose file is gone: then only
    ``down``, ``run``, ``inspect`` and ``log`` work."""

    name = "netns"

    def __init__(self, lab: str, topology: Topology | None = None) -> None:
        self.lab = lab
        self.topology = topology
        self._children: list[subprocess.Popen[str]] = []

    # ------------------------------------------------------------------------------------------- up

    def up(self, progress: Progress) -> None:
        """Starts the lab.

        Raises:
            LabError: it is up already, the host lacks something, or a node did not start; nothing is left then.
        """
        topology = self._topology()
        system.require()
        images.require(topology.running)
        with state.locked(self.lab):
            self._refuse_or_clear(progress)
            try:
                self._start(topology, progress)
            except BaseException:
                with system.unhurried():
                    self._remove()
                raise

    def _topology(self) -> Topology:
        """The topology, which ``up`` cannot do without."""
        if self.topology is None:
            raise LabError(f"lab {self.lab}: its topology file is needed to start it")
        return self.topology

    def _refuse_or_clear(self, progress: Progress) -> None:
        """A lab that is up stays as it is; the rest of one whose runner died is removed."""
        before = state.load(self.lab)
        if before is not None and before.ready:
            raise LabError(
                f"lab {self.lab} is up already; take it down first: kroute lab down {self.lab}"
            )
        if before is not None or state.namespaces(self.lab):
            progress.warn(f"removing what an interrupted run left of lab {self.lab}")
            self._remove()

    def _start(self, topology: Topology, progress: Progress) -> None:
        """All steps of ``up``, each with its line of progress."""
        for warning in (*topology.warnings, *_unknown_images(topology)):
            progress.warn(warning)
        if warning := system.neighbour_warning(len(topology.running)):
            progress.warn(warning)
        self._save(topology, {}, ready=False)
        owners = dict.fromkeys(node.namespace_owner for node in topology.nodes.values())
        with progress.step(f"{len(topology.running)} nodes"):
            system.ip_batch([f"netns add {state.namespace(self.lab, owner)}" for owner in owners])
            with ThreadPoolExecutor(4) as pool:
                nodes = dict(pool.map(self._furnish, topology.running))
            self._save(topology, nodes, ready=False)
        with progress.step(f"{len(topology.links)} links"):
            self._link(topology)
        with progress.step("addresses, main processes"), ThreadPoolExecutor(4) as pool:
            for complaints in pool.map(
                lambda node: self._begin(node, nodes[node.name]), topology.running
            ):
                for complaint in complaints:
                    progress.warn(complaint)
        self._save(topology, nodes, ready=True)

    def _save(self, topology: Topology, nodes: dict[str, NodeState], *, ready: bool) -> None:
        """Writes the lab's state."""
        state.save(
            LabState(
                name=self.lab,
                topology=str(topology.path),
                backend=self.name,
                ready=ready,
                nodes=nodes,
            )
        )

    def _furnish(self, node: Node) -> tuple[str, NodeState]:
        """Starts the pause process of a node and waits until its root stands."""
        folder = state.node_folder(self.lab, node.name)
        for part in ("upper", "root", "log"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        script = folder / "start.sh"
        script.write_text(rootfs.script(node, folder, system.mount_points()))
        errors = folder / "log" / "start.log"
        argv = ["nsenter", f"--net=/run/netns/{state.namespace(self.lab, node.name)}"]
        argv += ["unshare", "--mount", "--uts", "--pid", "--ipc", "--fork", "--kill-child"]
        argv += ["--propagation", "private", "sh", "-e", str(script)]
        with errors.open("w") as said:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                start_new_session=True,
            )
        self._children.append(child)
        assert child.stdout is not None
        with child.stdout as out:
            ready = out.readline().strip() == "ready"
        if not ready:
            raise LabError(f"node {node.name} did not start: {errors.read_text().strip()}")
        return node.name, NodeState(pause=processes.only_child(child.pid), outer=child.pid)

    def _link(self, topology: Topology) -> None:
        """All bridges and cables: one ``ip`` for the cables, then one per namespace."""

        def home(name: str) -> str:
            return state.namespace(self.lab, topology.nodes[name].namespace_owner)

        cables: list[str] = []
        inside: dict[str, list[str]] = {}
        for node in topology.nodes.values():
            if node.is_switch:
                lines = [
                    f"link add {node.bridge} type bridge",
                    f"link set {node.bridge} up",
                    "link set lo up",
                ]
                inside.setdefault(home(node.name), []).extend(lines)
        for link in topology.links:
            left, right = (
                f"{end.interface} mtu {link.mtu} netns {home(end.node)}" for end in (link.a, link.b)
            )
            cables.append(f"link add {left} type veth peer name {right}")
            for end in (link.a, link.b):
                lines = inside.setdefault(home(end.node), [])
                if topology.nodes[end.node].is_switch:
                    lines.append(
                        f"link set {end.interface} master {topology.nodes[end.node].bridge}"
                    )
                lines.append(f"link set {end.interface} up")
        system.ip_batch(cables)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda item: system.ip_batch(item[1], item[0]), inside.items()))

    def _begin(self, node: Node, where: NodeState) -> list[str]:
        """Addresses, main process, the remaining commands of ``exec``; returns complaints about those."""
        early = _leading(node.exec)
        complaints = self._perform(node, where, node.exec[:early])
        script = images.main_script(node)
        if script:
            self._spawn_main(node, where, script)
        return complaints + self._perform(node, where, node.exec[early:])

    def _perform(
        self, node: Node, where: NodeState, commands: Iterable[Sequence[str]]
    ) -> list[str]:
        """Runs commands in a node one after the other; a failed one is told and does not stop the lab."""
        complaints = []
        for argv in commands:
            result = finish(_enter(where, argv, node.env), "", 60.0, f"{node.name}: {argv[0]}")
            if result.status:
                complaints.append(
                    f"{node.name}: exec {' '.join(argv)!r}: {result.said or result.status}"
                )
        return complaints

    def _spawn_main(self, node: Node, where: NodeState, script: str) -> None:
        """Starts the node's main process, under the supervisor where it is to be restarted."""
        argv = ["sh", "-c", script]
        if images.restarts(node):
            argv = ["sh", "-c", images.SUPERVISOR, "sh", script]
        if node.startup_delay:
            argv = [
                "sh",
                "-c",
                'sleep "$1"; shift; exec "$@"',
                "sh",
                str(node.startup_delay),
                *argv,
            ]
        with (state.node_folder(self.lab, node.name) / "log" / "main.log").open("w") as log:
            child = subprocess.Popen(
                _enter(where, argv, node.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._children.append(child)

    # ----------------------------------------------------------------------------------------- down

    def down(self, progress: Progress) -> None:
        """Removes all that is left of the lab; says so where there is nothing.

        Raises:
            LabError: not root, or a process would not die.
        """
        if os.geteuid() != 0:
            raise LabError("labs need root: taking one down removes namespaces; try sudo")
        with state.locked(self.lab):
            if state.load(self.lab) is None and not state.namespaces(self.lab):
                progress.line(f"  lab {self.lab} is not up")
                return
            with progress.step(f"lab {self.lab} is down"), system.unhurried():
                self._remove()

    def _remove(self) -> None:
        """Kills what runs in the lab's namespaces, then deletes them and the state; in any state of the lab."""
        names = state.namespaces(self.lab)
        processes.kill_all_in([Path("/run/netns") / name for name in names])
        for child in self._children:
            child.wait(timeout=10)
        self._children.clear()
        system.ip_batch([f"netns delete {name}" for name in names])
        state.forget(self.lab)

    # ------------------------------------------------------------------------------------ in a node

    def run(
        self, node: str, argv: Sequence[str], *, text: str = "", timeout: float = 60.0
    ) -> Result:
        """Runs a command in a node; see :class:`~kroute.lab.backend.Backend`."""
        where, env = self._node(node)
        return finish(_enter(where, argv, env), text, timeout, f"{node}: {' '.join(argv)}")

    def attach(self, node: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> int:
        """Runs a command in a node with our own standard streams; returns its status."""
        where, own = self._node(node)
        return subprocess.run(_enter(where, argv, {**own, **(env or {})}), check=False).returncode

    def _node(self, node: str) -> tuple[NodeState, Mapping[str, str]]:
        """A running node, and its environment as far as its topology is at hand."""
        lab = state.load(self.lab)
        if lab is None:
            raise LabError(f"lab {self.lab} is not up")
        if node not in lab.nodes:
            raise LabError(f"lab {self.lab} has no node {node}; it has {', '.join(lab.nodes)}")
        if not processes.alive(lab.nodes[node].pause):
            raise LabError(f"node {node} of lab {self.lab} is not running")
        known = self.topology.nodes.get(node) if self.topology else None
        return lab.nodes[node], known.env if known else {}

    def inspect(self) -> list[NodeStatus]:
        """All nodes that run programs, with their addresses."""
        lab = state.load(self.lab)
        if lab is None:
            raise LabError(f"lab {self.lab} is not up")
        return [self._status(name, where) for name, where in lab.nodes.items()]

    def _status(self, name: str, where: NodeState) -> NodeStatus:
        """One node."""
        node = self.topology.nodes.get(name) if self.topology else None
        running = processes.alive(where.pause)
        return NodeStatus(
            name=name,
            kind=node.kind if node else "linux",
            image=node.image if node else "",
            running=running,
            pid=where.pause if running else 0,
            addresses=_addresses(state.namespace(self.lab, name)) if running else (),
        )

    def log(self, node: str) -> str:
        """What the node's main process has written."""
        path = state.node_folder(self.lab, node) / "log" / "main.log"
        return path.read_text(errors="replace") if path.exists() else ""


def _unknown_images(topology: Topology) -> list[str]:
    """Warnings about nodes that would silently run nothing."""
    return [
        f"{node.name}: image {node.image} stands for no program here; the node runs nothing by itself"
        for node in topology.running
        if not images.known(node)
    ]


def _leading(commands: Sequence[Sequence[str]]) -> int:
    """How many of the first commands only set addresses, routes and kernel settings."""
    for i, argv in enumerate(commands):
        if not argv or argv[0] not in _SETTLED:
            return i
    return len(commands)


def _enter(where: NodeState, argv: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """The host's command line that runs ``argv`` in a node, with nothing of our own environment but what is named."""
    own = {
        "PATH": images.search_path(),
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "TERM": os.environ.get("TERM", ""),
    }
    settings = [f"{key}={value}" for key, value in {**own, **env}.items()]
    enter = ["nsenter", "-t", str(where.pause), "-m", "-u", "-n", "-p", "-i"]
    return [*enter, "env", "-i", *settings, *argv]


def _addresses(namespace: str) -> tuple[str, ...]:
    """The addresses of a namespace's interfaces but loopback and link-local ones, as ``interface address``."""
    links = json.loads(system.run(["ip", "-n", namespace, "-j", "address", "show"]))
    return tuple(
        f"{link['ifname']} {info['local']}/{info['prefixlen']}"
        for link in links
        for info in link["addr_info"]
        if info["scope"] == "global"
    )
