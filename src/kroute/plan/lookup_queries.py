"""What the kernel does with packets to an address: that part of `kroute why`, where our routes are not all there is."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Final

from kroute.model.fib import Fate, Lookup, Nexthop
from kroute.model.net import Address, Family, address_of, prefix_of

_PROTOCOLS: Final[Mapping[int, str]] = {
    2: "kernel",
    3: "boot",
    4: "static",
    9: "ra",
    11: "zebra",
    12: "bird",
    16: "dhcp",
    186: "bgp",
}
"""As iproute2 calls them (/etc/iproute2/rt_protos)."""

_MAIN_TABLES: Final = (0, 253, 254, 255)
"""unspecified, default, main, local: those that are asked without a rule of somebody's."""

NameOf = Callable[[int], str]
"""The name of the interface of an index."""


def can_be_looked_up(address: Address) -> bool:
    """Whether the kernel's answer is one about routes, whichever interface a packet would leave by."""
    return not (address.is_unspecified or address.is_multicast or address.is_link_local)


def beside_ours(found: Lookup, address: Address, protocols: Container[int], name_of: NameOf) -> str:
    """How the kernel departs from our route, which it has; empty where it does not."""
    if found.prefix and found.protocol in protocols:
        return ""
    if found.fate is Fate.FORWARDED:
        return f"but it forwards {address} by a route of others: {_route(found, address, name_of)}"
    return f"but {_end(found, address, name_of)}"


def without_ours(
    found: Lookup, address: Address, protocols: Container[int], name_of: NameOf
) -> str:
    """What the kernel does with an address that we have no route to."""
    if found.fate is not Fate.FORWARDED:
        return _end(found, address, name_of)
    route = _route(found, address, name_of)
    if found.protocol in protocols:
        return f"the kernel still forwards {address} by our route of an earlier life: {route}"
    return f"the kernel forwards {address} by a route of others: {route}"


def _end(found: Lookup, address: Address, name_of: NameOf) -> str:
    """What becomes of packets that are not forwarded."""
    if found.fate is Fate.LOCAL:
        return f"{address} is this node's own"
    if found.fate is Fate.NO_ROUTE:
        return f"the kernel has no route to {address}"
    what = _route(found, address, name_of) if found.prefix else f"{found.fate} by a route or rule"
    return f"the kernel drops packets to {address}: {what}"


def _route(found: Lookup, address: Address, name_of: NameOf) -> str:
    """A route as `ip route` prints it."""
    family = Family.IPV4 if address.version == 4 else Family.IPV6
    words = [] if found.fate is Fate.FORWARDED else [str(found.fate)]
    words.append("default" if found.prefix[0] == 0 else str(prefix_of(family, found.prefix)))
    for leg in found.nexthops:
        words += ["nexthop"] * (len(found.nexthops) > 1) + _leg(leg, name_of)
    words += ["proto", _PROTOCOLS.get(found.protocol, str(found.protocol))]
    words += [] if found.table in _MAIN_TABLES else ["table", str(found.table)]
    return " ".join([*words, *(["metric", str(found.metric)] if found.metric else [])])


def _leg(leg: Nexthop, name_of: NameOf) -> list[str]:
    via = ["via", str(address_of(leg.gateway))] if leg.gateway else []
    return [*via, *(["dev", name_of(leg.oif)] if leg.oif else [])]
