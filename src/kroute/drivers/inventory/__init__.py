"""Where nodes and services come from: one interface, a driver for each kind of source.

A driver tells the whole list first (:class:`~kroute.model.inventory.Listed`), then what changes. While its source does
not answer it says so and takes nothing back. To add one: a file here with ``watch(emit)``, its parser in ``codec``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, assert_never

from kroute.model.config import Inventory, InventoryKind
from kroute.model.inventory import InventoryEvent

Emit = Callable[[InventoryEvent], None]


class InventoryDriver(Protocol):
    """What every inventory driver is."""

    async def watch(self, emit: Emit) -> None:
        """Tell of nodes until cancelled; ``emit`` is called in the event loop."""


def inventory_driver(config: Inventory, me: str = "", *, services: bool = False) -> InventoryDriver:
    """The driver of the configured kind; the others are not even imported. ``me`` is the name of the own node;
    ``services``: follow these as well.
    """
    match config.kind:
        case InventoryKind.STATIC:
            from kroute.drivers.inventory.static import StaticInventoryDriver

            return StaticInventoryDriver(config.static.path, services)
        case InventoryKind.KUBERNETES:
            from kroute.drivers.inventory.kubernetes import KubernetesInventoryDriver

            return KubernetesInventoryDriver(config.kubernetes, me=me, services=services)
        case _:
            assert_never(config.kind)
