"""The one loop of effects: take the newest wish, apply it, try again while it fails, look again now and then.

A driver's ``apply`` reads its outside thing, compares and changes only what differs; so applying the same wish
twice does nothing, and after an error nothing has to be remembered but the wish (law 5).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from kroute.model.errors import DriverError
from kroute.model.problem import Problem, Severity

T = TypeVar("T")

FIRST_RETRY = 0.2
LONGEST_RETRY = 30.0

log = logging.getLogger(__name__)


class Reconciler(Generic[T]):
    """Keeps one outside thing equal to the newest wish.

    ``apply`` runs in a worker thread, since files may be slow; it returns what an operator should know and raises
    :class:`DriverError` when it could not do its work. ``report`` gets the problems after each attempt.
    """

    def __init__(
        self,
        name: str,
        apply: Callable[[T], tuple[Problem, ...]],
        report: Callable[[str, tuple[Problem, ...]], None],
        resync: float = 60.0,
    ) -> None:
        self.name = name
        self.done = False
        """Whether the newest wish has been applied."""
        self._apply = apply
        self._report = report
        self._resync = resync
        self._wish: T | None = None
        self._news = asyncio.Event()

    def want(self, wish: T) -> None:
        """Replace the wish; only the newest counts."""
        if wish != self._wish:
            self._wish = wish
            self.done = False
            self._news.set()

    async def run(self) -> None:
        """Apply wishes for ever."""
        delay = FIRST_RETRY
        while True:
            timeout = self._resync if self.done or self._wish is None else delay
            try:
                async with asyncio.timeout(timeout):
                    await self._news.wait()
                delay = FIRST_RETRY
            except TimeoutError:
                pass
            if self._wish is None:
                continue
            self._news.clear()
            delay = (
                FIRST_RETRY if await self._attempt(self._wish) else min(delay * 2, LONGEST_RETRY)
            )

    async def _attempt(self, wish: T) -> bool:
        try:
            problems = await asyncio.to_thread(self._apply, wish)
        except DriverError as error:
            log.warning("%s: %s", self.name, error)
            self.done = False
            self._report(
                self.name, (Problem(object=self.name, reason=str(error), severity=Severity.ERROR),)
            )
            return False
        self.done = self._wish == wish
        self._report(self.name, problems)
        return True
