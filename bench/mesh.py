"""A full mesh of ten nodes on one switch: all start at once, and an eleventh joins the ten that are there.

BIRD runs the same mesh in the same kind of namespaces, once as it is and once with its connect and retry delays at
one second ("bird-hasty"), since its defaults wait about five seconds before they try.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.bed import Bed, BenchError, Namespace
from harness.figures import Complain, Row, Series, alternate, plain, row
from harness.kernel import Kernel
from harness.proc import cpu_seconds, pss_mib, settle
from harness.subjects import ASN, node, write_nodes

NODES = 10
LIMIT = 60.0
_SESSION_UP = re.compile(r"^(\S+ \S+) INFO \S+ session up ", re.MULTILINE)


def address(number: int) -> str:
    """A node's address."""
    return f"10.9.0.{number}"


@dataclass(slots=True)
class Times:
    """Moments of one start, in seconds since its first process was started."""

    started: float
    """The last daemon answers on its socket."""
    session: float
    """The last session is up, as the daemons' logs say; 0 where the program does not say."""
    routes: float
    """Every kernel has every route."""


class Mesh:
    """So many namespaces on a bridge, and the daemons in them."""

    def __init__(self, bed: Bed, kind: str, size: int) -> None:
        self.bed, self.kind, self.size = bed, kind, size
        self.peering: dict[str, Any] = {}
        """The part of that name of kroute's configuration."""
        self.seeding = False
        """Whether kroute routes by the inventory before sessions tell: off, where it is sessions that are measured."""
        self.nodes = self._wire()
        self.protocol = 201 if kind == "kroute" else 12
        self.kernels = [Kernel(n, self.protocol) for n in self.nodes]

    def _numbers(self) -> range:
        return range(1, self.size + 1)

    def tell_nodes(self, count: int) -> None:
        """What the inventory holds from now on."""
        if self.kind == "kroute":
            cidrs = [node(f"n{i}", address(i), f"10.244.{i}.0/24") for i in range(1, count + 1)]
            write_nodes(self.bed.folder / "nodes.json", cidrs)

    def _wire(self) -> list[Namespace]:
        switch = self.bed.namespace("sw")
        switch.ip("link add br0 type bridge")
        switch.ip("link set br0 up")
        found = []
        for i in self._numbers():
            here = self.bed.namespace(f"n{i}")
            here.ip(f"link add eth1 type veth peer name p{i} netns {switch.name}")
            here.ip(f"addr add {address(i)}/16 dev eth1")
            here.ip("link set eth1 up")
            switch.ip(f"link set p{i} master br0 up")
            found.append(here)
        return found

    def folder(self, number: int) -> Path:
        """A node's own folder."""
        found = self.bed.folder / f"n{number}"
        found.mkdir(exist_ok=True)
        return found

    def start(self, number: int) -> None:
        """Start one node's daemon."""
        if self.kind == "kroute":
            self._start_kroute(number)
        else:
            self._start_bird(number)

    def configure(self, number: int) -> Path:
        """Write a kroute node's configuration, whole or not at all."""
        folder = self.folder(number)
        file, draft = folder / "kroute.yaml", folder / "kroute.draft"
        inventory = {"kind": "static", "static": {"path": str(self.bed.folder / "nodes.json")}}
        text = {
            "nodeName": f"n{number}",
            "inventory": inventory,
            "bgp": {"asn": ASN, "seeding": {"enabled": self.seeding}},
            "peering": self.peering,
            "cni": {"enabled": False},
            "http": {"enabled": False},
            "paths": {"run": str(folder / "run"), "state": str(folder / "state")},
        }
        draft.write_text(json.dumps(text))
        draft.replace(file)
        return file

    def _start_kroute(self, number: int) -> None:
        file = self.configure(number)
        command = [str(Path(sys.executable).parent / "kroute"), "run", "--config", str(file)]
        self.bed.start(self.nodes[number - 1], command, log=f"n{number}.log")

    def _start_bird(self, number: int) -> None:
        folder = self.folder(number)
        hasty = "connect delay time 1; connect retry time 1; error wait time 1, 2; "
        text = (
            f"log stderr {{ error, fatal, bug }};\nrouter id {address(number)};\n"
            "protocol device {}\nprotocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }\n"
            f"protocol static own {{ ipv4; route 10.244.{number}.0/24 blackhole; }}\n"
        )
        for other in self._numbers():
            if other != number:
                text += (
                    f"protocol bgp n{other} {{ local {address(number)} as {ASN}; "
                    f"neighbor {address(other)} as {ASN}; direct; "
                    f"{hasty if self.kind == 'bird-hasty' else ''}"
                    "ipv4 { import all; export where source = RTS_STATIC; next hop self; }; }\n"
                )
        (folder / "bird.conf").write_text(text)
        files = ["-c", f"{folder}/bird.conf", "-s", f"{folder}/ctl", "-P", f"{folder}/pid"]
        self.bed.start(self.nodes[number - 1], ["bird", "-f", *files], log=f"n{number}.log")

    def up(self, number: int) -> bool:
        """Whether a daemon answers on its socket."""
        name = "run/kroute.sock" if self.kind == "kroute" else "ctl"
        return (self.folder(number) / name).exists()

    def converge(self, numbers: list[int], size: int) -> Times:
        """Start these nodes' daemons in a mesh of ``size``; until every kernel in it holds all others' routes."""
        wall, begun = time.time(), time.monotonic()
        self.tell_nodes(size)
        for number in numbers:
            self.start(number)
        waiting, lacking, started = list(numbers), self.kernels[:size], 0.0
        while lacking:
            now = time.monotonic() - begun
            if now > LIMIT:
                raise BenchError(
                    f"{self.kind}: {len(lacking)} kernels lack routes after {LIMIT:.0f} s"
                )
            if waiting:
                waiting = [n for n in waiting if not self.up(n)]
                started = now
            lacking = [k for k in lacking if k.count() < size - 1]
            time.sleep(0.003)
        return Times(started, self._last_session(wall, numbers), time.monotonic() - begun)

    def _last_session(self, wall: float, numbers: list[int]) -> float:
        if self.kind != "kroute":
            return 0.0
        last = 0.0
        for number in numbers:
            log = (self.bed.folder / f"n{number}.log").read_text()
            for stamp in _SESSION_UP.findall(log):
                moment = datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f").timestamp()  # noqa: DTZ007
                last = max(last, moment - wall)
        return last

    def pids(self) -> list[int]:
        """All daemons."""
        return [pid for n in self.nodes for pid in n.pids()]


