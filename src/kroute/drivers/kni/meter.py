"""What the server did, for metrics: durations by RPC and path, calls in flight, refusals by cause."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds in seconds."""


@dataclass(slots=True)
class Histogram:
    """Durations of one kind of call."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one call."""
        place = next((i for i, bound in enumerate(BUCKETS) if seconds <= bound), len(BUCKETS))
        self.counts[place] += 1
        self.total += seconds


class Meter:
    """Counted by the threads of the server, read by the scrape."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self.durations: dict[tuple[str, str], Histogram] = {}
        """By method and path: ``exec`` or ``fast`` of what was attached or detached, empty of other calls."""
        self.errors: Counter[tuple[str, str]] = Counter()
        """By method and status code."""
        self.in_flight = 0

    def begin(self) -> None:
        """A call has come."""
        with self._mutex:
            self.in_flight += 1

    def end(self, method: str, how: str, seconds: float, error: str = "") -> None:
        """It has ended, with a status code if it was refused."""
        with self._mutex:
            self.in_flight -= 1
            self.durations.setdefault((method, how), Histogram()).add(seconds)
            if error:
                self.errors[method, error] += 1

    def refuse(self, method: str, code: str) -> None:
        """A call was refused before it began."""
        with self._mutex:
            self.errors[method, code] += 1
