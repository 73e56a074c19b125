"""Stored announcements are judged again in turns with all else that the event loop has to do.

A change of policy over a full table is seconds of work. What arrives meanwhile is judged by the new rules at once
(:mod:`kroute.plan.review`); no session, kernel event or question waits for longer than one turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kroute.daemon.road import Road

SLICE = 128
"""Stored prefixes that are judged again in one go: 2 ms or so where each has an attribute block of its own."""

TURN = 0.004
"""Seconds after which a turn begins no further slice."""


async def review(road: Road, clock: Callable[[], float]) -> None:
    """Go on with whatever review is unfinished, until cancelled."""
    while True:
        await road.unfinished.wait()
        road.unfinished.clear()
        turn(road, clock)
        await asyncio.sleep(0)


def turn(road: Road, clock: Callable[[], float]) -> None:
    """One turn of a review: slices, each with all its consequences for kernel and peers."""
    until, waiting = clock() + TURN, road.routing.rib.review
    while waiting.going_on and clock() < until:
        road.flush()
