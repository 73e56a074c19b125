"""What the process may do: it faces the network, so it keeps the right to bind port 179 and no other."""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import struct
from contextlib import suppress
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_KEEPCAPS: Final = 8
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_CAP_NET_BIND_SERVICE: Final = 10
_CAP_VERSION_3: Final = 0x20080522
_HIGHEST_CAPABILITY: Final = 63
_NOBODY: Final = 65534
_NICENESS: Final = -10

_libc = ctypes.CDLL(None, use_errno=True)


class PrivilegeError(Exception):
    """A right could not be given up; running on would be worse than not running."""


def drop(user: str) -> str:
    """Become ``user`` with CAP_NET_BIND_SERVICE alone; returns in words what the process is now.

    Raises:
        PrivilegeError: the kernel refused.
    """
    if os.geteuid() != 0:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        return f"not started as root: still uid {os.geteuid()}, rights as inherited"
    uid, gid = _identity(user)
    _prctl(_PR_SET_KEEPCAPS, 1)
    for capability in range(_HIGHEST_CAPABILITY + 1):
        if capability != _CAP_NET_BIND_SERVICE:
            _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    _set_capabilities(1 << _CAP_NET_BIND_SERVICE)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)
    return f"uid {uid}, CAP_NET_BIND_SERVICE only"


def hurry() -> None:
    """Go before the daemon where both want the same core: a KEEPALIVE must not wait for routes. Before :func:`drop`.

    Needs CAP_SYS_NICE; without it the process is as urgent as the daemon.
    """
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)


def die_with(parent: int) -> bool:
    """Be killed when the parent dies; False when it is dead already. To be called after :func:`drop`."""
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    return os.getppid() == parent


def _identity(user: str) -> tuple[int, int]:
    """Uid and gid of a name or number; "nobody" exists even where no user database does."""
    if user.isdigit():
        return int(user), int(user)
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        if user == "nobody":
            return _NOBODY, _NOBODY
        raise PrivilegeError(f"there is no user {user}") from None
    return entry.pw_uid, entry.pw_gid


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0):
        raise PrivilegeError(f"prctl({option}): {os.strerror(ctypes.get_errno())}")


def _set_capabilities(mask: int) -> None:
    """capset(2): effective and permitted become ``mask``, inheritable nothing."""
    header = struct.pack("=Ii", _CAP_VERSION_3, 0)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = struct.pack("=6I", low, low, 0, high, high, 0)
    if _libc.capset(header, data):
        raise PrivilegeError(f"capset: {os.strerror(ctypes.get_errno())}")
