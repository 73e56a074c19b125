"""A peer that notes how long KEEPALIVEs let it wait: a program of its own, so that nothing a bench does makes it late.

``python -m harness.listener HOLD`` prints a line when the session is up; each line it reads is answered with the
longest wait since the one before, in seconds.
"""

from __future__ import annotations

import select
import sys
import time
from itertools import pairwise

from harness.farm import Farm

START = 30.0
"""Seconds in which the session has to come up."""


def main() -> None:
    """Serve until the input ends, or the session."""
    farm = Farm(hold=int(sys.argv[1]))
    farm.run(lambda: any(session.keepalives for session in farm.up.values()), START)
    (session,) = farm.up.values()
    print("up", flush=True)
    while farm.up:
        farm.turn(0.02)
        if select.select([sys.stdin], [], [], 0)[0]:
            if not sys.stdin.readline():
                return
            seen = [*session.keepalives, time.monotonic()]
            print(max(later - earlier for earlier, later in pairwise(seen)), flush=True)
            del session.keepalives[:-1]


if __name__ == "__main__":
    main()
