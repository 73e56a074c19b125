"""All nodes of a mesh restart at once, while packets flow between them; and all at once after a reboot.

``restart/all`` kills ten daemons and their speakers with SIGKILL and starts them again, until every route has been
learned from its node anew; what is counted beside it is packets lost. ``restart/reboot`` empties the kernels too, as
a power cut does, and asks how long until every kernel has every route, with and without seeding from the inventory.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from harness.bed import Bed, wait_for
from harness.figures import Complain, Row, Series, plain
from harness.proc import settle
from harness.subjects import ask
from kroute.lab import probe
from mesh import Mesh
from switch import STREAMS, Traffic

NODES = 10
RATE = 100
LIMIT = 60.0


class Cluster(Mesh):
    """A full mesh with an address of its pods on each node."""

    def __init__(self, bed: Bed, *, seeding: bool) -> None:
        super().__init__(bed, "kroute", NODES)
        self.seeding = seeding
        for number, here in enumerate(self.nodes, 1):
            here.ip(f"addr add 10.244.{number}.1/32 dev lo")

    def begin(self) -> None:
        """Start all nodes' daemons, and wait until every route is learned."""
        self.converge(list(range(1, NODES + 1)), NODES)
        wait_for(self.relearned, LIMIT, "the mesh")

    def kill(self) -> None:
        """End every process of every node at once."""
        for here in self.nodes:
            for pid in here.pids():
                if _is_daemon(pid):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(map(_is_daemon, self.pids())), 10, "their ends")

    def relearned(self) -> bool:
        """Whether every node has heard every other's whole table in this life."""
        return all(self._has_all(number) for number in range(1, NODES + 1))

    def _has_all(self, number: int) -> bool:
        try:
            status = ask(self.folder(number) / "run" / "kroute.sock", "status")
        except OSError:
            return False
        whole = status["established"] == NODES - 1 and not status["waitingFor"]
        return whole and not any(status["seeded"].values())


def _is_daemon(pid: int) -> bool:
    """Whether a process is a daemon or its speaker, and no stream of pings."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return False
    return "kroute" in words and probe.__file__ not in words


def _all(lost: Series) -> float:
    with Bed() as bed:
        cluster = Cluster(bed, seeding=True)
        cluster.begin()
        settle()
        traffic = Traffic(bed, cluster)
        cluster.kill()
        begun = time.monotonic()
        for number in range(1, NODES + 1):
            cluster.start(number)
        wait_for(cluster.relearned, LIMIT, "all to be learned again")
        took = time.monotonic() - begun
        lost.values.append(traffic.lost())
        return took


def _reboot(seeding: bool) -> float:
    settle()
    with Bed() as bed:
        cluster = Cluster(bed, seeding=seeding)
        return cluster.converge(list(range(1, NODES + 1)), NODES).routes


def rows(only: str | None, runs: int, complain: Complain, *, quick: bool = False) -> Iterator[Row]:
    """``restart/…``: seconds, and pings lost."""
    found = {name: Series() for name in ("all", "all/lost", "reboot", "reboot/unseeded")}
    try:
        for _ in range(1 if quick else min(runs, 3)):
            found["all"].values.append(_all(found["all/lost"]))
            found["reboot"].values.append(_reboot(seeding=True))
            found["reboot/unseeded"].values.append(_reboot(seeding=False))
    except Exception as error:  # noqa: BLE001  what was measured is kept
        complain("restart", error)
    notes = {
        "all": "s|ten nodes killed and started at once, until every route is learned from its node",
        "all/lost": f"pings|of {STREAMS} streams of {RATE} a second meanwhile",
        "reboot": "s|ten nodes with empty kernels, until every kernel has every route",
        "reboot/unseeded": "s|the same with bgp.seeding.enabled: false",
    }
    for name, series in found.items():
        unit, _, note = notes[name].partition("|")
        if series.values:
            yield plain(f"restart/{name}", unit, series.values, note)
