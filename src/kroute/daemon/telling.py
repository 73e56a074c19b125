"""Kubernetes is told what is wrong, where it is the inventory and the configuration does not object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kroute.drivers.inventory.events import EventWriter, event_writer
from kroute.model.config import InventoryKind

if TYPE_CHECKING:
    from kroute.daemon import Daemon


def writer_of(daemon: Daemon) -> EventWriter | None:
    """The writer of a daemon's problems; None where there is nobody to tell."""
    inventory, control = daemon.config.inventory, daemon.control
    if inventory.kind is not InventoryKind.KUBERNETES or not inventory.kubernetes.events:
        return None

    def uid_of(name: str) -> str:
        node = control.observed.nodes.get(name)
        return node.uid if node is not None else ""

    return event_writer(
        inventory.kubernetes,
        control.observed.me,
        daemon.desk.problems_at_rest,
        uid_of,
        lambda problems: control.report("events", problems),
    )
