"""Health checks of static services: one task each, none of which can hold up another or the event loop for long.

Only what changes is told: a service that rises or falls, and a failed one's new reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from kroute.drivers.health.checks import CheckFailed, perform
from kroute.model.config_services import Check, StaticService
from kroute.model.service import CheckState
from kroute.plan.health import Streak

log = logging.getLogger(__name__)

Emit = Callable[[str, CheckState | None], None]
Terms = tuple[Check, int, int, int, int]
"""What a service's checks depend on: the check, interval, timeout, rise, fall."""

LONGEST_DETAIL = 200
"""Characters of a result that are told."""


class HealthChecks:
    """Checks the wanted services, for ever. ``emit`` is called in the event loop."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._running: dict[str, tuple[Terms, asyncio.Task[None]]] = {}
        self._crash: asyncio.Future[None] | None = None

    def want(self, services: Iterable[StaticService]) -> None:
        """Check exactly these services from now on. One whose check is as before is not disturbed."""
        wanted = {s.name: (s.check, _terms(s, s.check)) for s in services if s.check is not None}
        for name, (terms, task) in list(self._running.items()):
            if name not in wanted or wanted[name][1] != terms:
                task.cancel()
                del self._running[name]
                self._emit(name, None)
        for name, (check, terms) in wanted.items():
            if name not in self._running:
                task = asyncio.create_task(self._watch(name, check, terms), name=f"check {name}")
                task.add_done_callback(self._ended)
                self._running[name] = (terms, task)

    async def run(self) -> None:
        """Live until cancelled, and end all checks then.

        Raises:
            Exception: a check ended by a bug of ours.
        """
        self._crash = asyncio.get_running_loop().create_future()
        try:
            await self._crash
        finally:
            tasks = [task for _, task in self._running.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self._crash is None or self._crash.done():
            return
        if (error := task.exception()) is not None:
            self._crash.set_exception(error)

    async def _watch(self, name: str, check: Check, terms: Terms) -> None:
        _, interval, timeout, rise, fall = terms
        streak, told, clock = Streak(rise, fall), "", asyncio.get_running_loop().time
        while True:
            began = clock()
            good, detail = await _result(check, timeout)
            changed = streak.take(good)
            if changed or (not good and not streak.up and detail != told):
                told = detail
                self._tell(name, CheckState(bool(streak.up), detail), changed)
            await asyncio.sleep(max(0.0, began + interval - clock()))

    def _tell(self, name: str, state: CheckState, changed: bool) -> None:
        if changed:
            level = logging.INFO if state.up else logging.WARNING
            now = "up" if state.up else "down"
            log.log(level, "service %s service=static/%s reason=%s", now, name, state.detail)
        self._emit(name, state)


def _terms(service: StaticService, check: Check) -> Terms:
    return (check, service.interval, service.timeout, service.rise, service.fall)


async def _result(check: Check, timeout: float) -> tuple[bool, str]:
    """Whether one check is good, and its result in words."""
    try:
        async with asyncio.timeout(timeout):
            detail, good = await perform(check), True
    except TimeoutError:
        detail, good = f"no answer within {timeout:g} s", False
    except CheckFailed as failure:
        detail, good = str(failure), False
    words = " ".join(detail.split())
    return good, words if len(words) <= LONGEST_DETAIL else f"{words[:LONGEST_DETAIL]}..."
