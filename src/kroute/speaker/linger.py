"""Closing a connection after a NOTIFICATION so that it arrives: a close with unread input would reset it."""

from __future__ import annotations

import socket
from typing import Final

from kroute.speaker.loop import FAILED, READ, WRITE, Loop

_PATIENCE: Final = 2.0
_DISCARD: Final = 1 << 16


class Lingering:
    """Sends the rest, says "no more" to the peer, and closes when the peer does or after two seconds."""

    def __init__(self, sock: socket.socket, rest: bytes, loop: Loop, crowd: set[Lingering]) -> None:
        self._sock = sock
        self._rest = rest
        self._loop = loop
        self._crowd = crowd
        crowd.add(self)
        self._patience = loop.later(_PATIENCE, self._close)
        self._send()

    def _send(self) -> None:
        try:
            if self._rest:
                self._rest = self._rest[self._sock.send(self._rest) :]
        except BlockingIOError:
            pass
        except OSError:
            self._close()
            return
        if not self._rest:
            self._finish()
        else:
            self._loop.watch(self._sock.fileno(), READ | WRITE, self._ready)

    def _finish(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close()
            return
        self._loop.watch(self._sock.fileno(), READ, self._ready)

    def _ready(self, events: int) -> None:
        if events & (READ | FAILED):
            try:
                if not self._sock.recv(_DISCARD):
                    self._close()
                    return
            except BlockingIOError:
                pass
            except OSError:
                self._close()
                return
        if events & WRITE:
            self._send()

    def _close(self) -> None:
        self._patience.cancel()
        self._crowd.discard(self)
        self._loop.forget(self._sock.fileno())
        self._sock.close()
