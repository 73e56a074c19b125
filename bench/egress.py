"""What it costs to tell many peers: a table of one's own, a client's table reflected, and silence."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.bed import LOCAL, Bed, peer_addresses
from harness.farm import Farm
from harness.figures import Complain, Row, Series, alternate, plain, row
from harness.proc import cpu_seconds, pss_mib, settle
from harness.subjects import ASN, Base, Bird, Frr, Kroute, node, write_nodes
from harness.wire import FEEDER, FEEDER_ASN, attributes, packed

TABLE = 10_000
PEERS = 50
IDLE = (50, 200)
IDLE_SECONDS = 10.0
LIMIT = 60.0
REFLECTOR = "10.9.250.1"
"""The reflector's address: the highest, so that it is the one that connects."""


class External(Kroute):
    """kroute with so many external peers, all told its podCIDRs."""

    peers: tuple[str, ...] = ()

    def config(self) -> dict[str, Any]:
        found = super().config()
        found["peering"]["peers"] = [
            {"name": f"p{i}", "address": a, "asn": FEEDER_ASN} for i, a in enumerate(self.peers)
        ]
        return found


class ReflectingKroute(Kroute):
    """kroute as reflector of so many clients."""

    peers: tuple[str, ...] = ()

    def config(self) -> dict[str, Any]:
        found = super().config()
        found["peering"] = {"topology": "routeReflector", "routeReflector": {"nodes": ["n1"]}}
        return found

    def nodes(self) -> list[dict[str, Any]]:
        clients = (node(f"c{i}", a) for i, a in enumerate(self.peers))
        return [node("n1", REFLECTOR, "10.244.1.0/24"), *clients]


class ReflectingBird(Bird):
    """BIRD as reflector of so many clients."""

    peers: tuple[str, ...] = ()

    def start(self) -> None:
        text = f"router id {REFLECTOR};\nprotocol device {{}}\n"
        for i, a in enumerate(self.peers):
            text += (
                f"protocol bgp c{i} {{ local {REFLECTOR} as {ASN}; neighbor {a} as {ASN}; direct; rr client;"
                " connect delay time 0; ipv4 { import all; export all; }; }\n"
            )
        self.launch(text)


class ReflectingFrr(Frr):
    """FRR as reflector of so many clients."""

    peers: tuple[str, ...] = ()

    def config(self) -> str:
        text = f"router bgp {ASN}\n bgp router-id {REFLECTOR}\n"
        for a in self.peers:
            text += f" neighbor {a} remote-as {ASN}\n neighbor {a} timers connect 1\n"
            text += f" neighbor {a} advertisement-interval 0\n"
        text += " address-family ipv4 unicast\n"
        text += "".join(f"  neighbor {a} route-reflector-client\n" for a in self.peers)
        return text


@contextmanager
def scene(
    kind: type[Base], peers: list[str], *, asn: int = FEEDER_ASN, local: str = LOCAL
) -> Iterator[tuple[Base, Farm]]:
    """A subject with sessions to all these peers, established and quiet."""
    with Bed() as bed:
        here, there = bed.pair([FEEDER, *(p for p in peers if p != FEEDER)], local)
        with there.entered():
            farm = Farm(asn=asn)
        try:
            subject = type(kind.__name__, (kind,), {"peers": tuple(peers)})(bed, here, kernel=False)
            subject.start()
            farm.run(lambda: len(farm.up) == len(peers), LIMIT)
            farm.rest(2.0)
            yield subject, farm
        finally:
            farm.close()


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


def originate(memory: Series) -> float:
    """10 000 podCIDRs appear in the inventory: seconds from the first UPDATE at any peer until the last has all."""
    settle()
    cidrs = [f"10.{128 + (i >> 8)}.{i & 255}.0/24" for i in range(TABLE)]
    with scene(External, peer_addresses(PEERS)) as (subject, farm):
        pids = subject.where.pids()
        before = pss_mib(pids)
        for session in farm.up.values():
            session.reset()
        write_nodes(subject.folder / "nodes.json", [node("n1", LOCAL, *cidrs)])
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
    if wanted(name := f"egress/originate/{PEERS}"):
        memory = Series()
        series = alternate(
            {"kroute": lambda: originate(memory) * 1e3},
            runs,
            lambda s, e: complain(f"{name}: {s}", e),
        )
        if series:
            note = "10 000 own prefixes, from the first UPDATE at any peer until all have all"
            yield plain(name, "ms", series["kroute"].values, note)
            yield plain(f"{name}/memory", "MiB", memory.values, "growth of PSS meanwhile")
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
