"""What may be using a network namespace that nothing of ours is in: processes, and interfaces of others.

Other mounts of it and open descriptors do not matter: it lives on for them when ours is taken away.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from kroute.drivers.kni.netns import entered, open_netns
from kroute.model.kni import KniError, Refusal

_EVERYWHERE = frozenset(
    {"lo", "tunl0", "gre0", "gretap0", "erspan0", "ip_vti0"}
    | {"sit0", "ip6tnl0", "ip6gre0", "ip6_vti0"}
)
"""Interfaces that each new namespace has; all but the first where modules are loaded that make them
(net.core.fb_tunnels_only_for_init_net, Documentation/admin-guide/sysctl/net.rst). By themselves they lead nowhere."""
_INIT = "1"
"""Of a node, or of our container where that has process ids of its own: never in a pod's namespace. It may have rights
that we lack, and cannot be looked at then."""


def one(path: str) -> str:
    """An occupant of the namespace at a path, as a sentence; empty where there is none.

    Of processes those that are in our PID namespace or below, thread by thread.

    Raises:
        KniError: there is none at the path, or the kernel refuses.
    """
    netns = open_netns(path)
    try:
        return _interface(netns) or _process(os.fstat(netns))
    finally:
        os.close(netns)


def _interface(netns: int) -> str:
    try:
        with entered(netns):
            names = {name for _, name in socket.if_nameindex()}
    except OSError as error:
        raise KniError(Refusal.BROKEN, f"its interfaces cannot be read: {error}") from error
    return next((f"interface {name!r} is in it" for name in sorted(names - _EVERYWHERE)), "")


def _process(netns: os.stat_result) -> str:
    wanted = netns.st_dev, netns.st_ino
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or process.name == _INIT:
            continue
        try:
            if wanted in _of_threads(process):
                comm = (process / "comm").read_text(errors="replace").strip()
                return f"process {process.name} ({comm!r}) is in it"
        except PermissionError:
            return f"process {process.name} may be in it, and cannot be looked at"
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            continue
    return ""


def _of_threads(process: Path) -> Iterator[tuple[int, int]]:
    """The namespaces that a process is in: a thread may have left the others."""
    for thread in (process / "task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            found = (thread / "ns" / "net").stat()
            yield found.st_dev, found.st_ino
