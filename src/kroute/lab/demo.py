"""``kroute lab demo``: a guided tour in a minute. A cluster forms, pods talk, a daemon dies, nothing is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from kroute.lab.errors import LabError
from kroute.lab.labs import Lab
from kroute.lab.pods import Pod, Pods, inside
from kroute.lab.polling import attempts
from kroute.lab.progress import Progress
from kroute.lab.topology import Topology
from kroute.lab.traffic import Stream, Tally

_WAIT = 30.0
"""Seconds until each scene must have come about, on the slowest machine."""

_RATE = 100.0
"""Pings per second and stream."""


def demo(lab: Lab, progress: Progress) -> bool:
    """Runs the tour and takes the lab down again, whatever happens; False where a ping was lost.

    Raises:
        LabError: the cluster did not form.
    """
    if lab.topology is None:
        raise LabError(f"lab {lab.name}: its topology file is needed")
    progress.line(
        f"{len(_nodes(lab.topology))} nodes, one switch, no Docker: network namespaces of this machine",
        "head",
    )
    lab.backend.up(progress)
    try:
        return _Tour(lab, lab.topology, progress).play()
    finally:
        progress.line()
        progress.line("Everything goes away again", "head")
        lab.backend.down(progress)


class _Tour:
    """The scenes, in order."""

    def __init__(self, lab: Lab, topology: Topology, progress: Progress) -> None:
        self.lab, self.progress = lab, progress
        self.nodes = _nodes(topology)
        self.began = time.monotonic()

    def play(self) -> bool:
        """All scenes; the answer to "was nothing lost?"."""
        self._inventory()
        self._conflists()
        self._sessions()
        self._routes()
        pods = self._pods()
        kept = self._killed(pods)
        took = time.monotonic() - self.began
        self.progress.line()
        self.progress.line(
            f"That was it, in {took:.0f} s. Next: kroute lab up labs/full-mesh, and break it yourself."
        )
        return kept

    # ---------------------------------------------------------------------------------------- scenes

    def _inventory(self) -> None:
        """What each daemon has read."""
        self._title(
            "Each node's daemon reads the nodes and their podCIDRs, as Kubernetes prints them"
        )
        first = self.nodes[0]
        self._until(
            first,
            "kroute show nodes -o json",
            lambda read: len(read) >= len(self.nodes),
            "its nodes",
        )
        self._show(first, "kroute show nodes")

    def _conflists(self) -> None:
        """The CNI configuration of one node."""
        self._title("It writes the CNI configuration that the container runtime is waiting for")
        path = "/etc/cni/net.d/10-kroute.conflist"
        for node in self.nodes:
            self._until(node, f"cat {path}", lambda read: bool(read["plugins"]), "a conflist")
        self._show(self.nodes[0], f"cat {path}", limit=24)

    def _sessions(self) -> None:
        """BGP sessions."""
        self._title("BGP sessions come up: every node with every other")
        wanted = len(self.nodes) - 1
        for node in self.nodes:
            self._until(
                node,
                "kroute show peers -o json",
                lambda read: sum(peer["state"] == "established" for peer in read) >= wanted,
                f"{wanted} sessions",
            )
        self._show(self.nodes[0], "kroute show peers")

    def _routes(self) -> None:
        """Kernel routes."""
        self._title(
            "What the others announce is in the kernel, marked with kroute's own protocol number"
        )
        wanted = len(self.nodes) - 1
        for node in self.nodes:
            for family in ("-4", "-6"):
                command = f"ip {family} -json route show protocol 201"
                self._until(node, command, lambda read: len(read) >= wanted, f"{wanted} routes")
        self._show(self.nodes[0], "ip route show protocol 201")
        self._show(self.nodes[0], "ip -6 route show protocol 201")

    def _pods(self) -> list[Pod]:
        """Pods, and pings across nodes."""
        self._title(
            "Pods start, attached by the real CNI plugins, and reach each other across nodes"
        )
        pods = Pods(self.lab.backend)
        added = [pods.add(node, f"pod{i}") for i, node in enumerate(self.nodes, 1)]
        for pod in added:
            self.progress.done(f"{pod.name} on {pod.node}: {' '.join(pod.addresses)}")
        for family in (4, 6):
            first = added[0]
            for pod in added[1:]:
                self._reach(pods, first, pod.address(family))
            self.progress.done(f"{first.name} reaches all others over IPv{family}")
        return added

    def _killed(self, pods: Sequence[Pod]) -> bool:
        """A daemon dies under traffic."""
        victim, other = pods[1], pods[0]
        self._title(
            f"Now {victim.node}'s daemon is killed while pods talk, {_RATE:.0f} pings a second each"
        )
        backend = self.lab.backend
        streams = [
            Stream(
                backend,
                source.node,
                inside(source, []),
                target.address(family),
                name=f"{source.name} to {target.name} over IPv{family}",
                rate=_RATE,
            )
            for source, target, family in (
                (other, victim, 4),
                (other, victim, 6),
                (victim, pods[-1], 4),
            )
        ]
        try:
            self._restart([victim.node])
            self._title("And now all daemons at once")
            self._restart(self.nodes)
        finally:
            tallies = [stream.stop() for stream in streams]
        self._title("What the pods noticed")
        verdicts = [self._tell(tally) for tally in tallies]
        return all(verdicts)

    def _restart(self, nodes: Sequence[str]) -> None:
        """Kills daemons, and waits until their successors have all sessions."""
        before = {node: self._run(node, "cat /run/kroute.pid").strip() for node in nodes}
        for node, pid in before.items():
            self._run(node, f"kill -KILL {pid}")
            self.progress.done(f"kill -KILL {pid} on {node}: kroute and its speaker are gone")
        self._show(nodes[0], "ip route show protocol 201", note="the kernel goes on forwarding")
        wanted = len(self.nodes) - 1
        for node, pid in before.items():
            self._until(
                node,
                f'test "$(cat /run/kroute.pid)" != {pid} && kroute show peers -o json',
                lambda read: sum(peer["state"] == "established" for peer in read) >= wanted,
                "its sessions back",
            )
        self.progress.done("started again, as a DaemonSet would: sessions up, routes adopted")
        self._show(nodes[0], "kroute show peers")

    def _tell(self, tally: Tally) -> bool:
        """The verdict on one stream."""
        if complaint := tally.complaint(_RATE):
            self.progress.fail(complaint)
            return False
        self.progress.done(f"{tally.name}: {tally.sent} pings in {tally.seconds:.1f} s, 0 lost")
        return True

    # ---------------------------------------------------------------------------------------- stage

    def _title(self, text: str) -> None:
        """What the next scene shows."""
        self.progress.line()
        self.progress.line(text, "head")

    def _run(self, node: str, command: str) -> str:
        """A command that must succeed."""
        result = self.lab.backend.run(node, ["sh", "-c", command])
        if result.status:
            raise LabError(f"{node}: {command}: {result.said}")
        return result.stdout

    def _show(self, node: str, command: str, *, limit: int = 12, note: str = "") -> None:
        """A command with its output, as one would type it."""
        self.progress.line(f"  {node}# {command}{f'    ({note})' if note else ''}", "dim")
        lines = self._run(node, command).splitlines()
        for line in lines[:limit]:
            self.progress.line(f"    {line}")
        if len(lines) > limit:
            self.progress.line(f"    … {len(lines) - limit} more lines", "dim")

    def _until(self, node: str, command: str, holds: Any, what: str) -> None:
        """Polls JSON output until it is as it should be."""
        said = ""
        for _ in attempts(_WAIT):
            result = self.lab.backend.run(node, ["sh", "-c", command])
            said = result.said
            try:
                if not result.status and holds(json.loads(result.stdout)):
                    return
            except (ValueError, KeyError, TypeError):
                continue
        log = "\n".join(self.lab.backend.log(node).splitlines()[-5:])
        raise LabError(
            f"{node} did not get {what} within {_WAIT:.0f} s: {said}", f"its log ends with: {log}"
        )

    def _reach(self, pods: Pods, source: Pod, address: str) -> None:
        """Pings until there is an answer."""
        for _ in attempts(_WAIT):
            if not pods.run(source, ["ping", "-n", "-c", "1", "-W", "1", address]).status:
                return
        raise LabError(f"{source.name} does not reach {address}")


def _nodes(topology: Topology) -> list[str]:
    """The nodes that run kroute: those whose image is kroute's."""
    found: Mapping[str, str] = {node.name: node.image for node in topology.running}
    return [name for name, image in found.items() if "kroute" in image]
