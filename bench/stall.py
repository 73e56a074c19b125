"""Does one loud peer hold up the others? 100 000 prefixes arrive; a second session has a hold time of 3 seconds. And
does one that joins, and is told as many?

The event loop is watched from inside by ``bench/harness/watched.py``, which runs the real daemon with a task that
wants to wake up every millisecond and notes how late it was.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.bed import Bed, BenchError
from harness.farm import Farm
from harness.figures import Complain, Row, Series, alternate, plain
from harness.proc import settle
from harness.subjects import HERE, Kroute
from harness.wire import EACH_ITS_OWN, END_OF_RIB, FEEDER, FEEDER_ASN, NODES, ROUTE_REFRESH, table

COUNT = 100_000
QUIET = "10.9.1.1"
HOLD = 3
CALM = 5.0
LIMIT = 60.0
LASTING = 6.0


class Watched(Kroute):
    """The daemon with a watch on its loop."""

    def config(self) -> dict[str, Any]:
        found = super().config()
        peers = found["peering"]["peers"]
        peers.append({"name": "quiet", "address": QUIET, "asn": FEEDER_ASN, "holdTime": HOLD})
        peers[0]["holdTime"] = HOLD
        return found

    def command(self) -> list[str]:
        return [sys.executable, str(HERE / "harness" / "watched.py"), str(self.folder / "watch")]

    def watched(self) -> dict[str, float]:
        """What the watch has seen since it was last asked: seconds."""
        (self.folder / "watch.ask").touch()
        end = time.monotonic() + 10
        while (self.folder / "watch.ask").exists():
            if time.monotonic() > end:
                raise BenchError("the watch does not answer")
            time.sleep(0.01)
        found: dict[str, float] = json.loads((self.folder / "watch").read_text())
        return found


class Passing(Watched):
    """The same, with a second peer that is told what the first one tells."""

    def config(self) -> dict[str, Any]:
        found = super().config()
        found["peering"]["peers"][1]["announce"] = ["external"]
        return found


@contextmanager
def two_peers(kind: type[Watched], *, kernel: bool) -> Iterator[tuple[Farm, Watched]]:
    """A daemon that is up with a peer that announces and a quiet one."""
    settle()
    with Bed() as bed:
        here, there = bed.pair([FEEDER, QUIET])
        with there.entered():
            farm = Farm(hold=HOLD)
        try:
            subject = kind(bed, here, kernel=kernel)
            subject.start()
            farm.run(lambda: len(farm.up) == 2, LIMIT)
            yield farm, subject
        finally:
            farm.close()


def join(shape: str, loop: Series, told: Series) -> float:
    """A peer joins when the table is there and is told all of it: the longest stall meanwhile in ms."""
    with two_peers(Passing, kernel=False) as (farm, subject):
        # A session that has lasted comes back at once.
        farm.rest(LASTING)
        farm.leave(farm.up[QUIET])
        farm.send(farm.up[FEEDER], table(shape, COUNT, EACH_ITS_OWN) + END_OF_RIB)
        farm.run(lambda: QUIET in farm.up, LIMIT)
        farm.run(lambda: farm.up[QUIET].prefixes >= COUNT, LIMIT)
        farm.rest(LASTING)
        subject.watched()
        farm.leave(farm.up[QUIET])
        farm.run(lambda: QUIET in farm.up, LIMIT, 0.005)
        joiner, begun = farm.up[QUIET], time.monotonic()
        farm.run(lambda: joiner.prefixes >= COUNT, LIMIT, 0.005)
        told.values.append((joiner.last - begun) * 1e3)
        farm.rest(1.0)
        found = subject.watched()
    loop.values.append(found["own"] * 1e3)
    return found["max"] * 1e3


def run(shape: str, loop: dict[str, Series], keepalive: Series) -> float:
    """One flood; the longest stall in ms."""
    with two_peers(Watched, kernel=True) as (farm, subject):
        farm.send(farm.up[FEEDER], END_OF_RIB)
        farm.rest(CALM)
        subject.watched()
        quiet, feeder = farm.up[QUIET], farm.up[FEEDER]
        calm = _longest_gap(quiet.keepalives)
        known = len(quiet.keepalives)
        feeder.reset()
        nexthops = NODES if shape == "nodes" else EACH_ITS_OWN
        farm.send(feeder, table(shape, COUNT, nexthops) + ROUTE_REFRESH)
        farm.run(lambda: feeder.prefixes > 0, LIMIT, 0.005)
        farm.rest(2.5)
        if len(farm.up) != 2:
            raise BenchError("a session was lost")
        gap = _longest_gap(quiet.keepalives[known - 1 :])
        found = subject.watched()
    for key, seconds in found.items():
        loop.setdefault(key, Series()).values.append(seconds * 1e3)
    keepalive.values.append(max(0.0, gap - calm) * 1e3)
    return found["max"] * 1e3


def _longest_gap(moments: list[float]) -> float:
    return max((b - a for a, b in itertools.pairwise(moments)), default=0.0)


def rows(only: str | None, runs: int, complain: Complain, *, quick: bool = False) -> Iterator[Row]:
    """``stall/loop/…``, ``stall/keepalive/…`` and ``stall/join/…`` in ms."""
    for shape in ("packed", "nodes", "distinct"):
        name, other = f"stall/loop/{shape}", f"stall/keepalive/{shape}"
        if only and not (name.startswith(only) or other.startswith(only)):
            continue
        loop: dict[str, Series] = {}
        keepalive = Series()
        job = {"kroute": lambda s=shape, a=loop, b=keepalive: run(s, a, b)}
        alternate(job, runs, lambda s, e, n=name: complain(f"{n}: {s}", e))
        if loop:
            note = "longest lateness of a task of the daemon's loop, while 100 000 prefixes go to the kernel"
            found = plain(name, "ms", loop["max"].values, note)
            found["p99"] = round(loop["p99"].median, 2)
            yield found
            note = "the same without the time that the daemon's thread was ready but had no core"
            yield plain(f"stall/loop-own/{shape}", "ms", loop["own"].values, note)
            note = (
                "the quiet peer's longest gap between KEEPALIVEs, less its longest in a calm time"
            )
            yield plain(other, "ms", keepalive.values, note)
    yield from _join_rows(only, runs, complain)


def _join_rows(only: str | None, runs: int, complain: Complain) -> Iterator[Row]:
    for shape in ("packed", "distinct"):
        name = f"stall/join/{shape}"
        if only and not name.startswith(only):
            continue
        own, told = Series(), Series()
        job = {"kroute": lambda s=shape, a=own, b=told: join(s, a, b)}
        found = alternate(job, runs, lambda s, e, n=name: complain(f"{n}: {s}", e))
        if found:
            note = "longest lateness of a task of the loop, while 100 000 prefixes are told to a peer that joins"
            yield plain(name, "ms", found["kroute"].values, note)
            note = "the same without the time that the daemon's thread was ready but had no core"
            yield plain(f"{name}/own", "ms", own.values, note)
            yield plain(
                f"{name}/told", "ms", told.values, "from its first KEEPALIVE until it has all"
            )
