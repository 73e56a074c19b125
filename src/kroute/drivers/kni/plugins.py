"""CNI plugins executed as libcni executes them, with a deadline: ADD, DEL in reverse, CHECK, STATUS, GC, VERSION."""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from kroute.codec.kni.cni import (
    CniSyntax,
    Json,
    PluginError,
    error_of,
    plugin_input,
    result_of,
    supported,
    version,
)
from kroute.model.kni import KniError, Refusal, Wiring

log = logging.getLogger(__name__)

_LONGEST_ANSWER = 1 << 20
_LOOK = 0.5
"""Seconds between looks at how much a running plugin has printed."""
_EXHAUSTED = "no IP addresses available"
"""What host-local says when a range is full."""


class Deadline:
    """A point in time until which a call must be done."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that remain; 0 when there are none."""
        return max(self._end - time.monotonic(), 0.0)

    def check(self, what: str) -> None:
        """Raise KniError (LATE) if the time is over."""
        if not self.left:
            raise KniError(Refusal.LATE, f"{what}: the deadline is over")


class Plugins:
    """The plugins of this node."""

    def __init__(
        self,
        folders: Sequence[str],
        mark: Callable[[str, Json], None] = lambda _container, _result: None,
    ) -> None:
        """``mark`` is told the container and result of each ADD, and marks what it made on the node."""
        self._mark = mark
        self._folders = tuple(folders)

    def add(self, container: str, netns: str, wiring: Wiring, deadline: Deadline) -> Json:
        """ADD of every plugin; the last result. Nothing is undone here when one fails: the caller calls :meth:`delete`.

        Raises:
            KniError: a plugin is missing, refuses, hangs, crashes or answers garbage.
        """
        result: Json | None = None
        for plugin in wiring.network["plugins"]:
            stdin = plugin_input(wiring.network, plugin, wiring.capabilities, result)
            out = self._run("ADD", plugin, container, netns, wiring, stdin, deadline)
            try:
                result = result_of(out)
            except CniSyntax as error:
                raise KniError(Refusal.BROKEN, f"CNI plugin {plugin['type']}: {error}") from error
        assert result is not None
        self._mark(container, result)
        return result

    def check(self, container: str, netns: str, wiring: Wiring, deadline: Deadline) -> None:
        """CHECK of every plugin, since 0.4.0; before that nothing is asked.

        Raises:
            KniError: a plugin finds the attachment broken.
        """
        if version(wiring.network) < (0, 4, 0) or wiring.network.get("disableCheck"):
            return
        for plugin in wiring.network["plugins"]:
            stdin = plugin_input(wiring.network, plugin, wiring.capabilities, wiring.result)
            self._run("CHECK", plugin, container, netns, wiring, stdin, deadline)

    def delete(
        self,
        container: str,
        netns: str,
        wiring: Wiring,
        deadline: Deadline,
        only: Iterable[str] | None = None,
    ) -> None:
        """DEL of every plugin in reverse (or of the types in ``only``); all are called, then the first error raised.

        An empty ``netns`` says that the namespace is gone: plugins release what is outside of it.

        Raises:
            KniError: a plugin refused; the others were called all the same.
        """
        previous = wiring.result if wiring.result and version(wiring.network) >= (0, 4, 0) else None
        refusal: KniError | None = None
        for plugin in reversed(wiring.network["plugins"]):
            if only is not None and plugin["type"] not in only:
                continue
            stdin = plugin_input(wiring.network, plugin, wiring.capabilities, previous)
            try:
                self._run("DEL", plugin, container, netns, wiring, stdin, deadline)
            except KniError as error:
                refusal = refusal or error
        if refusal is not None:
            raise refusal

    def status(self, network: Mapping[str, Any], deadline: Deadline) -> None:
        """STATUS of every plugin, since 1.1.0.

        Raises:
            KniError: a plugin could not serve an ADD.
        """
        if version(network) < (1, 1, 0):
            return
        for plugin in network["plugins"]:
            stdin = plugin_input(network, plugin, {}, None)
            self._run("STATUS", plugin, "", "", None, stdin, deadline)

    def collect(
        self, network: Mapping[str, Any], valid: Iterable[tuple[str, str]], deadline: Deadline
    ) -> None:
        """GC of every plugin, since 1.1.0: everything but these (container, interface) may be released.

        Raises:
            KniError: a plugin refused.
        """
        if version(network) < (1, 1, 0) or network.get("disableGC"):
            return
        kept = [{"containerID": container, "ifname": interface} for container, interface in valid]
        for plugin in network["plugins"]:
            stdin = plugin_input(network, plugin, {}, None, **{"cni.dev/valid-attachments": kept})
            self._run("GC", plugin, "", "", None, stdin, deadline)

    def versions(self, kind: str, deadline: Deadline) -> tuple[str, ...]:
        """The versions of the specification that a plugin speaks.

        Raises:
            KniError: there is no such plugin, or it says nothing.
        """
        stdin = b'{"cniVersion": "1.0.0"}'
        try:
            return supported(self._run("VERSION", {"type": kind}, "", "", None, stdin, deadline))
        except CniSyntax as error:
            raise KniError(Refusal.BROKEN, f"CNI plugin {kind}: {error}") from error

    def end_orphans(self, containers: Collection[str]) -> None:
        """Kill plugins that an earlier life of the daemon started for these containers and that still run.

        A plugin in the middle of its ADD would otherwise go on after the ADD has been undone.
        """
        wanted = {f"CNI_CONTAINERID={container}".encode() for container in containers}
        for pid in [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()]:
            try:
                words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            except OSError:
                continue  # a process that has ended meanwhile, or none of ours
            if not wanted.isdisjoint(words):
                log.warning("plugin pid=%d of an earlier life is ended", pid)
                with suppress(OSError):
                    descriptor = os.pidfd_open(pid)
                    try:
                        os.kill(pid, signal.SIGKILL)
                        select.select([descriptor], [], [], 5.0)
                    finally:
                        os.close(descriptor)

    # --- one process --------------------------------------------------------------------------------------

    def find(self, kind: str) -> str:
        """The path of a plugin.

        Raises:
            KniError: it is in none of the folders.
        """
        for folder in self._folders:
            path = f"{folder}/{kind}"
            if os.access(path, os.X_OK):
                return path
        raise KniError(
            Refusal.CONFLICT,
            f"CNI plugin {kind!r} is in none of {', '.join(self._folders)}; install it there",
        )

    def _run(
        self,
        command: str,
        plugin: Mapping[str, Any],
        container: str,
        netns: str,
        wiring: Wiring | None,
        stdin: bytes,
        deadline: Deadline,
    ) -> bytes:
        kind = str(plugin["type"])
        deadline.check(f"{command} of CNI plugin {kind}")
        environment = {
            **os.environ,
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": netns,
            "CNI_IFNAME": wiring.interface if wiring else "",
            "CNI_ARGS": wiring.args if wiring else "",
            "CNI_PATH": ":".join(self._folders),
        }
        out, err, status = _execute(self.find(kind), environment, stdin, deadline)
        if status is None:
            raise KniError(Refusal.LATE, f"CNI plugin {kind} did not end in time; it was killed")
        if status:
            raise _refusal(kind, command, error_of(out, err, status))
        return out


