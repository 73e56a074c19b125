"""A knock: a TCP connection opened and closed at once, so that an active peer connects now, not later."""

from __future__ import annotations

import errno
import os
import random
import socket
from collections.abc import Callable
from typing import Final

from exabgp.reactor.network.error import NetworkError

from kroute.codec.frames import SessionParameters
from kroute.speaker.endpoint import Endpoint
from kroute.speaker.hooks.wire import words
from kroute.speaker.loop import WRITE, Loop, Timer
from kroute.speaker.neighbor import outgoing_socket

_ANSWER: Final = 5.0
"""Seconds to wait for the peer's SYN-ACK."""


class Knock:
    """Knocks at once, then now and then with jitter, from :meth:`soon` until :meth:`stop`."""

    def __init__(
        self, parameters: SessionParameters, loop: Loop, told: Callable[[str], None]
    ) -> None:
        self._parameters = parameters
        self._loop = loop
        self._told = told
        self._sock: socket.socket | None = None
        self._next: Timer | None = None
        self._answer: Timer | None = None
        self._knocked_before = False

    def soon(self) -> None:
        """Go on knocking; the first time at once."""
        if self._next is None and self._sock is None:
            if self._knocked_before:
                self._again()
            else:
                self.now()

    def now(self) -> None:
        """Knock now."""
        self.stop()
        self._knocked_before = True
        try:
            self._sock = outgoing_socket(self._parameters)
            address = Endpoint.parse(self._parameters.address).sockaddr(self._parameters.port)
        except (NetworkError, OSError) as error:
            self._over(words(error) if isinstance(error, OSError) else str(error))
            return
        status = self._sock.connect_ex(address)
        if status == errno.EINPROGRESS:
            self._loop.watch(self._sock.fileno(), WRITE, self._ready)
            self._answer = self._loop.later(_ANSWER, lambda: self._over("no answer"))
        else:
            self._over(os.strerror(status).lower() if status else "")

    def stop(self) -> None:
        """Knock no more."""
        self._hang_up()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _ready(self, events: int) -> None:
        assert self._sock is not None
        status = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._over(os.strerror(status).lower() if status else "")

    def _over(self, problem: str) -> None:
        self._hang_up()
        self._again()
        self._told(problem)

    def _again(self) -> None:
        pause = self._parameters.connect_retry * random.uniform(0.75, 1.0)
        self._next = self._loop.later(pause, self.now)

    def _hang_up(self) -> None:
        if self._answer is not None:
            self._answer.cancel()
            self._answer = None
        if self._sock is not None:
            self._loop.forget(self._sock.fileno())
            self._sock.close()
            self._sock = None
