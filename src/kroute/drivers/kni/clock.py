"""Whether the node's clock can be trusted: ages of files mean nothing for a while after it was set."""

from __future__ import annotations

import time

_SLACK = 5.0
"""Seconds by which clocks may drift apart between two looks without either having been set."""


class Clock:
    """Compares the clock that can be set with the one that cannot, from look to look."""

    def __init__(self) -> None:
        self._apart = time.time() - time.monotonic()
        self._set = -float("inf")
        """When a look found that the clock had been set, monotonic."""

    def steady_for(self, seconds: float) -> bool:
        """Whether no look of the last ``seconds`` found the clock set, this one included."""
        now = time.monotonic()
        apart = time.time() - now
        if abs(apart - self._apart) > _SLACK:
            self._set = now
        self._apart = apart
        return now - self._set >= seconds
