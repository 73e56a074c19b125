"""Files of leases that are over, kept for leases to come.

A new file is the dearest part of a lease where many were deleted lately: ext4 passes over their inodes one by one for
minutes, which costs up to 1 ms (``recently_deleted`` in fs/ext4/ialloc.c). host-local takes no notice of these files:
to it a lease is what is named after an address.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from secrets import token_hex

PREFIX = ".kroute-spare-"
MOST = 256
"""Files kept: about as many as a node has pods."""


class Spares:
    """The spare files of one folder of leases; whoever calls holds the folder's lock, and gives its descriptor."""

    def __init__(self) -> None:
        self._names: set[str] | None = None

    def borrow(self, folder: int) -> tuple[str, int] | None:
        """Name and descriptor (to write) of a file that is nothing else's; None where there is none."""
        names = self._known(folder)
        while names:
            name = names.pop()
            with suppress(OSError):
                file = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
                if _is_free(os.fstat(file)):
                    return name, file
                os.close(file)
                os.unlink(name, dir_fd=folder)  # a crash left it while it became a lease
        return None

    def put_back(self, name: str) -> None:
        """It was not needed."""
        assert self._names is not None, "borrowed"
        self._names.add(name)

    def keep(self, folder: int, lease: str) -> bool:
        """Make a lease's file a spare one, and thereby end the lease; False: nothing was done."""
        names, name = self._known(folder), PREFIX + token_hex(4)
        try:
            if len(names) >= MOST or not _is_free(os.lstat(lease, dir_fd=folder)):
                return False
            os.rename(lease, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            return False
        names.add(name)
        return True

    def _known(self, folder: int) -> set[str]:
        if self._names is None:
            self._names = {name for name in os.listdir(folder) if name.startswith(PREFIX)}
        return self._names


def _is_free(found: os.stat_result) -> bool:
    """Whether it has this name only."""
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1
