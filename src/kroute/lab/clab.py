"""The containerlab back-end: the same file, run by containerlab on a container engine.

``deploy``, ``destroy`` and ``inspect`` are containerlab's; commands in nodes go to the engine itself, since
``containerlab exec`` has no standard input.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from kroute.lab import state, system
from kroute.lab.backend import NodeStatus, Result, finish
from kroute.lab.errors import LabError
from kroute.lab.progress import Progress
from kroute.lab.state import LabState, NodeState
from kroute.lab.topology import Topology

_DEPLOY = 300.0
"""Seconds that a deployment may take: images may have to be fetched."""


class ClabBackend:
    """Runs a topology with containerlab. ``topology`` may be None for a lab whose file is gone."""

    name = "clab"

    def __init__(self, lab: str, topology: Topology | None = None) -> None:
        self.lab = lab
        self.topology = topology

    def up(self, progress: Progress) -> None:
        """``containerlab deploy``.

        Raises:
            LabError: containerlab or an engine is missing, or it failed; what it had made is destroyed.
        """
        if self.topology is None:
            raise LabError(f"lab {self.lab}: its topology file is needed to start it")
        _require()
        for warning in _crowded(self.topology):
            progress.warn(warning)
        nodes = {node.name: NodeState() for node in self.topology.running}
        with state.locked(self.lab):
            saved = LabState(
                name=self.lab,
                topology=str(self.topology.path),
                backend=self.name,
                ready=False,
                nodes=nodes,
            )
            state.save(saved)
            try:
                with progress.step(f"containerlab deploy: {len(nodes)} nodes"):
                    said = self._deploy(self.topology)
                for complaint in complaints(said):
                    progress.warn(complaint)
            except BaseException:
                self._destroy()
                raise
            state.save(
                LabState(
                    name=self.lab,
                    topology=saved.topology,
                    backend=self.name,
                    ready=True,
                    nodes=nodes,
                )
            )

    def down(self, progress: Progress) -> None:
        """``containerlab destroy --cleanup``; no error where there is nothing."""
        if state.load(self.lab) is None:
            progress.line(f"  lab {self.lab} is not up")
            return
        _require()
        with state.locked(self.lab), progress.step(f"lab {self.lab} is down"):
            self._destroy()

    def _destroy(self) -> None:
        """Removes the lab by its name, which works without the topology file as well; one that has no containers
        (any more) is gone already."""
        argv = ["containerlab", "destroy", "--name", self.lab, "--cleanup"]
        result = finish(argv, "", _DEPLOY, "containerlab destroy")
        if result.status and "not found" not in result.stdout + result.stderr:
            raise LabError(f"containerlab destroy: {result.said}")
        state.forget(self.lab)

    def _deploy(self, topology: Topology) -> str:
        """Deploys; returns what containerlab logged, where it also tells which ``exec`` failed.

        A node that waits for another's stage occupies a worker of containerlab's, which has as many as there are
        processors: with fewer workers than nodes, all may wait for a node that has none.
        """
        argv = ["containerlab", "deploy", "--topo", str(topology.path), "--reconfigure"]
        argv += ["--max-workers", str(len(topology.nodes))]
        result = finish(argv, "", _DEPLOY, "containerlab deploy")
        if result.status:
            raise LabError(f"containerlab deploy: {result.stderr.strip() or result.stdout.strip()}")
        return result.stdout + result.stderr

    def _containerlab(self, *arguments: str) -> str:
        """Runs containerlab; returns what it printed."""
        return system.run(["containerlab", *arguments])

    def run(
        self, node: str, argv: Sequence[str], *, text: str = "", timeout: float = 60.0
    ) -> Result:
        """Runs a command in a node; see :class:`~kroute.lab.backend.Backend`."""
        what = f"{node}: {' '.join(argv)}"
        return finish(["docker", "exec", "-i", self._container(node), *argv], text, timeout, what)

    def attach(self, node: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> int:
        """Runs a command in a node with our own standard streams; returns its status."""
        terminal = ["-t"] if os.isatty(0) else []
        settings = [word for key, value in (env or {}).items() for word in ("-e", f"{key}={value}")]
        command = ["docker", "exec", "-i", *terminal, *settings, self._container(node), *argv]
        return subprocess.run(command, check=False).returncode

    def _container(self, node: str) -> str:
        """The container's name, as containerlab makes it with the default prefix."""
        lab = state.load(self.lab)
        if lab is None:
            raise LabError(f"lab {self.lab} is not up")
        if node not in lab.nodes:
            raise LabError(f"lab {self.lab} has no node {node}; it has {', '.join(lab.nodes)}")
        return f"clab-{self.lab}-{node}"

    def inspect(self) -> list[NodeStatus]:
        """What ``containerlab inspect`` says of the lab's nodes."""
        answer = json.loads(self._containerlab("inspect", "--name", self.lab, "--format", "json"))
        containers = answer.get(self.lab, answer.get("containers", [])) if answer else []
        return [self._status(container) for container in containers]

    def _status(self, container: Mapping[str, Any]) -> NodeStatus:
        """One container."""
        name = str(container.get("name", "")).removeprefix(f"clab-{self.lab}-")
        found = (str(container.get(key, "")) for key in ("ipv4_address", "ipv6_address"))
        return NodeStatus(
            name=name,
            kind=str(container.get("kind", "")),
            image=str(container.get("image", "")),
            running=container.get("state") == "running",
            pid=0,
            addresses=tuple(address for address in found if address not in ("", "N/A")),
        )

    def log(self, node: str) -> str:
        """What the container's main process has written."""
        result = finish(["docker", "logs", self._container(node)], "", 30.0, f"{node}: docker logs")
        return result.stdout + result.stderr


def complaints(said: str) -> list[str]:
    """The errors in containerlab's log, with the indented lines that belong to each; it goes on despite them."""
    found: list[str] = []
    belongs = False
    for line in said.splitlines():
        if re.match(r"[0-9:]+ ERRO ", line):
            found.append(line.split(" ERRO ", 1)[1])
            belongs = True
        elif not line.startswith(" "):
            belongs = False
        elif belongs and (text := line.strip(" │\r")):
            found[-1] += f" {text}"
    return found


def _crowded(topology: Topology) -> list[str]:
    """Warnings about containers with more bridges than containerlab can tell apart.

    It knows a cable by the index it had outside (0.79, ``nodes/bridge/bridge.go``). Where a bridge inside has that very
    index, the kernel gives the cable another, and containerlab takes the bridge for the cable: "too many levels of
    symbolic links". Two bridges are safe: docker0 and containerlab's own have taken as many indexes outside.
    """
    bridges: dict[str, list[str]] = {}
    for node in topology.nodes.values():
        if node.is_switch:
            bridges.setdefault(node.namespace_owner, []).append(node.bridge)
    return [
        f"{owner}: containerlab mixes up {', '.join(names)}; give each a container of its own"
        for owner, names in bridges.items()
        if len(names) > 2
    ]


def _require() -> None:
    """Checks that containerlab and an engine are there.

    Raises:
        LabError: one sentence per thing that is missing.
    """
    if os.geteuid() != 0:
        raise LabError("containerlab needs root; try sudo")
    lacks = [
        f"{program} is missing: {remedy}"
        for program, remedy in (
            ("containerlab", "see https://containerlab.dev/install, or use --backend netns"),
            ("docker", "apt-get install docker.io, or use --backend netns"),
        )
        if not shutil.which(program)
    ]
    if lacks:
        raise LabError(*lacks)
    if finish(["docker", "info"], "", 20.0, "docker info").status:
        raise LabError("no container engine answers docker info; start one, or use --backend netns")
