"""What it costs to tell many peers: a table of one's own, a client's table reflected, and silence."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from harness.bed import peer_addresses
from harness.figures import Complain, Row, Series, alternate, plain, row
from harness.proc import cpu_seconds, pss_mib, settle
from harness.reflectors import REFLECTOR, ReflectingBird, ReflectingFrr, ReflectingKroute, scene
from harness.subjects import ASN, Base, Kroute
from harness.wire import FEEDER, FEEDER_ASN, attributes, packed

TABLE = 10_000
PEERS = 50
IDLE = (50, 200)
IDLE_SECONDS = 10.0
LIMIT = 60.0


class External(Kroute):
    """kroute with so many external peers, all told its podCIDRs."""

    peers: tuple[str, ...] = ()

    def config(self) -> dict[str, Any]:
        found = super().config()
        found["peering"]["peers"] = [
            {"name": f"p{i}", "address": a, "asn": FEEDER_ASN} for i, a in enumerate(self.peers)
        ]
        return found


def reflect(kind: type[Base]) -> float:
    """A client announces the table: seconds from its first byte until the last other client has all of it."""
    settle()
    peers = [FEEDER, *peer_addresses(PEERS)]
    data = packed(attributes(FEEDER, (), 100), TABLE)
    with scene(kind, peers, asn=ASN, local=REFLECTOR) as (_, farm):
        others = [s for a, s in farm.up.items() if a != FEEDER]
        for session in others:
            session.reset()
        begun = time.monotonic()
        farm.send(farm.up[FEEDER], data)
        farm.run(lambda: all(s.prefixes >= TABLE for s in others), LIMIT, 0.01)
        return max(s.last for s in others) - begun


def originate(count: int, memory: Series) -> float:
    """A service of 10 000 prefixes is configured: seconds from the first UPDATE at any peer until the last has all."""
    settle()
    prefixes = [f"10.{128 + (i >> 8)}.{i & 255}.0/24" for i in range(TABLE)]
    with scene(External, peer_addresses(count)) as (subject, farm):
        pids = subject.where.pids()
        before = pss_mib(pids)
        for session in farm.up.values():
            session.reset()
        config = subject.config() | {"services": {"static": [{"name": "s", "prefixes": prefixes}]}}
        (subject.folder / "kroute.yaml").write_text(json.dumps(config))
        sessions = list(farm.up.values())
        farm.run(lambda: all(s.prefixes >= TABLE for s in sessions), LIMIT, 0.01)
        memory.values.append(pss_mib(pids) - before)
        return max(s.last for s in sessions) - min(s.first for s in sessions)


def idle(count: int) -> float:
    """Percent of a core that daemon and speaker use while nothing happens."""
    settle()
    with scene(External, peer_addresses(count)) as (subject, farm):
        pids = subject.where.pids()
        farm.rest(2.0)
        before = cpu_seconds(pids)
        farm.rest(IDLE_SECONDS)
        return (cpu_seconds(pids) - before) / IDLE_SECONDS * 100


def rows(only: str | None, runs: int, complain: Complain, *, quick: bool = False) -> Iterator[Row]:
    """``egress/…`` in ms and ``idle/…`` in percent of a core."""

    def wanted(name: str) -> bool:
        return not only or name.startswith(only)

    if wanted(name := f"egress/reflect/{PEERS}"):
        kinds = {"kroute": ReflectingKroute, "bird": ReflectingBird, "frr": ReflectingFrr}
        jobs = {n: (lambda k=k: reflect(k) * 1e3) for n, k in kinds.items()}
        series = alternate(jobs, runs, lambda s, e: complain(f"{name}: {s}", e))
        note = "10 000 prefixes of a client, from its first byte until all others have all"
        found = row(name, "ms", series, note=note)
        if found:
            yield found
    for count in (1, PEERS):
        if wanted(name := f"egress/originate/{count}"):
            memory = Series()
            series = alternate(
                {"kroute": lambda c=count, m=memory: originate(c, m) * 1e3},
                runs,
                lambda s, e, n=name: complain(f"{n}: {s}", e),
            )
            if series:
                note = "10 000 own prefixes, from the first UPDATE at any peer until all have all"
                yield plain(name, "ms", series["kroute"].values, note)
                note = "growth of PSS meanwhile: the table itself, and what more peers add to it"
                yield plain(f"{name}/memory", "MiB", memory.values, note)
    for count in IDLE:
        if wanted(name := f"idle/{count}"):
            series = alternate(
                {"kroute": lambda c=count: idle(c)},
                runs,
                lambda s, e, n=name: complain(f"{n}: {s}", e),
            )
            if series:
                yield plain(
                    name, "% of a core", series["kroute"].values, "daemon and speaker, sessions up"
                )
