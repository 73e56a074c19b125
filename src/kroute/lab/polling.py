"""Waiting for a state, with a deadline: the only way the lab waits."""

from __future__ import annotations

import time
from collections.abc import Iterator


def attempts(seconds: float, pause: float = 0.1) -> Iterator[int]:
    """Counts attempts, 0 first, ``pause`` seconds apart, until ``seconds`` are over; at least one, and the last
    one begins after the deadline, so that no state that was reached in time is missed."""
    deadline = time.monotonic() + seconds
    count = 0
    late = False
    while True:
        yield count
        if late:
            return
        count += 1
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        late = time.monotonic() >= deadline
