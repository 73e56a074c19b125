"""Network namespaces as files: entering one with a thread, making and removing the bind mounts of CreateNetwork."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from struct import pack, unpack_from

from kroute.model.kni import KniError, Refusal

_CLONE_NEWNET = 0x40000000
_OWN = "/proc/thread-self/ns/net"
_MS_BIND, _MS_REC, _MS_SHARED, _MNT_DETACH = 0x1000, 0x4000, 1 << 20, 2
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
FOLDER = Path("/run/netns")
"""Where `ip netns` looks, too."""


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def open_netns(path: str) -> int:
    """A descriptor of the namespace at ``path``, which is not the node's own.

    Raises:
        KniError: there is no namespace at the path, or it is the node's own (a hostNetwork pod).
    """
    found, own = identity(path) if path.isprintable() else None, identity(_OWN)
    if found is None or own is None or found[0] != own[0]:
        raise nowhere(path)
    if found == own:
        reason = f"{path} is the node's own network namespace; nothing is attached in it"
        raise KniError(Refusal.INVALID, reason)
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KniError(Refusal.INVALID, f"{path} cannot be opened: {error.strerror}") from error


def nowhere(path: str) -> KniError:
    """That there is no network namespace at a path."""
    shown = path if path.isprintable() else repr(path)  # an annotation may have brought it
    reason = f"{shown} is no network namespace; is the sandbox still there?"
    return KniError(Refusal.INVALID, reason)


def lives(path: str, inode: int = 0) -> bool:
    """Whether a network namespace is at the path; the one with this inode if that is not 0."""
    found, own = identity(path), identity(_OWN)
    same = found is not None and own is not None and found[0] == own[0]
    return same and (not inode or (found is not None and found[1] == inode))


def identity(path: str) -> tuple[int, int] | None:
    """Device and inode, which tell namespaces apart; None where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a path of text, several times for each pod
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def entered(descriptor: int) -> Iterator[None]:
    """The calling thread lives inside; no other thread does. It must not start processes or threads there.

    If the way back fails, the process ends at once: a thread in a pod's namespace would do the node's work there.
    """
    libc = _libc()
    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(libc.setns(descriptor, _CLONE_NEWNET), "setns")
        try:
            yield
        finally:
            if libc.setns(home, _CLONE_NEWNET):
                os.abort()
    finally:
        os.close(home)


def create(path: Path) -> None:
    """Make a network namespace held by a bind mount at ``path``: it outlives this process.

    Raises:
        FileExistsError: the path is taken.
        KniError: the kernel refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent == FOLDER:
        _share(path.parent)
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    failure: list[OSError] = []
    # A thread of its own: unshare cannot be undone, so the thread ends with it.
    maker = threading.Thread(target=_unshare_onto, args=(path, failure), name="kni-netns")
    maker.start()
    maker.join()
    if failure:
        path.unlink(missing_ok=True)
        raise KniError(Refusal.BROKEN, f"cannot make network namespace {path}: {failure[0]}")


def _share(folder: Path) -> None:
    """Make the folder a shared mount, as `ip netns add` does at its first call (ip-netns(8)).

    Otherwise that call would cover our mounts with copies of them, and neither could be removed any more.
    """
    libc, where = _libc(), os.fsencode(folder)
    if libc.mount(b"", where, b"none", _MS_SHARED | _MS_REC, None):
        _check(libc.mount(where, where, b"none", _MS_BIND | _MS_REC, None), f"mount {folder}")
        _check(libc.mount(b"", where, b"none", _MS_SHARED | _MS_REC, None), f"share {folder}")


def _unshare_onto(path: Path, failure: list[OSError]) -> None:
    libc = _libc()
    try:
        _check(libc.unshare(_CLONE_NEWNET), "unshare")
        source = b"/proc/thread-self/ns/net"
        _check(libc.mount(source, os.fsencode(path), b"none", _MS_BIND, None), "mount")
    except OSError as error:
        failure.append(error)


def remove(path: str) -> None:
    """Unmount and remove; what is gone already is no error.

    Raises:
        KniError: the kernel refuses.
    """
    libc = _libc()
    while libc.umount2(os.fsencode(path), _MNT_DETACH) == 0:
        continue
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        raise KniError(Refusal.BROKEN, f"cannot remove {path}: {error.strerror}") from error


def loopback_up(descriptor: int) -> None:
    """Bring ``lo`` up inside, as a runtime does before it calls plugins (netdevice(7)).

    Raises:
        KniError: the kernel refuses.
    """
    try:
        with entered(descriptor):
            probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        with probe:
            flags = unpack_from(
                "=H", fcntl.ioctl(probe, _SIOCGIFFLAGS, pack("16sH14x", b"lo", 0)), 16
            )
            fcntl.ioctl(probe, _SIOCSIFFLAGS, pack("16sH14x", b"lo", flags[0] | _IFF_UP))
    except OSError as error:
        raise KniError(Refusal.BROKEN, f"lo cannot be brought up in the pod: {error}") from error
