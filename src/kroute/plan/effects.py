"""What follows from events on sessions: for the kernel, and for the peers."""

from __future__ import annotations

from dataclasses import dataclass, field

from kroute.model.fib import Nexthops
from kroute.model.net import Family, Nlri
from kroute.plan.adj_out import Tell


@dataclass(slots=True)
class Effects:
    """Consequences collected since the last flush."""

    fib: dict[Family, dict[Nlri, Nexthops | None]] = field(default_factory=dict)
    tells: list[Tell] = field(default_factory=list)
