"""One event, several observers: waits for all of them at once and keeps what each one missed.

A scene is told something once (a kroute restarts) and its parametrised tests ask what became of it at their own
neighbour. So one of five that fails is one test that fails, and five cost the time of one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any


class Ledger:
    """What went wrong for whom; nothing at first."""

    def __init__(self, names: Iterable[str]) -> None:
        self.wrong: dict[str, str] = dict.fromkeys(names, "")

    @property
    def well(self) -> list[str]:
        """Those for whom all went as it should so far."""
        return [name for name, wrong in self.wrong.items() if not wrong]

    def wait(
        self,
        holds: Callable[[str], Any],
        what: str,
        *,
        only: Iterable[str] | None = None,
        timeout: float = 15.0,
    ) -> None:
        """Until it holds for each; who does not get there in time is written down and left alone from then on."""
        missing = {n for n in (self.wrong if only is None else only) if not self.wrong[n]}
        deadline = time.monotonic() + timeout
        pause = threading.Event()
        while missing := {name for name in missing if not holds(name)}:
            if time.monotonic() > deadline:
                self.wrong |= dict.fromkeys(missing, f"not within {timeout:g} s: {what}")
                return
            pause.wait(0.02)

    def check(
        self, holds: Callable[[str], Any], what: str, *, only: Iterable[str] | None = None
    ) -> None:
        """That it holds now."""
        self.wait(holds, what, only=only, timeout=0)
