"""Subjects with many peers: as route reflectors, each with the configuration that its own users would write."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from harness.bed import LOCAL, Bed
from harness.farm import Farm
from harness.subjects import ASN, Base, Bird, Frr, Gobgp, Kroute, node
from harness.wire import FEEDER, FEEDER_ASN

REFLECTOR = "10.9.250.1"
"""The reflector's address: the highest, so that it is the one that connects."""
LIMIT = 60.0


class ReflectingKroute(Kroute):
    """kroute as reflector of so many clients."""

    peers: tuple[str, ...] = ()
    takers: Collection[str] = ()
    """Of these, who is told several paths to a prefix."""

    def config(self) -> dict[str, Any]:
        found = super().config()
        found["peering"] = {"topology": "routeReflector", "routeReflector": {"nodes": ["n1"]}}
        if self.takers:
            found["peering"]["addPath"] = "send"
        return found

    def nodes(self) -> list[dict[str, Any]]:
        clients = (node(f"c{i}", a) for i, a in enumerate(self.peers))
        return [node("n1", REFLECTOR, "10.244.1.0/24"), *clients]


class ReflectingBird(Bird):
    """BIRD as reflector of so many clients."""

    peers: tuple[str, ...] = ()
    takers: Collection[str] = ()

    def start(self) -> None:
        text = f"router id {REFLECTOR};\nprotocol device {{}}\n"
        for i, a in enumerate(self.peers):
            several = " add paths tx;" * (a in self.takers)
            text += (
                f"protocol bgp c{i} {{ local {REFLECTOR} as {ASN}; neighbor {a} as {ASN}; direct; rr client;"
                f" connect delay time 0; ipv4 {{ import all; export all;{several} }}; }}\n"
            )
        self.launch(text)


class ReflectingFrr(Frr):
    """FRR as reflector of so many clients."""

    peers: tuple[str, ...] = ()
    takers: Collection[str] = ()

    def config(self) -> str:
        text = f"router bgp {ASN}\n bgp router-id {REFLECTOR}\n"
        for a in self.peers:
            text += f" neighbor {a} remote-as {ASN}\n neighbor {a} timers connect 1\n"
            text += f" neighbor {a} advertisement-interval 0\n"
        text += " address-family ipv4 unicast\n"
        text += "".join(f"  neighbor {a} route-reflector-client\n" for a in self.peers)
        text += "".join(f"  neighbor {a} addpath-tx-all-paths\n" for a in self.takers)
        return text


class ReflectingGobgp(Gobgp):
    """GoBGP as reflector of so many clients."""

    peers: tuple[str, ...] = ()

    def start(self) -> None:
        text = f'[global.config]\n as = {ASN}\n router-id = "{REFLECTOR}"\n port = -1\n'
        for a in self.peers:
            text += (
                f'[[neighbors]]\n [neighbors.config]\n neighbor-address = "{a}"\n peer-as = {ASN}\n'
                f' [neighbors.transport.config]\n local-address = "{REFLECTOR}"\n'
                " [neighbors.timers.config]\n connect-retry = 1\n idle-hold-time-after-reset = 1\n"
                " [neighbors.route-reflector.config]\n route-reflector-client = true\n"
                f' route-reflector-cluster-id = "{REFLECTOR}"\n'
                " [[neighbors.afi-safis]]\n [neighbors.afi-safis.config]\n"
                ' afi-safi-name = "ipv4-unicast"\n'
            )
        self.launch(text)


@contextmanager
def scene(
    kind: type[Base],
    peers: list[str],
    *,
    asn: int = FEEDER_ASN,
    local: str = LOCAL,
    takers: Collection[str] = (),
) -> Iterator[tuple[Base, Farm]]:
    """A subject with sessions to all these peers, established and quiet; ``takers`` take several paths to a prefix."""
    with Bed() as bed:
        here, there = bed.pair([FEEDER, *(p for p in peers if p != FEEDER)], local)
        with there.entered():
            farm = Farm(asn=asn, takers=takers)
        try:
            named = type(kind.__name__, (kind,), {"peers": tuple(peers), "takers": takers})
            subject = named(bed, here, kernel=False)
            subject.start()
            farm.run(lambda: len(farm.up) == len(peers), LIMIT)
            farm.rest(2.0)
            yield subject, farm
        finally:
            farm.close()
