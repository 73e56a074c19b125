"""Who is at the other end of a Unix socket (SO_PEERCRED, unix(7)), and the end of connections that nobody may have."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from struct import unpack
from typing import NamedTuple


class Peer(NamedTuple):
    """A process and its user, as they were at connect(2) or, of who listens, at listen(2)."""

    process: int
    name: str
    """Of the program, while it runs in our PID namespace."""
    user: int

    @classmethod
    def of(cls, connected: socket.socket) -> Peer:
        """Who is at the other end."""
        credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        process, user, _ = unpack("iii", credentials)
        try:
            name = Path(f"/proc/{process}/comm").read_text().strip()
        except OSError:
            name = "?"
        return cls(process, name, user)

    def __str__(self) -> str:
        return f"pid {self.process}, {self.name}, uid {self.user}"


def put_out(names: Collection[str]) -> Iterator[Peer]:
    """Shut down this process's connections to sockets bound at these names whose peer is neither root nor our user.

    Looks at every descriptor that is open: for rare occasions. The server sees its client hang up.
    """
    for entry in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers, not paths
        with suppress(OSError):  # closed by now, or no socket
            found = socket.socket(fileno=int(entry))
            try:
                if found.family != socket.AF_UNIX or found.getsockname() not in names:
                    continue
                peer = Peer.of(found)
                if peer.user not in (0, os.geteuid()):
                    found.shutdown(socket.SHUT_RDWR)
                    yield peer
            finally:
                # It is the server's, and is not even duplicated: a number may be another file's by then, and closing
                # any descriptor of SQLite's files would give up their locks (fcntl(2)).
                found.detach()
