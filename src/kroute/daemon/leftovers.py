"""Routes of an earlier life go as soon as nobody for whom we wait can announce them any more (law 2)."""

from __future__ import annotations

import logging

from kroute.drivers.fib import Fib
from kroute.model.net import Family
from kroute.model.state import Desired
from kroute.plan.leftovers import Guard
from kroute.plan.routing import Routing

log = logging.getLogger(__name__)


def release(fib: Fib, desired: Desired, routing: Routing) -> None:
    """Let them go; to be called now and then until everything is in sync."""
    if desired.vouched is None or not desired.complete:
        return
    guard = Guard(desired.vouched, routing.peers.values())
    for family in () if guard.everything else Family:
        gone = guard.releases(family, fib.leftovers(family), desired.owners)
        if gone:
            fib.release(family, gone)
            log.info(
                "routes of an earlier life removed family=%s count=%d", family.label, len(gone)
            )
