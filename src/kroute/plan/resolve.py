"""Next-hop resolution (RFC 4271 §9.1.2.1): which interface and gateway lead to a BGP next hop.

Looks at connected networks and at others' routes of the kernel, never at routes that kroute installed: a next
hop must not be reached through a route that depends on it. The default route does not count either: a pod
network sent there would go where everything unknown goes, and loop.

A link-local next hop is on the link of the session that told it (RFC 4291 §2.5.6): it is asked for *scoped*, 16 octets
and then the interface's name (:func:`scoped`), and needs no route.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kroute.model.fib import Nexthop, Nexthops
from kroute.model.kernel import KernelRoute, KernelState
from kroute.model.net import Family
from kroute.model.reason import Reason, Why

RTN_UNICAST = 1
"""linux/rtnetlink.h; other types (blackhole, unreachable) lead nowhere, nor do less specific routes below them."""

REMEMBERED = 100_000
"""Next hops whose resolution is remembered: more than nodes there are, and a bound to what a peer can make up."""

_IPV6_SIZE = 16
_new = tuple.__new__
"""Makes a NamedTuple of a tuple: half the price of its constructor, which counts where each node is a next hop."""

CONNECTED_METRIC = 0
ROUTED_METRIC = 1
NOT_CONNECTED = Reason(
    Why.NOT_CONNECTED,
    "seeded routes lead to next hops of connected networks only, and this is none",
)


class Resolution(NamedTuple):
    """The kernel legs that lead to a next hop, and the cost that the decision process compares."""

    nexthops: Nexthops
    metric: int


def is_link_local(nexthop: bytes) -> bool:
    """Whether it lies in fe80::/10."""
    return len(nexthop) == _IPV6_SIZE and nexthop[0] == 0xFE and nexthop[1] & 0xC0 == 0x80


def scoped(nexthop: bytes, interface: bytes) -> bytes:
    """What to ask a resolver for: a link-local next hop with the interface of its session, any other as it is."""
    return nexthop + interface if is_link_local(nexthop) else nexthop


class Resolver:
    """Resolves next hops against one reading of the kernel; answers are cached and shared."""

    def __init__(self, state: KernelState | None) -> None:
        self._cache: dict[bytes, Resolution | None] = {}
        self._forgot = False
        self._tables: dict[int, list[tuple[int, dict[int, KernelRoute]]]] = {4: [], 16: []}
        self._links: dict[str, int] = {}
        if state is not None:
            self._links = {link.name: link.index for link in state.links if link.up}
            up = {link.index for link in state.links if link.up}
            usable = [
                r for r in state.routes if r.prefix[0] and (r.oif in up or r.kind != RTN_UNICAST)
            ]
            self._tables = {size: _by_length(usable, family) for family, size in _SIZES}

    def resolve(self, nexthop: bytes) -> Resolution | None:
        """The way to a next hop of 4 or 16 octets or a scoped one, or None if there is none."""
        known = self._cache.get(nexthop, self)
        if known is not self:
            return known  # type: ignore[return-value]  # self stands for "not asked yet"
        if len(self._cache) >= REMEMBERED:
            self._cache.clear()
            self._forgot = True
        found = self._cache[nexthop] = self._lookup(nexthop)
        return found

    def differs(self, other: Resolver) -> frozenset[bytes] | None:
        """The next hops asked of the other resolver that this one leads to differently; None if it does not know
        any more what it was asked.
        """
        if other._forgot:
            return None
        return frozenset(hop for hop, found in other._cache.items() if self.resolve(hop) != found)

    def _lookup(self, nexthop: bytes) -> Resolution | None:
        size = len(nexthop)
        if size >= _IPV6_SIZE and is_link_local(nexthop[:_IPV6_SIZE]):
            return self._on_link(nexthop)
        number = int.from_bytes(nexthop, "big")
        for shift, table in self._tables.get(size, ()):
            route = table.get(number >> shift)
            if route is not None and route.kind != RTN_UNICAST:
                return None
            if route is not None:
                gateway = route.gateway or nexthop
                metric = ROUTED_METRIC if route.gateway else CONNECTED_METRIC
                return _new(Resolution, ((_new(Nexthop, (gateway, route.oif, 1)),), metric))
        return None

    def _on_link(self, scoped_nexthop: bytes) -> Resolution | None:
        interface = scoped_nexthop[_IPV6_SIZE:].decode(errors="replace")
        oif = self._links.get(interface)
        if oif is None:
            return None
        return Resolution((Nexthop(scoped_nexthop[:_IPV6_SIZE], oif),), CONNECTED_METRIC)


_SIZES = ((Family.IPV4, 4), (Family.IPV6, 16))


def _by_length(
    routes: Iterable[KernelRoute], family: Family
) -> list[tuple[int, dict[int, KernelRoute]]]:
    """Longest prefixes first: how far to shift an address, and the lowest-metric route of each prefix."""
    tables: dict[int, dict[int, KernelRoute]] = {}
    for route in sorted((r for r in routes if r.family is family), key=lambda r: -r.metric):
        length = route.prefix[0]
        number = int.from_bytes(route.prefix[1:].ljust(family.bits >> 3, b"\0"), "big") >> (
            family.bits - length
        )
        tables.setdefault(length, {})[number] = route
    return [(family.bits - length, tables[length]) for length in sorted(tables, reverse=True)]
