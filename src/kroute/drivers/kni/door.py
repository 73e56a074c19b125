"""Sockets at fixed paths: ours alone, root only, a dead server's replaced, a living one's never.

gRPC would bind right at the path, displace whoever listens there, and remove the path on exit even if it is another's
by then. So it binds in a folder of its own that nobody else may enter, and the finished socket is moved to its place.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from struct import unpack

from kroute.model.errors import DriverError

_LONGEST = 107
"""Octets of a socket's path (unix(7))."""


class Door:
    """One path: locked from construction on, open after :meth:`open`."""

    def __init__(self, path: Path) -> None:
        """Take the path.

        Raises:
            DriverError: another server answers there, or holds the lock, or something else is in the way.
        """
        self.path = path
        self._inode = 0
        self._lock = -1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(path.with_name(f"{path.name}.lock"))
            _require_free(path)
            _sweep(path)
            self._folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        except OSError as error:
            self.close()
            raise DriverError(f"KNI socket {path}: {error.strerror or error}") from error
        except DriverError:
            self.close()
            raise
        self.draft = self._folder / "s"
        """Where the server is to bind."""
        if len(os.fsencode(self.draft)) > _LONGEST:
            self.close()
            raise DriverError(f"KNI socket {path}: the path is too long (about 85 octets at most)")

    def open(self) -> None:
        """Move the bound socket to its place.

        Raises:
            DriverError: it is not there, or cannot be moved.
        """
        try:
            self.draft.chmod(0o600)
            self._inode = self.draft.stat().st_ino
            self.draft.replace(self.path)
            self._folder.rmdir()
        except OSError as error:
            raise DriverError(f"KNI socket {self.path}: {error.strerror}") from error

    def close(self) -> None:
        """Remove the socket if it is still ours, and give the path up; safe to call twice."""
        with suppress(OSError):
            if self._inode and self.path.lstat().st_ino == self._inode:
                self.path.unlink()
        self._inode = 0
        if hasattr(self, "_folder"):
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def take(paths: Iterable[Path]) -> list[Door]:
    """All of these paths or none: whoever has them is the one that serves this node.

    Raises:
        DriverError: one of them cannot be had.
    """
    doors: list[Door] = []
    try:
        for path in paths:
            doors.append(Door(path))
    except BaseException:
        for door in doors:
            door.close()
        raise
    return doors


def _sweep(path: Path) -> None:
    """Remove what earlier lives left that were killed between bind and move; the lock says that they are over."""
    for left in path.parent.glob(f".{path.name}-*"):
        found = left.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
            shutil.rmtree(left, ignore_errors=True)


def _lock(path: Path) -> int:
    with suppress(FileNotFoundError):
        if (owner := path.lstat().st_uid) != os.geteuid():  # in /tmp anybody can be first
            raise DriverError(
                f"{path} belongs to uid {owner} and is no lock of kroute's; remove it"
            )
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise DriverError(f"{path}: another kroute daemon serves KNI on this node") from error
    return descriptor


def _require_free(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise DriverError(f"KNI socket {path}: a file that is no socket is in the way; remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except OSError:  # no answer in time, or no room in its queue: alive all the same
            who = ""
        else:
            who = _listener(probe)
    raise DriverError(
        f"KNI socket {path}: another network runtime answers there{who}; stop it first"
    )


def _listener(connected: socket.socket) -> str:
    """Who listens at the other end (SO_PEERCRED, unix(7)): root's runtime, or anybody who was first in /tmp."""
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    process, user, _ = unpack("iii", credentials)
    try:
        name = Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:  # of another PID namespace
        name = "?"
    return f" (pid {process}, {name}, uid {user})"