def _execute(
    path: str, environment: Mapping[str, str], stdin: bytes, deadline: Deadline
) -> tuple[bytes, bytes, int | None]:
    """Output, error output and status; None where the deadline came first.

    All three streams are memory files: nobody waits for a pipe, not even for one that a plugin's child keeps open.
    """
    files = [os.memfd_create(name, os.MFD_CLOEXEC) for name in ("stdin", "stdout", "stderr")]
    try:
        os.write(files[0], stdin)
        os.lseek(files[0], 0, os.SEEK_SET)
        try:
            process = subprocess.Popen(
                [path],
                stdin=files[0],
                stdout=files[1],
                stderr=files[2],
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            reason = f"{path} cannot be executed: {error.strerror}"
            raise KniError(Refusal.BROKEN, reason) from error
        status = _wait(process, files[1:], deadline)
        out, err = (os.pread(file, _LONGEST_ANSWER + 1, 0) for file in files[1:])
    finally:
        for file in files:
            os.close(file)
    if len(out) > _LONGEST_ANSWER:
        return b"", b"its answer is longer than 1 MiB", 1
    return out, err, status


def _wait(process: subprocess.Popen[bytes], outputs: list[int], deadline: Deadline) -> int | None:
    """The status of a plugin; one that is late, or prints without end, is killed with all that it started."""
    descriptor = os.pidfd_open(process.pid)
    try:
        ended = select.poll()
        ended.register(descriptor, select.POLLIN)
        while not ended.poll(min(deadline.left, _LOOK) * 1000):
            flooded = any(os.fstat(file).st_size > _LONGEST_ANSWER for file in outputs)
            if flooded or not deadline.left:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return 1 if flooded else None
    finally:
        os.close(descriptor)
    return process.wait()


def _refusal(kind: str, command: str, said: PluginError) -> KniError:
    if _EXHAUSTED in said.message:
        text = f"no free address is left for pods on this node: {said}"
        return KniError(Refusal.EXHAUSTED, text)
    # Code 11 is "try again later" (section 5).
    refusal = Refusal.UNAVAILABLE if said.code == 11 else Refusal.BROKEN
    return KniError(refusal, f"{command} of CNI plugin {kind}: {said}")
