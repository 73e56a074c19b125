"""Sessions that one node holds: how soon they are up, what they cost, and whether their KEEPALIVEs are ever late."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from egress import REFLECTOR, External, ReflectingKroute
from harness.bed import LOCAL, Bed, peer_addresses
from harness.farm import Farm
from harness.figures import Complain, Row, Series, alternate, plain
from harness.proc import cpu_seconds, pss_mib, settle
from harness.subjects import ASN, Kroute
from harness.wire import FEEDER_ASN, attributes, packed

COUNTS = (100, 200, 500)
IDLE_SECONDS = 10.0
HOLD = 3
"""Seconds; so a KEEPALIVE is due each second."""
LOUD = 100
"""Sessions whose KEEPALIVEs are watched while one of them, or kroute itself, makes trouble."""
TABLE = 100_000
STOPPED = 15.0
LIMIT = 90.0


class Hasty(External):
    """kroute whose sessions have a hold time of three seconds."""

    def config(self) -> dict[str, Any]:
        found = super().config()
        found["bgp"]["holdTime"] = HOLD
        return found


class HastyReflector(ReflectingKroute):
    """A reflector with such sessions."""

    def config(self) -> dict[str, Any]:
        found = super().config()
        found["bgp"]["holdTime"] = HOLD
        return found


@contextmanager
def held(
    kind: type[Kroute], count: int, hold: int = 90
) -> Iterator[tuple[Kroute, Farm, tuple[float, float]]]:
    """A subject with so many sessions, and how long it took from its first connection, and from its start, until the
    last was up.
    """
    settle()
    peers = peer_addresses(count)
    reflects = issubclass(kind, ReflectingKroute)
    with Bed() as bed:
        here, there = bed.pair(peers, REFLECTOR if reflects else LOCAL)
        with there.entered():
            farm = Farm(asn=ASN if reflects else FEEDER_ASN, hold=hold)
        try:
            subject = type(kind.__name__, (kind,), {"peers": tuple(peers)})(bed, here, kernel=False)
            begun = time.monotonic()
            subject.start()
            farm.run(lambda: bool(farm.sessions), LIMIT, 0.01)
            first = time.monotonic()
            farm.run(lambda: len(farm.up) == count, LIMIT, 0.01)
            last = time.monotonic()
            yield subject, farm, (last - first, last - begun)
        finally:
            farm.close()


def costs(count: int, start: Series, idle: Series, memory: Series) -> float:
    """Seconds from the first connection until all are up; from the start of the process, percent of a core when
    idle and KiB a session on the way.
    """
    with held(External, 1) as (subject, farm, _):
        farm.rest(2.0)
        alone = pss_mib(subject.where.pids())
    with held(External, count) as (subject, farm, (took, started)):
        start.values.append(started)
        farm.rest(3.0)
        pids = subject.where.pids()
        memory.values.append((pss_mib(pids) - alone) * 1024 / (count - 1))
        before = cpu_seconds(pids)
        farm.rest(IDLE_SECONDS)
        idle.values.append((cpu_seconds(pids) - before) / IDLE_SECONDS * 100)
        return took


def arrive(_: Kroute, farm: Farm) -> None:
    """One peer tells 100 000 prefixes."""
    first = next(iter(farm.up))
    farm.send(farm.up[first], packed(attributes(first, (FEEDER_ASN,)), TABLE))
    farm.rest(5.0)


def leave(_: Kroute, farm: Farm) -> None:
    """One client tells 100 000 prefixes, and they are reflected to all others."""
    first, *others = farm.up
    farm.send(farm.up[first], packed(attributes(first, (), 100), TABLE))
    farm.run(lambda: all(farm.up[other].prefixes >= TABLE for other in others), LIMIT)
    farm.rest(2.0)


def stop(subject: Kroute, farm: Farm) -> None:
    """The daemon is stopped; its speaker is not."""
    daemon = min(subject.where.pids())
    os.kill(daemon, signal.SIGSTOP)
    try:
        farm.rest(STOPPED)
    finally:
        os.kill(daemon, signal.SIGCONT)
    farm.rest(3.0)


Trouble = Callable[[Kroute, Farm], None]

TROUBLES: dict[str, tuple[type[Kroute], Trouble, str]] = {
    "arrive": (Hasty, arrive, "while 100 000 prefixes of one peer arrive"),
    "leave": (
        HastyReflector,
        leave,
        "while 100 000 prefixes of a client are reflected to all others",
    ),
    "stopped": (Hasty, stop, "while the daemon is stopped for 15 s"),
}


def gap(kind: type[Kroute], trouble: Trouble) -> float:
    """The longest time between two KEEPALIVEs of any session; one is due each second."""
    with held(kind, LOUD, HOLD) as (subject, farm, _):
        farm.rest(3.0)
        known = {session: len(session.keepalives) for session in farm.up.values()}
        trouble(subject, farm)
        if len(farm.up) != LOUD:
            raise RuntimeError(f"{LOUD - len(farm.up)} sessions were lost")
        return max(
            later - earlier
            for session, before in known.items()
            for earlier, later in itertools.pairwise(session.keepalives[before - 1 :])
        )


def rows(only: str | None, runs: int, complain: Complain, *, quick: bool = False) -> Iterator[Row]:
    """``sessions/up/N`` and ``sessions/start/N`` in s, ``sessions/idle/N`` in percent of a core, ``sessions/memory/N``
    in KiB a session, and ``sessions/keepalive/…`` in s between two KEEPALIVEs.
    """

    def wanted(name: str) -> bool:
        return not only or name.startswith(only) or only.startswith(name)

    for count in COUNTS[:1] if quick else COUNTS:
        if not any(
            wanted(f"sessions/{what}/{count}") for what in ("up", "start", "idle", "memory")
        ):
            continue
        start, idle, memory = Series(), Series(), Series()
        measure = {"kroute": lambda c=count, s=start, i=idle, m=memory: costs(c, s, i, m)}
        series = alternate(measure, runs, lambda s, e, c=count: complain(f"sessions/{c}: {s}", e))
        if series:
            note = "from the first connection until the last session is up"
            yield plain(f"sessions/up/{count}", "s", series["kroute"].values, note)
            note = "from the start of the process: two Pythons start on the way"
            yield plain(f"sessions/start/{count}", "s", start.values, note)
            words = "daemon and speaker, sessions up, nothing to do"
            yield plain(f"sessions/idle/{count}", "% of a core", idle.values, words)
            words = "PSS of daemon and speaker above that with one session"
            yield plain(f"sessions/memory/{count}", "KiB/session", memory.values, words)
    for name, (kind, trouble, words) in TROUBLES.items():
        if wanted(row := f"sessions/keepalive/{name}"):
            series = alternate(
                {"kroute": lambda k=kind, t=trouble: gap(k, t)},
                runs,
                lambda s, e, r=row: complain(f"{r}: {s}", e),
            )
            if series:
                note = f"longest wait for a KEEPALIVE that is due each second, {LOUD} sessions, {words}"
                yield plain(row, "s", series["kroute"].values, note)
