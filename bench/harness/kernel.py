"""When does a kernel hold the whole table? Asked in a way that disturbs nobody, the same for every subject.

A listener on route events slows the kernel's writers by 15 to 35 %, and a dump of 100 000 routes costs 40 ms of a
core. So a fixed random sample of the prefixes is asked for one after another by RTM_GETROUTE (3 us each, about one
a millisecond while the table is growing); when all have been seen, one dump counts the table.
"""

from __future__ import annotations

import random
import socket
import struct

from harness.bed import Namespace
from harness.wire import prefix_address

_NEWROUTE, _GETROUTE, _ERROR, _DONE = 24, 26, 2, 3
_REQUEST, _DUMP = 1, 0x300
_FIB_MATCH = 0x2000
_SOL_NETLINK, _STRICT_CHECK = 270, 12
_EVERY = 50
_AT_LEAST = 400


class Kernel:
    """The IPv4 main table of one namespace, as far as it bears one protocol's mark."""

    def __init__(self, where: Namespace, protocol: int) -> None:
        self._protocol = protocol
        with where.entered():
            self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._sock.setsockopt(_SOL_NETLINK, _STRICT_CHECK, 1)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._sock.settimeout(10)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def holds(self, address: int, length: int = 24) -> bool:
        """Whether the forwarding decision for an address is a prefix of this length and of this protocol."""
        head = struct.pack("=IHHII", 36, _GETROUTE, _REQUEST, 0, 0)
        route = struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, _FIB_MATCH)
        self._sock.send(head + route + struct.pack("=HH", 8, 1) + struct.pack("!I", address))
        answer = self._sock.recv(4096)
        kind = struct.unpack_from("=H", answer, 4)[0]
        return kind == _NEWROUTE and answer[17] == length and answer[21] == self._protocol

    def count(self) -> int:
        """How many routes of the protocol the main table has."""
        head = struct.pack("=IHHII", 36, _GETROUTE, _REQUEST | _DUMP, 1, 0)
        route = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, self._protocol, 0, 0, 0)
        self._sock.send(head + route + struct.pack("=HHI", 8, 15, 254))
        found = 0
        while True:
            data = self._sock.recv(1 << 18)
            at = 0
            while at < len(data):
                length, kind = struct.unpack_from("=IH", data, at)
                if kind == _NEWROUTE:
                    found += 1
                elif kind in (_DONE, _ERROR):
                    return found
                at += (length + 3) & ~3


class Watch:
    """Waits for the table's first ``count`` prefixes to be in the kernel, or to be gone."""

    def __init__(self, kernel: Kernel, count: int, *, present: bool = True) -> None:
        self._kernel, self._count, self._present = kernel, count, present
        sample = set(range(0, count, max(1, min(_EVERY, count // _AT_LEAST or 1)))) | {count - 1}
        self._left = list(sample)
        random.Random(1).shuffle(self._left)

    def sampled(self) -> bool:
        """Whether the whole sample has been seen; asks on from where it stopped."""
        left, kernel = self._left, self._kernel
        for _ in range(200):
            if not left:
                return True
            if kernel.holds(prefix_address(left[-1])) is not self._present:
                return False
            left.pop()
        return not left

    def counted(self) -> bool:
        """Whether the table is complete, or empty, to the last route."""
        return self._kernel.count() == (self._count if self._present else 0)
