"""Which processes belong to a node, and killing all of them; as /proc tells it."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kroute.lab.errors import LabError

_PATIENCE = 10.0
"""Seconds within which a killed process is gone, however busy the machine."""


def alive(pid: int) -> bool:
    """Whether the process is there and not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def only_child(pid: int) -> int:
    """The one child of a process that forked once, as ``unshare --fork`` does.

    Raises:
        LabError: it has none.
    """
    for entry in _all():
        try:
            stat = Path(f"/proc/{entry}/stat").read_text()
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == pid:
            return entry
    raise LabError(f"process {pid} has no child")


def kill_all_in(namespaces: Sequence[Path]) -> None:
    """Kills every process that lives in one of these network namespaces, or waits outside for one that does.

    Waiters (``nsenter``, ``unshare``) get the first second to collect their dead themselves, since a node's PID
    namespace is only cleared when someone has; a waiter stopped together with its program is woken for that.

    Raises:
        LabError: one of them is still there 10 s later.
    """
    wanted = {namespace.stat().st_ino for namespace in namespaces if namespace.exists()}
    deadline = time.monotonic() + _PATIENCE
    spare_waiters = True
    while found := _members(wanted):
        if time.monotonic() > deadline:
            raise LabError(f"processes {[pid for pid, _ in found]} of this lab do not die")
        signals = {
            pid: signal.SIGCONT if waits and spare_waiters else signal.SIGKILL
            for pid, waits in found
        }
        _send(signals)
        spare_waiters = False


def _members(wanted: set[int]) -> list[tuple[int, bool]]:
    """Living processes in the network namespaces with these inodes, and whether each waits outside the node's
    PID namespace for what it started inside."""
    found = []
    for pid in _all():
        if _inode(pid, "net") in wanted and alive(pid):
            found.append((pid, _inode(pid, "pid") != _inode(pid, "pid_for_children")))
    return found


def _all() -> Iterable[int]:
    """All process ids but our own."""
    mine = os.getpid()
    return (int(e) for e in os.listdir("/proc") if e.isdigit() and int(e) != mine)  # noqa: PTH208


def _inode(pid: int, kind: str) -> int:
    """The namespace's identity; 0 where the process is gone."""
    try:
        return os.stat(f"/proc/{pid}/ns/{kind}").st_ino  # noqa: PTH116
    except OSError:
        return 0


def _send(signals: Mapping[int, signal.Signals]) -> None:
    """Sends each process its signal, then waits until all are gone or a second is over."""
    handles = []
    for pid, number in signals.items():
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        handles.append(handle)
        try:
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            continue
    until = time.monotonic() + 1.0
    for handle in handles:
        select.select([handle], [], [], max(0.0, until - time.monotonic()))
        os.close(handle)
