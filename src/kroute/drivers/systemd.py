"""Telling the service manager how the daemon is: the protocol of sd_notify(3), without its library.

Every function does nothing where nobody asked (``NOTIFY_SOCKET`` is not set), so callers need not
know.
"""

from __future__ import annotations

import os
import socket
import time

from kroute.model.errors import DriverError
from kroute.model.net import Seconds

_MICROSECONDS = 1_000_000


def notify(state: str) -> bool:
    """Send one datagram of newline-separated assignments; whether somebody was told.

    Raises:
        DriverError: ``NOTIFY_SOCKET`` names no socket, or the manager does not take the message.
    """
    name = os.environ.get("NOTIFY_SOCKET", "")
    if not name:
        return False
    if name[0] not in "/@":
        raise DriverError(f"NOTIFY_SOCKET={name!r} is neither a path nor an abstract name")
    address = f"\0{name[1:]}" if name.startswith("@") else name
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), address)
    except OSError as error:
        raise DriverError(f"cannot notify {name}: {error.strerror or error}") from error
    return True


def ready(status: str = "") -> bool:
    """Started, or a reload is done."""
    return notify(_lines("READY=1", status))


def stopping(status: str = "") -> bool:
    """Shutting down."""
    return notify(_lines("STOPPING=1", status))


def reloading(status: str = "") -> bool:
    """A reload has begun; :func:`ready` ends it. Carries the monotonic time that
    Type=notify-reload needs."""
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    return notify(_lines(f"RELOADING=1\nMONOTONIC_USEC={now}", status))


def status(text: str) -> bool:
    """One line for ``systemctl status``."""
    return notify(_lines("", text))


def watchdog() -> bool:
    """Alive; due at least every :func:`watchdog_interval`."""
    return notify("WATCHDOG=1")


def watchdog_interval() -> Seconds | None:
    """How often the manager wants to hear from us at least: half of ``WATCHDOG_USEC``; None if not
    asked.

    ``WATCHDOG_PID``, where set, must be this process: a child inherits the environment but not the
    duty.
    """
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = os.environ.get("WATCHDOG_USEC", "")
    return Seconds(int(text) / _MICROSECONDS / 2) if text.isdecimal() and int(text) else None


def _lines(assignment: str, text: str) -> str:
    """An assignment and a status of one line; either may be empty."""
    said = " ".join(text.split())
    return "\n".join(part for part in (assignment, f"STATUS={said}" if said else "") if part)
