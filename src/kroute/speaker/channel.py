"""The socket to the daemon: frames out without ever waiting, commands in."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final

from kroute.codec.frames import HEADER, Frame, FrameError, FrameReader
from kroute.speaker.loop import FAILED, READ, WRITE, Loop

PAUSE: Final = 32 << 20
"""Octets waiting for the daemon at which peers are no longer read; half of it starts reading again."""

_EAGER: Final = 128 << 10
_VECTOR: Final = 256
_RECEIVE: Final = 1 << 18


class Channel:
    """Both directions of the socketpair. The daemon's end closing ends the loop: no orphan speaks on."""

    def __init__(self, sock: socket.socket, loop: Loop, command: Callable[[Frame], None]) -> None:
        self._socket = sock
        self._loop = loop
        self._command = command
        self._reader = FrameReader()
        self._out: deque[bytes | memoryview] = deque()
        self._blocked = False
        self._broken = False
        self.queued = 0
        """Octets that the daemon has not taken yet."""
        self.paused = False
        """Peers must not be read now."""
        self.on_pause: Callable[[bool], None] = lambda paused: None
        sock.setblocking(False)
        loop.watch(sock.fileno(), READ, self._ready)
        loop.after_every_turn(self.flush)

    def send(self, kind: int, peer: int, body: bytes = b"") -> None:
        """Queue one frame; it leaves at the end of the turn, or at once when much is waiting."""
        self._out.append(HEADER.pack(kind, peer, len(body)))
        self._out.append(body)
        self.queued += HEADER.size + len(body)
        if self.queued > _EAGER and not self._blocked:
            self.flush()
        elif self.queued > PAUSE and not self.paused:
            self._pause(True)

    def flush(self) -> None:
        """Hand over what the socket takes now."""
        while self.queued and not self._broken:
            try:
                sent = self._socket.sendmsg(list(islice(self._out, _VECTOR)))
            except BlockingIOError:
                break
            except OSError:
                self._lost()
                return
            self._sent(sent)
        self._mark()

    def drain(self, seconds: float) -> None:
        """Hand over the rest before the process ends, waiting for the daemon at most so long."""
        self._socket.settimeout(seconds)
        self.flush()

    def _sent(self, count: int) -> None:
        self.queued -= count
        out = self._out
        while count:
            first = len(out[0])
            if first > count:
                out[0] = memoryview(out[0])[count:]
                return
            count -= first
            out.popleft()
        while out and not len(out[0]):
            out.popleft()

    def _mark(self) -> None:
        blocked = self.queued > 0
        if blocked != self._blocked:
            self._blocked = blocked
            events = READ | WRITE if blocked else READ
            self._loop.watch(self._socket.fileno(), events, self._ready)
        if self.paused and self.queued < PAUSE // 2:
            self._pause(False)

    def _pause(self, paused: bool) -> None:
        self.paused = paused
        self.on_pause(paused)

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self.flush()
        if events & (READ | FAILED):
            self._receive()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        try:
            for frame in self._reader.feed(data):
                self._command(frame)
        except FrameError:
            self._lost()
            raise

    def _lost(self) -> None:
        self._broken = True
        self._loop.stopped = True
