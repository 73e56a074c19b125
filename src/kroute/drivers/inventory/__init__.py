"""Where nodes and services come from: one interface, a driver for each kind of source.

A driver tells the whole list first (:class:`~kroute.model.inventory.Listed`), then what changes. While its source does
not answer it says so and takes nothing back. To add one: a file here with ``watch(emit)``, its parser in ``codec``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, assert_never

from kroute.model.config import Inventory, InventoryKind
from kroute.model.inventory import InventoryEvent
from kroute.model.session_keys import AnnotatedKey

Emit = Callable[[InventoryEvent], None]
TellKeys = Callable[[Mapping[str, AnnotatedKey]], None]
"""Told all TCP MD5 keys in the own node's annotations, by address of their peers, ahead of the node itself, whose value
never holds them."""


def no_keys(_keys: Mapping[str, AnnotatedKey]) -> None:
    """Nobody wants to know."""


class InventoryDriver(Protocol):
    """What every inventory driver is."""

    async def watch(self, emit: Emit) -> None:
        """Tell of nodes until cancelled; ``emit`` is called in the event loop."""


def inventory_driver(
    config: Inventory, me: str = "", *, services: bool = False, keys: TellKeys = no_keys
) -> InventoryDriver:
    """The driver of the configured kind; the others are not even imported. ``me`` is the name of the own node;
    ``services``: follow these as well; ``keys`` is called in the event loop.
    """
    match config.kind:
        case InventoryKind.STATIC:
            from kroute.drivers.inventory.static import StaticInventoryDriver

            return StaticInventoryDriver(config.static.path, services, me=me, keys=keys)
        case InventoryKind.KUBERNETES:
            from kroute.drivers.inventory.kubernetes import KubernetesInventoryDriver

            wanted = config.kubernetes
            return KubernetesInventoryDriver(wanted, me=me, services=services, keys=keys)
        case _:
            assert_never(config.kind)
