"""Twenty nodes go from a full mesh to route reflectors of their own choice and back, while packets flow between them.

What is counted is packets lost, of ten streams of a hundred pings a second each, and how long each way takes.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.bed import Bed, BenchError, wait_for
from harness.figures import Complain, Row, Series, plain
from harness.proc import settle
from harness.subjects import ask
from kroute.lab import probe
from kroute.lab.traffic import tally
from mesh import Mesh

NODES = 20
STREAMS = 10
RATE = 100
SERVED = 10
"""Seconds that a reflector serves former clients: transitionTime."""
LIMIT = 60.0


class Cluster(Mesh):
    """A mesh of nodes whose topology is `auto`, each with an address of its pods."""

    def __init__(self, bed: Bed, size: int) -> None:
        super().__init__(bed, "kroute", size)
        self.tell_threshold(size)
        for number, here in enumerate(self.nodes, 1):
            here.ip(f"addr add 10.244.{number}.1/32 dev lo")

    def tell_threshold(self, most: int) -> None:
        """Most nodes of a mesh, from now on, on one node after the other."""
        auto = {"threshold": most, "hysteresis": 0}
        self.peering = {"topology": "auto", "auto": auto, "transitionTime": SERVED}
        for number in range(1, self.size + 1):
            self.configure(number)

    def peers(self) -> list[list[dict[str, Any]]]:
        """Every node's own answer to `kroute show peers`."""
        sockets = (self.folder(n) / "run" / "kroute.sock" for n in range(1, self.size + 1))
        return [ask(socket, "peers") for socket in sockets]

    def reflected(self) -> bool:
        """Whether all sessions but those of two reflectors have gone, and those are up."""
        sizes = sorted(sum(p["state"] == "established" for p in own) for own in self.peers())
        return sizes == [2] * (self.size - 2) + [self.size - 1] * 2

    def meshed(self) -> bool:
        """Whether everybody has a session with everybody."""
        return all(
            sum(p["state"] == "established" for p in own) == self.size - 1 for own in self.peers()
        )

    def settled(self) -> bool:
        """Whether nobody serves former clients any more."""
        return not any(p["hold"] for own in self.peers() for p in own)


class Traffic:
    """Streams of pings between nodes."""

    def __init__(self, bed: Bed, cluster: Cluster) -> None:
        self._bed = bed
        self._streams: list[tuple[str, subprocess.Popen[bytes]]] = []
        step = cluster.size // STREAMS
        for number in range(1, cluster.size + 1, step):
            target = f"10.244.{(number + cluster.size // 2) % cluster.size + 1}.1"
            log = f"stream{number}.log"
            command = [sys.executable, "-I", str(Path(probe.__file__)), target, str(RATE)]
            process = bed.start(cluster.nodes[number - 1], command, log=log)
            self._streams.append((log, process))
        wait_for(self._began, 10, "the streams of pings")

    def _began(self) -> bool:
        return all((self._bed.folder / log).read_text() for log, _ in self._streams)

    def lost(self) -> float:
        """End the streams; how many pings had no reply."""
        for _, process in self._streams:
            process.send_signal(signal.SIGINT)
        found = 0
        for log, process in self._streams:
            process.wait(10)
            one = tally(log, (self._bed.folder / log).read_text())
            if one.sent < RATE * one.seconds / 2:
                raise BenchError(
                    f"only {one.sent} pings in {one.seconds:.0f} s, which proves little"
                )
            found += len(one.missing)
        return float(found)


def _way(bed: Bed, cluster: Cluster, most: int, arrived: Callable[[], bool]) -> tuple[float, float]:
    """Change the threshold under traffic: seconds until sessions are as wanted, and pings lost until all is over."""
    traffic = Traffic(bed, cluster)
    begun = time.monotonic()
    cluster.tell_threshold(most)
    wait_for(arrived, LIMIT, "the new topology")
    took = time.monotonic() - begun
    wait_for(cluster.settled, LIMIT, "the end of the transition")
    return took, traffic.lost()


def rows(only: str | None, runs: int, complain: Complain, *, quick: bool = False) -> Iterator[Row]:
    """``switch/…``: seconds, and pings lost."""
    size = NODES // 2 if quick else NODES
    found = {name: Series() for name in ("to-reflectors", "to-mesh")}
    lost = {name: Series() for name in found}
    for _ in range(min(runs, 3)):
        try:
            settle()
            with Bed() as bed:
                cluster = Cluster(bed, size)
                cluster.converge(list(range(1, size + 1)), size)
                wait_for(cluster.meshed, LIMIT, "the mesh")
                for name, most, arrived in (
                    ("to-reflectors", 3, cluster.reflected),
                    ("to-mesh", size, cluster.meshed),
                ):
                    took, missing = _way(bed, cluster, most, arrived)
                    found[name].values.append(took)
                    lost[name].values.append(missing)
        except Exception as error:  # noqa: BLE001  what was measured is kept
            complain("switch", error)
            break
    pings = f"of {STREAMS} streams of {RATE} a second"
    for name in found:
        if found[name].values:
            note = f"{size} nodes, from the first configuration changed until the last session is as wanted"
            yield plain(f"switch/{name}", "s", found[name].values, note)
            yield plain(f"switch/{name}/lost", "pings", lost[name].values, pings)
