"""Lives of a daemon's core that end by SIGKILL right before a chosen step.

A step is a call that changes something outside of the process, or may: a write, a link, an unlink, a message to the
kernel, a statement of SQLite, a plugin started. The interpreter itself tells of each (``sys.setprofile``), so the code
under test knows nothing of this, and a step that somebody adds is counted without further ado.

:class:`Lives` runs this file as a program inside the node's namespace. It forks one process for each life, so that a
life costs milliseconds; orders come in as lines of JSON, what became of each goes out the same way.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from kroute.drivers.kni.core import Core
from kroute.drivers.kni.fast import FastPath
from kroute.model.kni import (
    AttachRequest,
    CreateRequest,
    DeleteRequest,
    Generation,
    IpConfig,
    Isolation,
    KniError,
    PortMapping,
)
from support.kni import KniNode, make_core

STEPS = {
    *(("posix", name) for name in ("open", "write", "link", "unlink", "mkdir", "rmdir")),
    *(("posix", name) for name in ("rename", "replace", "pwrite", "ftruncate", "fsync", "fdatasync")),
    *(("fcntl", name) for name in ("flock", "ioctl")),
    ("_posixsubprocess", "fork_exec"),
    *(("Connection", name) for name in ("execute", "executescript", "executemany", "commit")),
    *(("socket", name) for name in ("send", "sendmsg", "sendto", "sendall")),
}  # fmt: skip
"""Functions by module, methods by the class of their object."""


class Life(NamedTuple):
    """How a life ended."""

    killed: bool
    steps: int
    """Steps that were taken, or the one that was not."""
    told: dict[str, Any]
    """``records`` by id as (phase, addresses), recorded ``domains``, and the ``error`` of a call that was refused."""


class Lives:
    """Lives of one node, one after another; a context manager."""

    def __init__(self, node: KniNode, *, fast: bool) -> None:
        self._settings = json.dumps({"folder": str(node.folder), "fast": fast})
        tests = Path(__file__).parents[1]
        self._program = node.node.popen(
            [sys.executable, "-m", "support.kni_crash", self._settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=tests,
        )

    @property
    def pid(self) -> int:
        """Of a process that sees the mounts that the lives make."""
        return self._program.pid

    def __enter__(self) -> Lives:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._program.stdin is not None
        self._program.stdin.close()
        self._program.wait(30)

    def live(self, *calls: tuple[str, str, str], dies_at: int = 0) -> Life:
        """Start, recover, make these calls (what, id, namespace: :func:`act`), end; killed before a step unless 0.

        Steps are counted from the first call on, or from the start where there is no call.
        """
        program = self._program
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(json.dumps([calls, dies_at]).encode() + b"\n")
        program.stdin.flush()
        return Life(*json.loads(program.stdout.readline()))


class Reaper:
    """Counts the steps of this process from :meth:`arm` on, and kills it before one of them."""

    def __init__(self, dies_at: int, report: int) -> None:
        self.taken = 0
        self._armed = False
        self._dies_at = dies_at
        self._report = report
        self._count = itertools.count(1)
        threading.setprofile(self._see)
        sys.setprofile(self._see)

    def arm(self) -> None:
        self._armed = True

    def _see(self, _frame: FrameType, event: str, function: Any) -> None:
        if event != "c_call" or not self._armed:
            return
        owner = getattr(function, "__self__", None)
        kind = function.__module__ or type(owner).__name__
        if (kind, function.__name__) not in STEPS:
            return
        self.taken = next(self._count)
        if self.taken == self._dies_at:
            self._armed = False
            say(self._report, Life(killed=True, steps=self.taken, told={}))
            os.kill(os.getpid(), signal.SIGKILL)


def say(report: int, life: Life) -> None:
    os.write(report, json.dumps(life).encode())


def live(settings: dict[str, Any], calls: list[list[str]], dies_at: int, report: int) -> None:
    """One life, in the forked process."""
    reaper = Reaper(dies_at, report)
    if not calls:
        reaper.arm()
    core = make_core(Path(settings["folder"]), fast=FastPath(enabled=settings["fast"]))
    core.recover()
    reaper.arm()
    error = ""
    for call in calls:
        try:
            act(core, *call)
        except KniError as caught:
            error = repr(caught)
    taken = reaper.taken
    sys.setprofile(None)
    records = {
        a.id: (a.phase.value, core.query_pod(a.id).ipconfigs.get("eth0", IpConfig()).ip)
        for a in core.store.attachments.values()
    }
    told = {"records": records, "domains": sorted(core.store.domains), "error": error}
    say(report, Life(killed=False, steps=taken, told=told))


def act(core: Core, what: str, container: str, netns: str) -> None:
    """One call as a kubelet makes it; ``attach-port`` is for a port on the host, which only plugins map."""
    match what:
        case "detach":
            core.detach(container)
        case "create":
            core.domains.create(CreateRequest(name=container))
        case "delete":
            core.domains.delete(DeleteRequest(name=container))
        case _:
            ports = (PortMapping(container_port=80, host_port=8080),) * (what == "attach-port")
            where = Isolation(path=netns)
            request = AttachRequest(id=container, isolation=where, port_mappings=ports)
            core.attach(request, Generation.V008)


def serve(settings: dict[str, Any]) -> None:
    """Orders in, lives out."""
    for line in sys.stdin:
        calls, dies_at = json.loads(line)
        out, into = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(out)
                live(settings, calls, dies_at, into)
            finally:
                os._exit(0)
        os.close(into)
        with os.fdopen(out, "rb") as told:
            answer = told.read()
        os.waitpid(child, 0)
        sys.stdout.buffer.write(answer + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
