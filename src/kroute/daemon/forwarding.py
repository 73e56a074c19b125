"""The FIB driver as configured, or what stands for it on a node that installs nothing."""

from __future__ import annotations

from kroute.drivers.fib import Fib
from kroute.model.config import Config
from kroute.model.net import Family


class NoFib:
    """Stands where the FIB driver does on a node that installs nothing."""

    def update(self, family: Family, changes: object) -> None:
        """Nothing is installed."""


def open_fib(config: Config, former: tuple[int, ...]) -> Fib:
    """A driver that begins to look at the kernel; ``former``: protocol ids of earlier lives."""
    fib = config.fib
    return Fib(
        protocol=fib.protocol,
        table=fib.table,
        metric=fib.metric,
        former_protocols=former,
        nexthop_objects=fib.nexthop_objects,
        audit_interval=float(fib.audit_interval),
    )
