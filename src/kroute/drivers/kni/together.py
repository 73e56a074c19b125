"""Work that comes at the same time is done at once, by one thread: in storms, threads cost more than what they do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_LULLS = 16
"""Most times that a lull is waited for: others may come for ever."""


class Together(Generic[T]):
    """Who comes while nobody is at work does it for all who are there; who comes meanwhile waits for the next turn.

    A thread is woken once: when its own item is done, or when it is its turn to work.
    """

    def __init__(
        self, work: Callable[[list[T], Callable[[], None]], None], *, lull: float = 0.0
    ) -> None:
        """``work`` is given items in the order in which they came, by one thread at a time.

        It may call its second argument once others may begin, while it ends its own. ``lull``: where several wait, work
        begins once nobody has come for so many seconds; worth it where a piece of work costs much and an item little.
        """
        self._work = work
        self._lull = lull
        self._mutex = threading.Lock()
        self._waiting: list[_Place[T]] = []
        self._at_work = False

    def do(self, item: T, patience: float = -1.0) -> bool:
        """Have an item done; False if its turn did not come, or end, within so many seconds. Negative: no limit.

        An item whose turn has not come is not done any more; one whose work has begun may still be.

        Raises:
            BaseException: what ``work`` raised for the items that were done together with this one.
        """
        mine = _Place(item)
        with self._mutex:
            self._waiting.append(mine)
            mine.leads = not self._at_work
            self._at_work = True
        if not mine.leads and not mine.woken.acquire(timeout=patience) and self._gives_up(mine):
            return False
        if mine.leads:
            self._lead()
        if mine.failure is not None:
            raise mine.failure
        return True

    def _gives_up(self, mine: _Place[T]) -> bool:
        with self._mutex:
            if mine.woken.acquire(blocking=False):  # just now
                return False
            if mine in self._waiting:
                self._waiting.remove(mine)
            return True

    def _lead(self) -> None:
        self._gather()
        with self._mutex:
            batch, self._waiting = self._waiting, []
        has_passed = False

        def pass_on() -> None:
            nonlocal has_passed
            with self._mutex:
                if not has_passed:
                    has_passed = True
                    self._pass_on()

        failure: BaseException | None = None
        try:
            self._work([place.item for place in batch], pass_on)
        except BaseException as error:  # noqa: BLE001 - raised by every caller whose item is in the batch
            failure = error
        pass_on()
        for place in batch:
            place.leads, place.failure = False, failure
            place.woken.release()

    def _gather(self) -> None:
        """Let come who is on his way; who is alone waits for nobody."""
        seen = 1
        for _ in range(_LULLS if self._lull else 0):
            if len(self._waiting) <= seen:
                return
            seen = len(self._waiting)
            time.sleep(self._lull)

    def _pass_on(self) -> None:
        """Who waits longest works next; the mutex is held."""
        self._at_work = bool(self._waiting)
        if self._at_work:
            self._waiting[0].leads = True
            self._waiting[0].woken.release()


class _Place(Generic[T]):
    """One caller's item, and what it waits for."""

    def __init__(self, item: T) -> None:
        self.item = item
        self.leads = False
        self.failure: BaseException | None = None
        self.woken = threading.Lock()
        """Free once the item is done, or it is its caller's turn."""
        self.woken.acquire()
