"""Sockets at fixed paths: ours alone, root only, a dead server's replaced, a living one's never.

gRPC would bind right at the path, displace whoever listens there, and remove the path on exit even if it is another's
by then. So it binds in a folder of its own that nobody else may enter, and the finished socket is moved to its place.

A second name of it stays in that folder: from there it is put back when somebody has removed the first, and whoever
wants the path finds that we live. What is done to an open door is done to the file itself, which a descriptor (O_PATH)
holds: paths in /tmp may lead elsewhere by then.
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

from kroute.drivers.kni.peers import Peer
from kroute.model.errors import DriverError

_LONGEST = 107
"""Octets of a socket's path (unix(7))."""
_MODE = 0o600
_DRAFT = "s"


class Door:
    """One path: locked from construction on, open after :meth:`open`."""

    def __init__(self, path: Path) -> None:
        """Take the path.

        Raises:
            DriverError: another server answers there, or holds the lock, or something else is in the way.
        """
        self.path = path
        self._held = -1
        self._owner = (-1, -1)
        self._dead: tuple[int, int] | None = None
        """A socket in our place that nobody listened at when we looked last."""
        self._lock = -1
        self._lock_path = path.with_name(f"{path.name}.lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self._lock_path)
            _require_free(path)
            _sweep(path)
            self._folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        except OSError as error:
            self.close()
            raise DriverError(f"KNI socket {path}: {error.strerror or error}") from error
        except DriverError:
            self.close()
            raise
        self.draft = self._folder / _DRAFT
        """Where the server is to bind; the socket's second name later."""
        if len(os.fsencode(self.draft)) > _LONGEST:
            self.close()
            raise DriverError(f"KNI socket {path}: the path is too long (about 85 octets at most)")

    def open(self) -> None:
        """Move the bound socket to its place.

        Raises:
            DriverError: it is not there, or cannot be moved.
        """
        try:
            self._held = os.open(self.draft, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            found = os.fstat(self._held)
            self._owner = (found.st_uid, found.st_gid)
            self.draft.chmod(_MODE)
            self.draft.replace(self.path)
        except OSError as error:
            raise DriverError(f"KNI socket {self.path}: {error.strerror}") from error
        self._keep_second_name()

    def close(self) -> None:
        """Remove the socket if it is still ours, and give the path up; safe to call twice."""
        with suppress(OSError):
            if self.is_in_place():
                self.path.unlink()
        if hasattr(self, "_folder") and _is_own(self._folder):
            shutil.rmtree(self._folder, ignore_errors=True)
        for descriptor in (self._held, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._held = self._lock = -1

    # --- while it is open ---------------------------------------------------------------------------------

    def state(self) -> os.stat_result | None:
        """The socket's file; None where it has no name any more, or the door is closed."""
        found = os.fstat(self._held) if self._held >= 0 else None
        return found if found is not None and found.st_nlink else None

    def is_in_place(self) -> bool:
        """Whether the path leads to our socket."""
        try:
            return self._held >= 0 and _same(self.path.lstat(), os.fstat(self._held))
        except OSError:
            return False

    def tighten(self, state: os.stat_result) -> str:
        """Close the socket to others if it is open to them; returns what it was like, empty where it was in order.

        Raises:
            OSError: mode or owner cannot be changed.
        """
        mode, owner = stat.S_IMODE(state.st_mode), (state.st_uid, state.st_gid)
        if (mode, owner) == (_MODE, self._owner):
            return ""
        os.chown(self._file, *self._owner)
        os.chmod(self._file, _MODE)  # noqa: PTH101 - as the line before
        # `chmod -R` and `chown -R` do not stop at the socket.
        with suppress(OSError):
            os.chown(self._folder, *self._owner, follow_symlinks=False)
            if _is_own(self._folder):
                self._folder.chmod(0o700)
        was = f"mode {mode:04o}, owner {owner[0]}:{owner[1]}"
        return f"was open to others: {was}; it is root's alone again"

    def put_back(self, state: os.stat_result) -> str:
        """Give the socket its place again; returns what was there instead, empty where it was in its place.

        Raises:
            DriverError: somebody listens there, or is about to, or it is no socket: that is left alone.
            OSError: it cannot be linked.
        """
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            self._link(self.path)
            return "was removed by somebody; it is back in its place"
        if _same(found, state):
            if state.st_nlink < 2:  # its place and the second name
                self._keep_second_name()
            return ""
        _require_free(self.path)
        # Whoever has bound a socket is about to listen: it is dead only if that is so at the next look, too.
        if self._dead != (found.st_dev, found.st_ino):
            self._dead = (found.st_dev, found.st_ino)
            raise DriverError(f"KNI socket {self.path}: nobody listens at the one in its place")
        self.path.unlink()
        self._link(self.path)
        return "had a socket in its place that nobody listened at; it is back"

    def lock_again(self) -> str:
        """Hold a lock that others find; returns what was wrong with it, empty where nothing was.

        Raises:
            DriverError: another daemon holds it by now, or it is somebody else's.
            OSError: it cannot be made.
        """
        held = os.fstat(self._lock)
        with suppress(FileNotFoundError):
            found = self._lock_path.lstat()
            if _same(found, held):
                if (stat.S_IMODE(found.st_mode), found.st_uid) == (_MODE, os.geteuid()):
                    return ""
                os.fchown(self._lock, os.geteuid(), -1)
                os.fchmod(self._lock, _MODE)
                return "had a lock that others could open; it is root's alone again"
        fresh = _lock(self._lock_path)
        os.close(self._lock)
        self._lock = fresh
        return "had lost its lock; it is locked again"

    @property
    def _file(self) -> str:
        """A path of the socket itself, whatever its names lead to."""
        return f"/proc/self/fd/{self._held}"

    def _link(self, name: Path) -> None:
        """Give it a further name; fails where there is something, so nobody is displaced."""
        # With a directory's descriptor this is linkat(2), which follows the link in /proc; link(2) does not.
        os.link(self._file, name, src_dir_fd=self._held)

    def _keep_second_name(self) -> None:
        """Where links are not to be had, a socket that is removed is made anew instead."""
        with suppress(OSError):
            with suppress(FileExistsError):
                self._folder.mkdir(mode=0o700)
            if _is_own(self._folder):
                self._link(self.draft)


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


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _is_own(folder: Path) -> bool:
    """Whether we made it; in /tmp anybody could."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _sweep(path: Path) -> None:
    """Remove what earlier lives left that were killed.

    The lock says that they are over, unless somebody has removed it; a socket that answers says that one is not.
    """
    for left in filter(_is_own, path.parent.glob(f".{path.name}-*")):
        if _answers(left / _DRAFT) is not None:
            raise DriverError(
                f"KNI socket {path}: another kroute daemon listens, and its socket was removed; it puts it back"
            )
        shutil.rmtree(left, ignore_errors=True)


def _lock(path: Path) -> int:
    with suppress(FileNotFoundError):
        if (owner := path.lstat().st_uid) != os.geteuid():  # in /tmp anybody can be first
            raise DriverError(
                f"{path} belongs to uid {owner} and is no lock of kroute's; remove it"
            )
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, _MODE)
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
    if (who := _answers(path)) is not None:
        raise DriverError(
            f"KNI socket {path}: another network runtime answers there{who}; stop it first"
        )


def _answers(path: Path) -> str | None:
    """Who listens at a socket, in parentheses where that can be said; None if nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        except OSError:  # no room in its queue: alive all the same
            return ""
        return f" ({Peer.of(probe)})"
