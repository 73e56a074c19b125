"""Removing from a node all that bears our mark (law 3): pods, routes, conflist, leases, addresses, bridge, state."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from kroute.daemon.marks import remember_protocol
from kroute.drivers import loopback
from kroute.drivers.cni import CniDirectory, remove_bridge
from kroute.drivers.fib import cleanup as remove_routes
from kroute.drivers.kube_router import Leftover
from kroute.model.config import Config
from kroute.model.errors import DriverError

OWN_FILES: Final = ("marks.*", "trial.*", "kroute.sock", "kni.*", "attachments.*")
"""Names of what the daemon keeps in its folders."""


def clean(config: Config) -> tuple[list[str], list[str]]:
    """Remove everything of ours; what was removed, and what could not be, each in words.

    One part that fails does not keep the others from being removed.
    """
    network = CniDirectory(config.cni)
    parts: tuple[Callable[[], Iterable[object]], ...] = (
        lambda: _remove_pods(config),
        network.cleanup,
        network.remove_leases,
        lambda: remove_routes({config.fib.protocol, *remember_protocol(config)}),
        lambda: loopback.cleanup({config.fib.protocol, *remember_protocol(config)}),
        lambda: remove_bridge(config.cni.bridge),
        lambda: _remove_state(config),
    )
    removed: list[str] = []
    failed: list[str] = []
    for part in parts:
        try:
            for thing in part():
                removed.append(str(thing))  # what goes before an error counts as well
        except DriverError as error:
            failed.append(str(error))
    return removed, failed


def remove_kube_router(found: Iterable[Leftover]) -> list[str]:
    """Remove what kube-router left; what could not be removed, in words. The rest goes all the same."""
    failed: list[str] = []
    for thing in found:
        try:
            thing.remove()
        except DriverError as error:
            failed.append(f"{thing}: {error}")
    return failed


def _remove_pods(config: Config) -> Iterable[str]:
    """What KNI attached and made; nothing of KNI is loaded where it never served."""
    state = Path(config.paths.state)
    if not any(state.glob("kni.sqlite")):
        return ()
    from kroute.drivers.kni.cleanup import cleanup

    return cleanup(config.kni, config.cni, state)


def _remove_state(config: Config) -> list[str]:
    """Our own files, by name; a folder only if nothing of somebody else's is left in it."""
    removed = []
    for folder in (Path(config.paths.state), Path(config.paths.run)):
        for path in sorted({p for pattern in OWN_FILES for p in folder.glob(pattern)}):
            with suppress(OSError):
                path.unlink()
                removed.append(f"file {path}")
        with suppress(OSError):
            folder.rmdir()
            removed.append(f"folder {folder}")
    return removed
