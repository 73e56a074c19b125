"""A router in a namespace, with the FIB driver running on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from typing import Any

from kroute.drivers.fib import Fib
from kroute.model.fib import Nexthop, Nexthops, ecmp
from kroute.model.net import Family, Nlri, nlri_of
from support.netns import SLACK, Lab, Namespace, until

V4, V6 = Family.IPV4, Family.IPV6
Changes = dict[Nlri, Nexthops | None]


class Router:
    """A namespace with two uplinks to a neighbour: v0 (192.0.0.0/24, fd00::/64) and v1 (192.0.1.0/24, fd00:1::/64)."""

    def __init__(self, lab: Lab) -> None:
        self.ns: Namespace = lab.namespace("r")
        self.peer: Namespace = lab.namespace("p")
        for number in (0, 1):
            lab.veth(self.ns, f"v{number}", self.peer, f"v{number}")
            self.ns.address(f"v{number}", f"192.0.{number}.1/24", f"fd00:{number}::1/64")
        self.index = {name: self.ns.ifindex(name) for name in ("v0", "v1")}

    def leg(self, gateway: str, interface: str = "", weight: int = 1) -> Nexthop:
        name = interface or ("v1" if ".1." in gateway or ":1:" in gateway else "v0")
        return Nexthop(ip_address(gateway).packed, self.index[name], weight)

    def via(self, *gateways: str) -> Nexthops:
        return ecmp({self.leg(gateway) for gateway in gateways})

    def routes(self, family: Family = V4, protocol: int = 201) -> list[str]:
        """What `ip route` shows of a protocol, one text per route."""
        flag = "-4" if family is V4 else "-6"
        shown = self.ns.ip(f"-o {flag} route show table all proto {protocol}")
        return sorted(" ".join(line.replace("\\", " ").split()) for line in shown.splitlines())

    @asynccontextmanager
    async def fib(self, **options: Any) -> AsyncIterator[Fib]:
        """A running driver that has read the table."""
        fib = Fib(netns=self.ns.path, **options)
        fib.start()
        try:
            await asyncio.wait_for(fib.quiesced(), 10 * SLACK)
            yield fib
        finally:
            fib.close()


def to(*prefixes: str, via: Nexthops | None) -> Changes:
    return {nlri_of(ip_network(prefix)): via for prefix in prefixes}


def many(count: int, via: Nexthops | None) -> Changes:
    return {bytes((24, 20, number >> 8, number & 255)): via for number in range(count)}


async def rests(fib: Fib) -> None:
    await asyncio.wait_for(fib.quiesced(), 20 * SLACK)


async def eventually(predicate: Callable[[], Any | Awaitable[Any]], what: str) -> None:
    await until(predicate, 10, what)
