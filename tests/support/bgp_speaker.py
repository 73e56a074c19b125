"""A BGP session by hand, for tests: opens, keeps alive, sends given octets and collects UPDATE bodies."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from struct import pack

from support.netns import Namespace

OPEN, UPDATE, NOTIFICATION, KEEPALIVE = 1, 2, 3, 4
HOLD = 90
MARKER = b"\xff" * 16


def message(kind: int, body: bytes = b"") -> bytes:
    """A message with its header (RFC 4271 §4.1)."""
    return MARKER + pack(">HB", 19 + len(body), kind) + body


def capability(code: int, value: bytes = b"") -> bytes:
    """One optional parameter with one capability (RFC 5492)."""
    return bytes((2, 2 + len(value), code, len(value))) + value


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What one side says in its OPEN."""

    asn: int
    router_id: str
    asn4: bool = True
    families: tuple[int, ...] = (1, 2)
    extended_nexthop: bool = False

    def open(self) -> bytes:
        """The OPEN message; Graceful Restart is offered so that peers send End-of-RIB."""
        options = b"".join(capability(1, pack(">HH", f, 1)) for f in self.families)
        options += capability(64, pack(">H", 120))
        if self.asn4:
            options += capability(65, pack(">I", self.asn))
        if self.extended_nexthop:
            options += capability(5, pack(">HHH", 1, 1, 2))
        asn = self.asn if self.asn < 65536 else 23456
        head = pack(">BHH", 4, asn, HOLD) + ip_address(self.router_id).packed
        return message(OPEN, head + bytes((len(options),)) + options)


class SessionEnded(AssertionError):
    """The peer closed the session or sent a NOTIFICATION."""


class Speaker:
    """An established session; ``updates`` grows while it is pumped."""

    def __init__(self, where: Namespace, local: str, remote: str, identity: Identity) -> None:
        self.updates: list[bytes] = []
        self.established = False
        self._identity = identity
        self._rest = b""
        self._socket = _connect(where, local, remote)
        self._socket.sendall(identity.open())

    def send(self, messages: Iterable[bytes]) -> None:
        """Send complete messages."""
        self._socket.sendall(b"".join(messages))

    def pump(self, until: Callable[[], object], timeout: float = 15.0, what: str = "") -> None:
        """Receive and answer until a condition holds.

        Raises:
            SessionEnded: the peer ended it.
            AssertionError: it did not hold in time.
        """
        deadline = time.monotonic() + timeout
        while not until():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout:g} s: {what or until}")
            readable, _, _ = select.select([self._socket], [], [], 0.05)
            if readable:
                data = self._socket.recv(1 << 16)
                if not data:
                    raise SessionEnded("the peer closed the session")
                self._feed(data)

    def close(self) -> None:
        """End the session without a word."""
        self._socket.close()

    def _feed(self, data: bytes) -> None:
        rest = self._rest + data
        while len(rest) >= 19 and len(rest) >= (size := int.from_bytes(rest[16:18], "big")):
            self._message(rest[18], rest[19:size])
            rest = rest[size:]
        self._rest = rest

    def _message(self, kind: int, body: bytes) -> None:
        if kind == OPEN:
            self.send([message(KEEPALIVE)])
        elif kind == KEEPALIVE:
            if self.established:
                self.send([message(KEEPALIVE)])
            self.established = True
        elif kind == UPDATE:
            self.updates.append(body)
        elif kind == NOTIFICATION:
            raise SessionEnded(f"NOTIFICATION {body[0]}/{body[1]} {body[2:].hex()}")


def _connect(where: Namespace, local: str, remote: str, timeout: float = 15.0) -> socket.socket:
    """A TCP connection to the peer's port 179, tried until it is accepted."""
    family = socket.AF_INET6 if ":" in remote else socket.AF_INET
    deadline = time.monotonic() + timeout
    while True:
        with where.entered():
            made = socket.socket(family, socket.SOCK_STREAM)
        made.bind((local, 0))
        try:
            made.connect((remote, 179))
        except ConnectionRefusedError:
            made.close()
            assert time.monotonic() < deadline, f"{remote} does not listen on port 179"
            select.select([], [], [], 0.05)
        else:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return made
