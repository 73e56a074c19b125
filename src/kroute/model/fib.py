"""What the kernel's forwarding table holds: next hops, alone or as an ECMP set."""

from __future__ import annotations

from typing import NamedTuple


class Nexthop(NamedTuple):
    """One leg of a route.

    ``gateway`` is 4 or 16 octets (an IPv4 route may have an IPv6 gateway, RTA_VIA), or None for on-link;
    ``oif`` the interface index, 0 to let the kernel find it; ``weight`` 1 to 256 as in `ip route … weight`.
    """

    gateway: bytes | None
    oif: int
    weight: int = 1


Nexthops = tuple[Nexthop, ...]
"""One leg, or an ECMP set in canonical order (see :func:`ecmp`). Hashable, and shared between routes."""


def ecmp(legs: set[Nexthop]) -> Nexthops:
    """The canonical set of these legs: sorted, so that equal sets compare equal to what a dump returns."""
    return tuple(sorted(legs, key=lambda leg: (leg.oif, leg.gateway or b"", leg.weight)))
