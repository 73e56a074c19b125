"""One lock for each pod: calls for one pod come one after another, those for different pods at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kroute.model.kni import KniError, Refusal


class Locks:
    """Locks by name, which exist as long as somebody holds or awaits them."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}

    def is_held(self, name: str) -> bool:
        """Whether a call holds or awaits the lock of this name just now."""
        return name in self._locks

    @contextmanager
    def held(self, name: str, patience: float) -> Iterator[None]:
        """Hold the lock of this name.

        Raises:
            KniError: another call held it for ``patience`` seconds.
        """
        with self._mutex:
            lock, users = self._locks.get(name, (threading.Lock(), 0))
            self._locks[name] = (lock, users + 1)
        try:
            if not lock.acquire(timeout=patience):
                raise KniError(Refusal.LATE, f"another call for {name} did not end in time")
            try:
                yield
            finally:
                lock.release()
        finally:
            with self._mutex:
                lock, users = self._locks[name]
                if users == 1:
                    del self._locks[name]
                else:
                    self._locks[name] = (lock, users - 1)
