"""``python watched.py OUT FILE``: `kroute run --config FILE` with a watch on the daemon's event loop.

A task sleeps a millisecond at a time and keeps how late each waking was. When the file OUT.ask appears, the figures
go to OUT, OUT.ask is removed, and the watch starts from nought.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from kroute.cli import main
from kroute.daemon import Daemon

STEP = 0.001


async def watch(out: Path) -> None:
    """Keep the latenesses for ever."""
    ask = out.with_suffix(".ask")
    late: list[tuple[float, float]] = []
    next_look, queued = 0.0, waited_for_a_core()
    while True:
        begun = time.monotonic()
        await asyncio.sleep(STEP)
        now, before = time.monotonic(), queued
        queued = waited_for_a_core()
        lateness = now - begun - STEP
        late.append((lateness, max(0.0, lateness - (queued - before))))
        if now >= next_look:
            next_look = now + 0.1
            late = tell(late, ask, out)


def waited_for_a_core() -> float:
    """Seconds that this thread was ready to run and had no core (the second field of schedstat)."""
    with Path("/proc/thread-self/schedstat").open("rb") as file:
        return int(file.read().split()[1]) / 1e9


def tell(late: list[tuple[float, float]], ask: Path, out: Path) -> list[tuple[float, float]]:
    """Answer if asked; what is to be kept."""
    if not ask.exists():
        return late
    whole, own = sorted(pair[0] for pair in late), sorted(pair[1] for pair in late)
    p99 = int(len(late) * 0.99)
    out.write_text(json.dumps({"max": whole[-1], "p99": whole[p99], "own": own[-1]}))
    ask.unlink()
    return []


def start(out: Path, file: str) -> int:
    """Run the daemon, watched."""
    plain = Daemon.run

    async def run(self: Daemon) -> None:
        task = asyncio.create_task(watch(out))
        try:
            await plain(self)
        finally:
            task.cancel()

    Daemon.run = run  # type: ignore[method-assign]
    return main(["run", "--config", file])


if __name__ == "__main__":
    sys.exit(start(Path(sys.argv[1]), sys.argv[2]))
