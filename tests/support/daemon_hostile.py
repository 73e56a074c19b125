"""A BGP speaker that follows the test's script and no rule, on plain blocking sockets in a namespace."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Iterable

from support.netns import Namespace

OPEN, UPDATE, NOTIFICATION, KEEPALIVE, REFRESH = 1, 2, 3, 4, 5
MARKER = b"\xff" * 16


def message(kind: int, body: bytes = b"", length: int | None = None) -> bytes:
    """A BGP message (RFC 4271 §4.1); ``length`` lies about its length."""
    told = 19 + len(body) if length is None else length
    return MARKER + struct.pack("!HB", told, kind) + body


def attribute(flags: int, code: int, value: bytes) -> bytes:
    """A path attribute with one octet of length."""
    return bytes((flags, code, len(value))) + value


def nlri(prefix: str) -> bytes:
    """An IPv4 prefix as RFC 4271 §4.3 has it."""
    network, _, bits = prefix.partition("/")
    return bytes((int(bits),)) + socket.inet_aton(network)[: (int(bits) + 7) // 8]


def update(prefixes: Iterable[str], attributes: bytes, withdrawn: Iterable[str] = ()) -> bytes:
    """An UPDATE of IPv4 prefixes."""
    gone = b"".join(map(nlri, withdrawn))
    body = struct.pack("!H", len(gone)) + gone + struct.pack("!H", len(attributes)) + attributes
    return message(UPDATE, body + b"".join(map(nlri, prefixes)))


class ScriptedRouter:
    """One session's worth of a router: meets kroute on either side's connection, then sends what it is told to."""

    def __init__(
        self,
        where: Namespace,
        address: str,
        asn: int,
        *,
        hold_time: int = 90,
        restart: tuple[int, ...] | None = None,
        dials: bool = False,
    ) -> None:
        """``restart`` offers graceful restart with the R bit, the F bit set for these AFIs of 1 and 2.

        ``dials``: kroute is passive.
        """
        self.dials = dials
        self.where, self.address, self.asn = where, address, asn
        self.hold_time, self.restart = hold_time, restart
        self.buffer = b""
        with where.entered():
            self.listener = socket.create_server((address, 179), backlog=64, reuse_port=False)
        self.listener.settimeout(10)
        self.sock: socket.socket | None = None

    def close(self) -> None:
        """Close everything."""
        for sock in (self.sock, self.listener):
            if sock is not None:
                sock.close()

    def connection(self, remote: str) -> socket.socket:
        """A fresh connection to kroute from our address."""
        with self.where.entered():
            made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.settimeout(10)
        made.bind((self.address, 0))
        made.connect((remote, 179))
        return made

    def dial(self, remote: str) -> socket.socket:
        """Connect to kroute, which must be passive: it would not let go of a connection of its own."""
        self.use(self.connection(remote))
        assert self.sock is not None
        return self.sock

    def use(self, sock: socket.socket) -> None:
        """Talk on this connection."""
        if self.sock is not None:
            self.sock.close()
        self.sock, self.buffer = sock, b""
        sock.settimeout(10)

    def open(self, **changes: object) -> bytes:
        """A good OPEN: IPv4 and IPv6 unicast, AS4."""
        capabilities = [b"\x01\x04\0\x01\0\x01", b"\x01\x04\0\x02\0\x01", b"\x02\0"]
        capabilities.append(b"\x41\x04" + struct.pack("!I", self.asn))
        if self.restart is not None:
            families = b"".join(
                struct.pack("!HBB", afi, 1, 0x80 if afi in self.restart else 0) for afi in (1, 2)
            )
            capabilities.append(
                bytes((64, 2 + len(families))) + struct.pack("!H", 0x8000 | 120) + families
            )
        packed = b"".join(bytes((2, len(c))) + c for c in capabilities)
        router_id = socket.inet_aton(self.address)
        fixed = struct.pack(
            "!BHH4s", 4, self.asn if self.asn < 65536 else 23456, self.hold_time, router_id
        )
        return message(OPEN, fixed + bytes((len(packed),)) + packed)

    def meet(self, remote: str, timeout: float = 15.0) -> None:
        """Establish a session on whichever connection kroute agrees to."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                self.use(self._next_connection(remote))
                self.send(self.open() + message(KEEPALIVE))
                self.read_until(OPEN)
                self.read_until(KEEPALIVE)
            except (OSError, Ended):
                continue
            return
        raise AssertionError("no session with kroute")

    def _next_connection(self, remote: str) -> socket.socket:
        """Whichever comes first: kroute's connection to us, or, if it makes none, ours to kroute."""
        patience = 0.0 if self.dials else 1.0
        readable, _, _ = select.select([self.listener], [], [], patience)
        return self.listener.accept()[0] if readable else self.connection(remote)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        assert self.sock is not None
        self.sock.sendall(data)

    def read(self) -> tuple[int, bytes]:
        """Type and body of the next message.

        Raises:
            Ended: kroute closed the connection.
        """
        assert self.sock is not None
        while len(self.buffer) < 19 or len(self.buffer) < int.from_bytes(self.buffer[16:18], "big"):
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Ended
            self.buffer += data
        length = int.from_bytes(self.buffer[16:18], "big")
        found = self.buffer[18], self.buffer[19:length]
        self.buffer = self.buffer[length:]
        return found

    def read_until(self, kind: int) -> bytes:
        """The body of the next message of this type."""
        while True:
            found, body = self.read()
            if found == kind:
                return body

    def ended(self) -> bytes:
        """Wait until kroute ends the connection; code and subcode of its NOTIFICATION, empty if it had none."""
        with contextlib.suppress(Ended):
            while True:
                kind, body = self.read()
                if kind == NOTIFICATION:
                    return body[:2]
        return b""


class Ended(Exception):
    """kroute closed the connection."""
