"""What the kernel's forwarding table holds: next hops, alone or as an ECMP set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from kroute.model.net import Family, Nlri


class Nexthop(NamedTuple):
    """One leg of a route.

    ``gateway`` is 4 or 16 octets (an IPv4 route may have an IPv6 gateway, RTA_VIA), or None for on-link;
    ``oif`` the interface index, 0 to let the kernel find it; ``weight`` 1 to 256 as in `ip route … weight`.
    """

    gateway: bytes | None
    oif: int
    weight: int = 1


Nexthops = tuple[Nexthop, ...]
"""One leg, or an ECMP set in canonical order (see :func:`ecmp`). Hashable, and shared between routes.

No leg at all is a blackhole: packets are dropped and no less specific route is asked.
"""


class Place(NamedTuple):
    """Which routing table a route stands in, and its metric; 0 means the FIB's own (`fib.table`, `fib.metric`)."""

    table: int = 0
    metric: int = 0


OWN_PLACE = Place()


class Placed(tuple[Nexthop, ...]):
    """:data:`Nexthops` of a route with a place of its own; equal only to such with the same place."""

    place: Place

    def __new__(cls, nexthops: Nexthops, place: Place) -> Placed:
        """These legs, at that place."""
        made = super().__new__(cls, nexthops)
        made.place = place
        return made

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is Placed
            and self.place == other.place
            and tuple.__eq__(self, other) is True
        )

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((tuple.__hash__(self), self.place))


def placed(nexthops: Nexthops, place: Place) -> Nexthops:
    """These legs at a place; as they are where that is the FIB's own."""
    return nexthops if place == OWN_PLACE else Placed(nexthops, place)


def place_of(nexthops: Nexthops | None) -> Place:
    """Where a route over these legs stands."""
    return nexthops.place if isinstance(nexthops, Placed) else OWN_PLACE


def place_words(place: Place) -> str:
    """What is not as the FIB has it anyway, as `ip route` says it."""
    said = (("table", place.table), ("metric", place.metric))
    return " ".join(f"{name} {number}" for name, number in said if number)


def ecmp(legs: set[Nexthop]) -> Nexthops:
    """The canonical set of these legs: sorted, so that equal sets compare equal to what a dump returns."""
    return tuple(sorted(legs, key=lambda leg: (leg.oif, leg.gateway or b"", leg.weight)))


class Fate(StrEnum):
    """What the kernel does with a packet, by rtm_type of the route that it finds (rtnetlink(7))."""

    FORWARDED = "forwarded"
    LOCAL = "local"
    BLACKHOLE = "blackhole"
    UNREACHABLE = "unreachable"
    PROHIBIT = "prohibit"
    NO_ROUTE = "no route"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """The route by which the kernel sends a packet of this node to an address: `ip route get fibmatch ADDRESS`.

    All but ``fate`` has its default where the kernel does not name the route, as of what a rule drops.
    """

    fate: Fate
    prefix: Nlri = b""
    table: int = 0
    protocol: int = 0
    metric: int = 0
    nexthops: Nexthops = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteFailure:
    """A route that is desired and not in the kernel, and why; it is retried when links or addresses change."""

    family: Family
    nlri: Nlri
    reason: str
    """The kernel's own words, with the name of the errno."""
    owner: int = 0
    """Protocol that holds the route's place (prefix, table and metric); 0 if that is not the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FibState:
    """How the kernel's table stands to what it should be; counts are per family where it says so."""

    complete: bool = False
    """Removals are allowed (law 2)."""
    synced: bool = False
    """A whole comparison was done since start, and everything known to differ has been written or has failed."""
    pending: int = 0
    """Changes that the writer has not taken yet."""
    desired: Mapping[Family, int] = field(default_factory=dict)
    installed: Mapping[Family, int] = field(default_factory=dict)
    failed: int = 0
    foreign: int = 0
    """Desired routes whose place (prefix, table and metric) another protocol holds; left alone."""
    failures: tuple[RouteFailure, ...] = ()
    """A few examples of failed and foreign ones."""
    last_sync: float | None = None
    """Monotonic time of the last whole comparison, seconds."""
    sync_seconds: float = 0.0
    """How long that took."""
    syncs: int = 0
    batches: int = 0
    written: int = 0
    """Route messages sent since start."""
    heals: int = 0
    """Own routes that others removed or changed, written again."""
    overruns: int = 0
    """Times that the kernel dropped events or errors; each led to a whole comparison."""
    adopted: int = 0
    """Routes of an earlier life found as they should be by the first comparison, and not written again."""
    nexthop_objects: int = 0
    """Kernel nexthop objects of ours; 0 where routes name their next hops themselves."""
    error: str = ""
    """What keeps the driver from working at all, empty if nothing does."""
