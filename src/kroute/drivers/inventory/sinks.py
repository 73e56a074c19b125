"""What a reflector tells, in its thread, as events in the event loop: one sink for each list that is followed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kroute.drivers.inventory import Emit
from kroute.model.inventory import Fresh, InventoryEvent, Problems, Stale
from kroute.model.node import Node
from kroute.model.problem import Problem
from kroute.model.service import EndpointSlice, Service

log = logging.getLogger(__name__)

T = TypeVar("T", bound=Node | Service | EndpointSlice)
A = TypeVar("A")
Slim = tuple[T | None, tuple[Problem, ...]]


@dataclass(frozen=True, slots=True)
class Followed(Generic[T]):
    """One list of the API, and the words and events in which it is told of."""

    of: str
    path: str
    kind: str
    """As problems name its objects."""
    slim: Callable[[Any], Slim[T]]
    key: Callable[[T], str]
    listed: Callable[[tuple[T, ...]], InventoryEvent]
    changed: Callable[[T], InventoryEvent]
    gone: Callable[[str], InventoryEvent]


class ListSink(Generic[T]):
    """Turns what a reflector tells, in its thread, into events in the loop.

    Kubelets write their Node object every few minutes and whenever a condition changes, and controllers their own: what
    is the same to us is not told again.
    """

    def __init__(self, emit: Emit, crash: asyncio.Future[None], followed: Followed[T]) -> None:
        self._loop = asyncio.get_running_loop()
        self._crash = crash
        self._emit: Emit | None = emit
        self.followed: Followed[T] = followed
        self._known: dict[str, T] = {}
        self._problems: dict[str, tuple[Problem, ...]] = {}
        self._told: tuple[Problem, ...] = ()
        self._failure = ""
        self._stale = ""
        self._well_at = ""

    def slim(self, thing: Any) -> Slim[T]:
        """What is kept of an object."""
        return self.followed.slim(thing)

    def close(self) -> None:
        """Tell nothing more, not even what is on its way."""
        self._emit = None

    def listed(self, things: list[Slim[T]]) -> None:
        """Everything there is."""
        key = self.followed.key
        self._problems = {p[0].object: p for _, p in things if p}
        self._take_list({key(thing): thing for thing, _ in things if thing is not None})
        self._tell_problems()
        self._tell_state()

    def _take_list(self, things: dict[str, T]) -> None:
        self._known = things
        self._tell(self.followed.listed(tuple(things.values())))

    def changed(self, slim: Slim[T]) -> None:
        """An object is new or has changed."""
        thing, problems = slim
        if thing is None:
            return
        key = self.followed.key(thing)
        self._take_change(key, thing)
        self._note_problems(key, problems)

    def _take_change(self, key: str, thing: T) -> None:
        if self._known.get(key) != thing:
            self._known[key] = thing
            self._tell(self.followed.changed(thing))

    def deleted(self, slim: Slim[T]) -> None:
        """An object is gone."""
        thing, _ = slim
        if thing is not None and (key := self.followed.key(thing)) in self._known:
            self._take_removal(key)

    def _take_removal(self, key: str) -> None:
        del self._known[key]
        self._tell(self.followed.gone(key))
        self._note_problems(key, ())

    def failed(self, reason: str) -> None:
        """The server does not answer as it should; what was told stays in force."""
        known = f"no news since {self._well_at}" if self._well_at else "never reached"
        self._failure = f"{reason} ({known})"
        self._tell_state()

    def recovered(self) -> None:
        """It does again."""
        self._well_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._failure = ""
        self._tell_state()

    def _tell_state(self) -> None:
        """Whether what is known is true now; told once for each reason that it may not be."""
        now, of = self._failure or self._doubt(), self.followed.of
        if now == self._stale:
            return
        self._stale = now
        if now:
            log.warning("inventory: %s; the last known %s stay in force", now, of)
            self._tell(Stale(now, of))
        else:
            log.info("inventory: the API server answers as it should again about %s", of)
            self._tell(Fresh(of))

    def _doubt(self) -> str:
        """Why the server's list is not believed; empty if it is."""
        return ""

    def crashed(self, error: BaseException) -> None:
        """The reflector ended by a bug of ours: so does the driver."""
        self._in_loop(self._crash_with, error)

    def _crash_with(self, error: BaseException) -> None:
        if not self._crash.done():
            self._crash.set_exception(error)

    def _note_problems(self, key: str, problems: tuple[Problem, ...]) -> None:
        name = f"{self.followed.kind}/{key}"
        self._problems.pop(name, None)
        if problems:
            self._problems[name] = problems
        self._tell_problems()

    def _tell_problems(self) -> None:
        now = tuple(p for name in sorted(self._problems) for p in self._problems[name])
        if now != self._told:
            self._told = now
            self._tell(Problems(now, self.followed.of))

    def _tell(self, event: InventoryEvent) -> None:
        self._in_loop(self._deliver, event)

    def _deliver(self, event: InventoryEvent) -> None:
        if self._emit is not None:
            self._emit(event)

    def _in_loop(self, call: Callable[[A], None], argument: A) -> None:
        try:
            self._loop.call_soon_threadsafe(call, argument)
        except RuntimeError:
            pass  # the loop has ended before this thread
