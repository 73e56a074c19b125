"""What is known of the kernel's routes that bear our marks, and what one reading of them found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from kroute.codec.rtnetlink import KernelError
from kroute.codec.rtnetlink_route import RouteAction
from kroute.model.fib import Nexthop, Nexthops, Place, Placed
from kroute.model.net import Family, Nlri

BATCH = 256
"""Messages per send: fewer cost system calls, more lose errors in a small receive buffer."""

OTHER: Nexthops = (Nexthop(None, -1),)
"""Stands for a route of ours whose form is none we would write; equal to no desired one."""


class Stray(NamedTuple):
    """A place where routes of ours stand that nobody desires there: of an earlier configuration or policy."""

    protocol: int
    metric: int
    table: int = 254


class Refused(NamedTuple):
    """A route message that the kernel refused."""

    refusal: KernelError
    action: RouteAction
    family: Family
    nlri: Nlri


@dataclass(slots=True)
class Ledger:
    """What is known of one family."""

    installed: dict[Nlri, Nexthops] = field(default_factory=dict)
    """What the kernel holds under our protocol and metric, as far as we know."""
    aside: dict[Nlri, Placed] = field(default_factory=dict)
    """What it holds under our protocol in the table and with the metric that import policy set."""
    failed: dict[Nlri, str] = field(default_factory=dict)
    """Refused by the kernel: its words."""
    foreign: dict[Nlri, int] = field(default_factory=dict)
    """Prefixes whose place another protocol holds: its number."""
    contested: list[Nlri] = field(default_factory=list)
    """Refused because something is there (EEXIST), owner not looked up yet."""

    def held(self) -> dict[Nlri, Nexthops]:
        """What the kernel holds under our protocol anywhere, as far as we know."""
        return {**self.installed, **self.aside}


@dataclass(slots=True)
class Reading:
    """One dump of what bears our marks."""

    own: dict[Nlri, Nexthops] = field(default_factory=dict)
    """Under today's protocol, in our table, with our metric."""
    aside: dict[Place, dict[Nlri, Nexthops]] = field(default_factory=dict)
    """Under today's protocol anywhere else."""
    strays: dict[Stray, list[Nlri]] = field(default_factory=dict)
    """Under former protocols."""
    nhids: set[int] = field(default_factory=set)
    """Nexthop objects that any of them uses."""


def batches(nlris: list[Nlri]) -> Iterator[list[Nlri]]:
    """The list in runs of :data:`BATCH`."""
    for start in range(0, len(nlris), BATCH):
        yield nlris[start : start + BATCH]
