"""What concerns a whole table is done in turns with all else that the event loop has to do: stored announcements are
judged again, peers that have joined are told everything.

A change of policy over a full table is seconds of work, and so is the table for a new peer. What arrives meanwhile is
judged by the new rules at once (:mod:`kroute.plan.review`) and told at once (:mod:`kroute.plan.joining`); no session,
kernel event or question waits for longer than one turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kroute.daemon.road import Road

SLICE = 128
"""Prefixes that are judged again, or told, in one go: 2 ms or so where each has an attribute block of its own."""

TURN = 0.004
"""Seconds after which a turn begins no further slice."""


async def review(road: Road, clock: Callable[[], float]) -> None:
    """Go on with whatever is unfinished, until cancelled."""
    while True:
        await road.unfinished.wait()
        road.unfinished.clear()
        turn(road, clock)
        await asyncio.sleep(0)


def turn(road: Road, clock: Callable[[], float]) -> None:
    """One turn: slices, each with all its consequences for kernel and peers."""
    until, routing = clock() + TURN, road.routing
    while routing.is_busy and clock() < until:
        road.flush()
