"""Network namespaces and processes of a bench: made under one unique prefix, gone afterwards in any case."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

PREFIX = "kb-"
LOCAL = "10.9.0.1"
_CLONE_NEWNET = 0x40000000
_RUN = Path("/run/netns")


class BenchError(Exception):
    """A bench cannot go on; the text says why."""


def sh(command: str, *, text: str | None = None, check: bool = True) -> str:
    """Run a command given as a line; its output.

    Raises:
        BenchError: it fails.
    """
    done = subprocess.run(command.split(), input=text, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise BenchError(f"{command}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _setns(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Namespace:
    """One network namespace; loopback is up."""

    def __init__(self, name: str) -> None:
        self.name = name

    def ip(self, command: str, *, check: bool = True) -> str:
        """One `ip` command inside, given as a line."""
        return sh(f"ip -n {self.name} {command}", check=check)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread lives in the namespace for a while; sockets made meanwhile stay there."""
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(_RUN / self.name, os.O_RDONLY)
        try:
            _setns(there)
            yield
        finally:
            _setns(home)
            os.close(there)
            os.close(home)

    def pids(self) -> list[int]:
        """Every process inside."""
        return [int(p) for p in sh(f"ip netns pids {self.name}", check=False).split()]

    def delete(self) -> None:
        """Kill what still lives inside, then delete it."""
        for pid in self.pids():
            if pid != os.getpid():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        sh(f"ip netns del {self.name}", check=False)


class Bed:
    """Namespaces, processes and a folder; all gone at the end of the ``with``."""

    _number = 0

    def __init__(self) -> None:
        Bed._number += 1
        self._stem = f"{PREFIX}{os.getpid()}-{Bed._number}"
        self._namespaces: list[Namespace] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self.folder = Path()

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.folder.chmod(0o755)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes:
            self.stop(process)
        for namespace in self._namespaces:
            namespace.delete()
        shutil.rmtree(self.folder, ignore_errors=True)

    def namespace(self, name: str) -> Namespace:
        """A new one."""
        found = Namespace(f"{self._stem}-{name}")
        sh(f"ip netns add {found.name}")
        self._namespaces.append(found)
        found.ip("link set lo up")
        return found

    def start(
        self,
        where: Namespace,
        command: Sequence[str],
        *,
        log: str = "",
        env: dict[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a process inside; its output goes to ``log`` in the folder, or nowhere."""
        out: IO[bytes] | int = (self.folder / log).open("wb") if log else subprocess.DEVNULL
        process = subprocess.Popen(
            ["ip", "netns", "exec", where.name, *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        )
        if not isinstance(out, int):
            out.close()
        self._processes.append(process)
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """SIGTERM, and SIGKILL after 5 s."""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def pair(self, peers: Sequence[str], local: str = LOCAL) -> tuple[Namespace, Namespace]:
        """Subject and peers on one wire: its address/16 here, these addresses there."""
        here, there = self.namespace("d"), self.namespace("f")
        here.ip(f"link add v0 type veth peer name v1 netns {there.name}")
        here.ip(f"addr add {local}/16 dev v0")
        here.ip("link set v0 up")
        there.ip("link set v1 up")
        first, *others = peers
        there.ip(f"addr add {first}/16 dev v1")
        batch = "".join(f"addr add {a}/32 dev v1\n" for a in others)
        sh(f"ip -n {there.name} -batch -", text=batch)
        return here, there


def peer_addresses(count: int) -> list[str]:
    """Addresses of so many peers, none of them the feeder's."""
    return [f"10.9.{1 + i // 250}.{1 + i % 250}" for i in range(count)]


def sweep() -> None:
    """Delete what a killed bench left: namespaces whose maker is gone."""
    for path in _RUN.glob(f"{PREFIX}*") if _RUN.exists() else ():
        maker = path.name.removeprefix(PREFIX).split("-")[0]
        if maker.isdigit() and not Path(f"/proc/{maker}").exists():
            Namespace(path.name).delete()


def wait_for(condition: Callable[[], bool], limit: float, what: str) -> None:
    """Ask a callable every few milliseconds until it says yes.

    Raises:
        BenchError: not within ``limit`` seconds.
    """
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise BenchError(f"{what}: not within {limit:.0f} s")
        time.sleep(0.005)
