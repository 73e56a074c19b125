"""One speaker process and the socketpair to it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from kroute.codec.frames import Frame, FrameError, FrameReader, Kind, pack
from kroute.model.errors import DriverError

_RECEIVE: Final = 1 << 16
"""Octets per turn of the loop: about 1000 UPDATEs or 16 000 packed prefixes, so that a flood never holds it up long."""
_BUFFER: Final = 4 << 20
PULSE: Final = 3.0
"""Seconds between two questions for a sign of life."""
PATIENCE: Final = 5
"""Questions in a row without one after which the child is hung. Its longest legal pause is a fraction of a second."""
_SO_SNDBUFFORCE: Final = 32
_VECTOR: Final = 256


class SpeakerProcess:
    """A child that runs :mod:`kroute.speaker`; ``on_frames`` gets what each read brought, ``on_end`` why it is over.

    Writing never waits: what the child does not take is kept and sent when it does.
    """

    def __init__(
        self,
        command: Sequence[str],
        user: str,
        on_frames: Callable[[list[Frame]], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_frames = on_frames
        self._on_end = on_end
        self._reader = FrameReader()
        self._out: deque[bytes | memoryview] = deque()
        self._ended = False
        self._heard = True
        self._silent = 0
        ours, theirs = _pair()
        with theirs:
            self._child = _spawn(command, theirs, user)
        self._socket = ours
        self._loop.add_reader(ours, self._readable)
        self._pulse = self._loop.call_later(PULSE, self._feel)

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._child.pid

    def send(self, kind: int, peer: int, body: bytes = b"") -> None:
        """Send one frame, or keep it until the child takes it.

        Raises:
            FrameError: the body is too long for a frame.
        """
        if self._ended:
            return
        waiting = bool(self._out)
        self._out.append(pack(kind, peer, body))
        if not waiting:
            self._writable()

    async def stop(self, patience: float) -> None:
        """Close our end, which ends the child; kill it after ``patience`` seconds."""
        self._close()
        try:
            await asyncio.to_thread(self._child.wait, patience)
        except subprocess.TimeoutExpired:
            self._child.kill()
            await asyncio.to_thread(self._child.wait)

    async def ended(self, patience: float) -> None:
        """Wait until the child has closed its end, at most so long."""
        try:
            await asyncio.to_thread(self._child.wait, patience)
        except subprocess.TimeoutExpired:
            return

    def condemn(self, reason: str) -> None:
        """Kill the child: it is of no use any more."""
        self._child.kill()
        self._end(reason)

    def _feel(self) -> None:
        """Ask the child for a sign of life; whatever it says is one.

        Turns of our own loop are counted, not seconds: when we or the whole machine were stopped, its answer waits
        to be read and is no reason to kill it.
        """
        self._silent = 0 if self._heard else self._silent + 1
        self._heard = False
        if self._silent >= PATIENCE:
            self.condemn(f"it hung: no sign of life for {self._silent * PULSE:g} s")
            return
        self.send(Kind.ECHO, 0)
        self._pulse = self._loop.call_later(PULSE, self._feel)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_RECEIVE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._end(self._obituary())
            return
        self._heard = True
        try:
            frames = self._reader.feed(data)
        except FrameError as error:
            self.condemn(f"it does not keep to the frames: {error}")
            return
        frames = [frame for frame in frames if frame[0] != Kind.ECHOED]
        if frames:
            self._on_frames(frames)

    def _writable(self) -> None:
        out = self._out
        while out:
            try:
                sent = self._socket.sendmsg(list(islice(out, _VECTOR)))
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(self._socket, self._writable)
                return
            except OSError:
                out.clear()  # reading will tell that the child is gone
                break
            while sent and sent >= len(out[0]):
                sent -= len(out.popleft())
            if sent:
                out[0] = memoryview(out[0])[sent:]
        self._loop.remove_writer(self._socket)

    def _obituary(self) -> str:
        try:
            status = self._child.wait(0.5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return "it closed its socket but did not end"
        return (
            f"it was killed by signal {-status}" if status < 0 else f"it ended with status {status}"
        )

    def _end(self, reason: str) -> None:
        if not self._ended:
            self._close()
            self._on_end(reason)

    def _close(self) -> None:
        if not self._ended:
            self._ended = True
            self._pulse.cancel()
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
            self._out.clear()


def _pair() -> tuple[socket.socket, socket.socket]:
    """Two connected sockets with large buffers; a privileged process may exceed the system's limit."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours.setblocking(False)
    for sock in (ours, theirs):
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    return ours, theirs


def _spawn(command: Sequence[str], theirs: socket.socket, user: str) -> subprocess.Popen[bytes]:
    """Start the child with nothing but its socket; ExaBGP takes settings from the environment, so none are left."""
    environment = {k: v for k, v in os.environ.items() if not k.lower().startswith("exabgp")}
    arguments = [str(theirs.fileno()), str(os.getpid()), user]
    try:
        return subprocess.Popen(
            [*command, *arguments],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            env=environment,
        )
    except OSError as error:
        raise DriverError(f"cannot start the speaker: {error}") from error
