"""A small event loop: file descriptors by epoll, timers, and work for the end of a turn."""

from __future__ import annotations

import heapq
import select
import time
from collections.abc import Callable
from typing import Final

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
CLOSED: Final = select.EPOLLRDHUP
FAILED: Final = select.EPOLLERR | select.EPOLLHUP

Handler = Callable[[int], None]
"""Takes the epoll events of its descriptor."""


class Timer:
    """One call in the future; :meth:`cancel` may come at any time."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Never call; harmless when it is already over."""
        self.callback = None


class Loop:
    """Waits for descriptors and timers, in one thread. Times are those of :func:`time.monotonic`."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._sequence = 0
        self._after_turn: list[Callable[[], None]] = []
        self.stopped = False
        """Set it and :meth:`run` returns after the turn."""

    def watch(self, descriptor: int, events: int, handler: Handler) -> None:
        """Call the handler when one of these events shows up; a descriptor has one handler."""
        if descriptor in self._handlers:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
        self._handlers[descriptor] = handler

    def forget(self, descriptor: int) -> None:
        """No more calls for this descriptor; to be called before it is closed."""
        if self._handlers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call once at this time, or soon after."""
        timer = Timer(when, callback)
        self._sequence += 1
        heapq.heappush(self._timers, (when, self._sequence, timer))
        return timer

    def later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call once after so many seconds."""
        return self.at(time.monotonic() + seconds, callback)

    def after_every_turn(self, callback: Callable[[], None]) -> None:
        """Call at the end of each turn, in the order of registration: the place where output is flushed."""
        self._after_turn.append(callback)

    def run(self) -> None:
        """Turn until :attr:`stopped`."""
        while not self.stopped:
            self._turn()

    def _turn(self) -> None:
        for descriptor, events in self._epoll.poll(self._wait()):
            handler = self._handlers.get(descriptor)
            if handler is not None:
                handler(events)
        self._ring()
        for callback in self._after_turn:
            callback()

    def _wait(self) -> float:
        timers = self._timers
        while timers and timers[0][2].callback is None:
            heapq.heappop(timers)
        return max(0.0, timers[0][0] - time.monotonic()) if timers else -1

    def _ring(self) -> None:
        timers, now = self._timers, time.monotonic()
        while timers and timers[0][0] <= now:
            callback = heapq.heappop(timers)[2].callback
            if callback is not None:
                callback()