@dataclass(slots=True)
class Figures:
    """What the kroute meshes gave beside the time until all routes are there."""

    after_start: Series
    after_session: Series
    pss: Series
    cpu: Series


def _cold(kind: str, more: Figures) -> float:
    settle()
    with Bed() as bed:
        mesh = Mesh(bed, kind, NODES)
        times = mesh.converge(list(range(1, NODES + 1)), NODES)
        if kind == "kroute":
            pids = mesh.pids()
            more.after_start.values.append(times.routes - times.started)
            more.cpu.values.append(cpu_seconds(pids))
            more.pss.values.append(pss_mib(pids) / NODES)
        return times.routes


def _join(kind: str, more: Figures) -> float:
    with Bed() as bed:
        mesh = Mesh(bed, kind, NODES + 1)
        mesh.converge(list(range(1, NODES + 1)), NODES)
        settle()
        times = mesh.converge([NODES + 1], NODES + 1)
        if kind == "kroute":
            more.after_start.values.append(times.routes - times.started)
            more.after_session.values.append(max(0.0, times.routes - times.session))
        return times.routes


def rows(only: str | None, runs: int, complain: Complain, *, quick: bool = False) -> Iterator[Row]:
    """``mesh/…`` in seconds, and what of it is Python's own start."""
    kinds = ("kroute", "bird", "bird-hasty")
    for name, job in (("mesh/cold-start", _cold), ("mesh/join", _join)):
        if only and not (name.startswith(only) or only.startswith(name)):
            continue
        more = Figures(Series(), Series(), Series(), Series())
        jobs = {k: (lambda k=k, job=job, more=more: job(k, more)) for k in kinds}
        series = alternate(jobs, runs, lambda s, e, n=name: complain(f"{n}: {s}", e))
        found = row(name, "s", series, note="from the first process started until the last route")
        if found:
            yield found
        yield from _more(name, more)
    if not only or "mesh/python-start".startswith(only):
        yield from _python(max(3, runs))


def _more(name: str, more: Figures) -> Iterator[Row]:
    if more.after_start.values:
        note = "after the last daemon answers on its socket"
        yield plain(f"{name}/after-start", "s", more.after_start.values, note)
    if more.after_session.values:
        note = "after the joining node's last session is up"
        yield plain(f"{name}/after-session", "s", more.after_session.values, note)
    if more.pss.values:
        yield plain(
            "mesh/memory", "MiB", more.pss.values, "PSS of a node; ten share Python's pages"
        )
        yield plain("mesh/cpu", "s", more.cpu.values, "CPU of all ten nodes until then")


def _python(runs: int) -> Iterator[Row]:
    for name, code in (
        ("mesh/python-start/interpreter", "pass"),
        ("mesh/python-start/daemon", "import kroute.daemon"),
        ("mesh/python-start/speaker", "import kroute.speaker.reactor"),
    ):
        took = []
        for _ in range(runs):
            begun = time.monotonic()
            subprocess.run([sys.executable, "-c", code], check=True)
            took.append(time.monotonic() - begun)
        yield plain(name, "s", took, f"python -c '{code}'")
