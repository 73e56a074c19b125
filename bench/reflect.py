"""A reflector and its clients: all announce at once, and the last one has what all others announced."""

from __future__ import annotations

import time
from collections.abc import Iterator

from harness.bed import peer_addresses
from harness.figures import Complain, Row, alternate, row
from harness.proc import settle
from harness.reflectors import (
    REFLECTOR,
    ReflectingBird,
    ReflectingFrr,
    ReflectingGobgp,
    ReflectingKroute,
    scene,
)
from harness.subjects import ASN, Base
from harness.wire import attributes, packed

CLUSTERS = ((200, 1), (20, 1000))
"""Clients, and prefixes of each."""
PATHS = 4
TAKERS = 10
PATHS_TABLE = 10_000
"""Nodes that announce the same prefixes, clients that take all paths to them, and how many prefixes."""
QUIET = 1.0
LIMIT = 60.0
KINDS: dict[str, type[Base]] = {
    "kroute": ReflectingKroute,
    "bird": ReflectingBird,
    "frr": ReflectingFrr,
    "gobgp": ReflectingGobgp,
}


def reflect(kind: type[Base], clients: int, prefixes: int) -> float:
    """Every client announces its prefixes: seconds from the first byte until the last client has all others'."""
    settle()
    peers = peer_addresses(clients)
    wanted = (clients - 1) * prefixes
    with scene(kind, peers, asn=ASN, local=REFLECTOR) as (_, farm):
        sessions = [farm.up[a] for a in peers]
        tables = [
            packed(attributes(a, (), 100), prefixes, first=i * prefixes)
            for i, a in enumerate(peers)
        ]
        for session in sessions:
            session.reset()
        begun = time.monotonic()
        for session, data in zip(sessions, tables, strict=True):
            farm.send(session, data)
        farm.run(lambda: all(s.prefixes >= wanted for s in sessions), LIMIT, 0.01)
        return max(s.last for s in sessions) - begun


def reflect_paths(kind: type[Base]) -> float:
    """Four clients announce the same prefixes: seconds from the first byte until the last taker has all their paths."""
    settle()
    peers = peer_addresses(PATHS + TAKERS)
    tellers, takers = peers[:PATHS], peers[PATHS:]
    wanted = PATHS * PATHS_TABLE
    with scene(kind, peers, asn=ASN, local=REFLECTOR, takers=takers) as (_, farm):
        sessions = [farm.up[a] for a in takers]
        tables = [packed(attributes(a, (), 100), PATHS_TABLE) for a in tellers]
        for session in sessions:
            session.reset()
        begun = time.monotonic()
        for address, data in zip(tellers, tables, strict=True):
            farm.send(farm.up[address], data)
        farm.run(lambda: all(s.prefixes >= wanted for s in sessions), LIMIT, 0.01)
        # A path that is told twice counts twice, so the end is when nothing more comes.
        farm.rest(QUIET)
        return max(s.last for s in sessions) - begun


def rows(only: str | None, runs: int, complain: Complain) -> Iterator[Row]:
    """``reflect/{clients}x{prefixes}`` and ``reflect/paths`` in announcements that clients got, per second."""
    for clients, prefixes in CLUSTERS:
        name = f"reflect/{clients}x{prefixes}"
        if only and not name.startswith(only):
            continue
        told = clients * (clients - 1) * prefixes
        jobs = {
            subject: (lambda k=kind, c=clients, p=prefixes, t=told: t / reflect(k, c, p))
            for subject, kind in KINDS.items()
        }
        series = alternate(jobs, runs, lambda s, e, n=name: complain(f"{n}: {s}", e))
        note = f"all {clients} clients announce at once, until the last has what all others said"
        if found := row(name, "routes/s", series, note=note):
            yield found
    name = f"reflect/paths/{PATHS}x{PATHS_TABLE}"
    if only and not name.startswith(only):
        return
    told = TAKERS * PATHS * PATHS_TABLE
    jobs = {
        subject: (lambda k=KINDS[subject]: told / reflect_paths(k))
        for subject in ("kroute", "bird", "frr")
    }
    series = alternate(jobs, runs, lambda s, e: complain(f"{name}: {s}", e))
    note = f"{PATHS} clients announce the same prefixes, until {TAKERS} others have all paths to them (RFC 7911)"
    if found := row(name, "paths/s", series, note=note):
        yield found
