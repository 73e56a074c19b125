"""Network namespaces for tests: made under one unique prefix, gone afterwards in any case.

with Lab("fib") as lab:
    a, b = lab.namespace("a"), lab.namespace("b")
    lab.veth(a, "eth0", b, "eth0")
    a.address("eth0", "192.0.2.1/24")
    b.address("eth0", "192.0.2.2/24")
    a.run(["ping", "-c1", "192.0.2.2"])
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

_CLONE_NEWNET = 0x40000000


class CommandFailed(AssertionError):
    """A command inside a namespace ended with an error; the text holds what it printed."""


def run(command: Sequence[str], *, check: bool = True, text: str | None = None) -> str:
    """Run a command on this host and return what it printed.

    Raises:
        CommandFailed: ``check`` and a status other than 0.
    """
    done = subprocess.run(list(command), input=text, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise CommandFailed(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Namespace:
    """One network namespace of a :class:`Lab`; loopback is up."""

    def __init__(self, name: str, processes: list[subprocess.Popen[bytes]]) -> None:
        self.name = name
        """Name as `ip netns` knows it."""
        self._processes = processes

    @property
    def path(self) -> str:
        """The file that setns(2) takes."""
        return f"/run/netns/{self.name}"

    def run(self, command: Sequence[str], *, check: bool = True, text: str | None = None) -> str:
        """Run a command inside and return its standard output; see :func:`run`."""
        return run(["ip", "netns", "exec", self.name, *command], check=check, text=text)

    def ip(self, command: str, *, check: bool = True) -> str:
        """Run one `ip` command given as a line: ``ns.ip("-6 route show")``."""
        return run(["ip", "-n", self.name, *command.split()], check=check)

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a process inside; the lab kills it at the end if it still runs."""
        process = subprocess.Popen(["ip", "netns", "exec", self.name, *command], **options)
        self._processes.append(process)
        return process

    def sysctl(self, name: str, value: int | str) -> None:
        """Set ``net.ipv4.ip_forward`` and the like inside."""
        self.run(["sysctl", "-qw", f"{name}={value}"])

    def address(self, interface: str, *addresses: str) -> None:
        """Add addresses (``192.0.2.1/24``) to an interface; IPv6 ones skip duplicate detection."""
        for address in addresses:
            self.ip(f"address add {address} dev {interface}" + (" nodad" if ":" in address else ""))

    def ifindex(self, interface: str) -> int:
        """The kernel's index of an interface."""
        return int(self.run(["cat", f"/sys/class/net/{interface}/ifindex"]))

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread lives inside: sockets opened here stay in the namespace."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(self.path, os.O_RDONLY)
        try:
            _setns(there)
            try:
                yield
            finally:
                _setns(home)
        finally:
            os.close(there)
            os.close(home)


def _setns(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Lab:
    """Namespaces with a unique prefix ``kt-PART-XXXX-``; leaving the block removes them all."""

    def __init__(self, part: str = "t") -> None:
        self.prefix = f"kt-{part}-{secrets.token_hex(2)}"
        self._namespaces: list[Namespace] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._wires = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes and delete the namespaces; safe to call twice."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for namespace in self._namespaces:
            run(["ip", "netns", "delete", namespace.name], check=False)
        self._processes.clear()
        self._namespaces.clear()

    def namespace(self, name: str) -> Namespace:
        """A new namespace called ``PREFIX-name``."""
        made = Namespace(f"{self.prefix}-{name}", self._processes)
        run(["ip", "netns", "add", made.name])
        self._namespaces.append(made)
        made.ip("link set lo up")
        return made

    def veth(self, a: Namespace, a_name: str, b: Namespace, b_name: str) -> None:
        """A pair of interfaces, one end in each namespace, both up."""
        self._wires += 1
        left, right = (f"k{secrets.token_hex(3)}{end}{self._wires}" for end in "ab")
        wire = f"link add {left} type veth peer name {right} netns {b.name}"
        a.ip(wire)
        a.ip(f"link set {left} name {a_name}")
        b.ip(f"link set {right} name {b_name}")
        a.ip(f"link set {a_name} up")
        b.ip(f"link set {b_name} up")

    def bridge(self, where: Namespace, name: str, *ports: tuple[Namespace, str]) -> None:
        """A bridge in ``where``, one veth to each port, which is (namespace, interface name)."""
        where.ip(f"link add {name} type bridge")
        where.ip(f"link set {name} up")
        for number, (namespace, interface) in enumerate(ports):
            port = f"{name[:10]}p{number}"
            self.veth(where, port, namespace, interface)
            where.ip(f"link set {port} master {name}")


SLACK = 4.0
"""A deadline is what a calm machine may need. A busy one gets so many times as much, which costs only failures time."""


def wait_for(predicate: Callable[[], Any], timeout: float = 10.0, what: str = "") -> Any:
    """Ask again and again until the answer is true, and return it.

    Raises:
        AssertionError: it was not true within ``timeout`` times :data:`SLACK` seconds; says ``what`` was waited for.
    """
    deadline = time.monotonic() + timeout * SLACK
    pause = threading.Event()
    while not (answer := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout * SLACK:g} s: {what or predicate}")
        pause.wait(0.02)
    return answer


async def until(
    predicate: Callable[[], Any | Awaitable[Any]], timeout: float = 10.0, what: str = ""
) -> Any:
    """As :func:`wait_for`, letting the event loop run in between; the predicate may be async."""
    deadline = time.monotonic() + timeout * SLACK
    while True:
        answer = predicate()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout * SLACK:g} s: {what or predicate}")
        await asyncio.sleep(0.01)
