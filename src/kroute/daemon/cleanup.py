"""Removing from a node all that bears our mark (law 3): routes, conflist, leases, bridge, state."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from kroute.daemon.marks import remember_protocol
from kroute.drivers.cni import CniDirectory, remove_bridge
from kroute.drivers.fib import cleanup as remove_routes
from kroute.model.config import Config
from kroute.model.errors import DriverError


def clean(config: Config) -> tuple[list[str], list[str]]:
    """Remove everything of ours; what was removed, and what could not be, each in words.

    One part that fails does not keep the others from being removed.
    """
    network = CniDirectory(config.cni)
    parts: tuple[Callable[[], Iterable[object]], ...] = (
        network.cleanup,
        network.remove_leases,
        lambda: remove_routes({config.fib.protocol, *remember_protocol(config)}),
        lambda: remove_bridge(config.cni.bridge),
        lambda: _remove_state(config),
    )
    removed: list[str] = []
    failed: list[str] = []
    for part in parts:
        try:
            removed += [str(thing) for thing in part()]
        except DriverError as error:
            failed.append(str(error))
    return removed, failed


def _remove_state(config: Config) -> list[str]:
    removed = []
    for path in (Path(config.paths.state), Path(config.paths.run)):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
            removed.append(f"folder {path}")
    return removed
