"""Helpers around the speaker: a driver inside a namespace that remembers its events, and a scripted peer."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from kroute.codec.frames import MARKER, SessionParameters
from kroute.drivers.speaker import (
    Attempt,
    Down,
    Refresh,
    Speaker,
    SpeakerDied,
    SpeakerEvent,
    SpeakerReady,
    Up,
    Updates,
)
from support.netns import Namespace, until

OPEN, UPDATE, NOTIFICATION, KEEPALIVE, REFRESH = 1, 2, 3, 4, 5


def message(kind: int, body: bytes = b"") -> bytes:
    """A BGP message (RFC 4271 §4.1)."""
    return MARKER + struct.pack("!HB", 19 + len(body), kind) + body


def attribute(flags: int, code: int, value: bytes) -> bytes:
    """A path attribute with one octet of length."""
    return bytes((flags, code, len(value))) + value


def update_body(prefix: str, nexthop: str, asn: int | None = None) -> bytes:
    """An UPDATE body for one IPv4 prefix; ``asn`` is the AS_PATH, none for internal."""
    network, _, bits = prefix.partition("/")
    path = b"" if asn is None else b"\x02\x01" + struct.pack("!I", asn)
    attributes = attribute(0x40, 1, b"\0") + attribute(0x40, 2, path)
    attributes += attribute(0x40, 3, socket.inet_aton(nexthop))
    if asn is None:
        attributes += attribute(0x40, 5, struct.pack("!I", 100))
    nlri = bytes((int(bits),)) + socket.inet_aton(network)[: (int(bits) + 7) // 8]
    return struct.pack("!HH", 0, len(attributes)) + attributes + nlri


def update(prefix: str, nexthop: str, asn: int | None = None) -> bytes:
    """A complete UPDATE for one IPv4 prefix."""
    return message(UPDATE, update_body(prefix, nexthop, asn))


END_OF_RIB = message(UPDATE, bytes(4))


class Side:
    """One driver whose speaker lives in a namespace; every event is kept in :attr:`events`."""

    def __init__(self, namespace: Namespace | None = None) -> None:
        prefix = ["ip", "netns", "exec", namespace.name] if namespace else []
        self.events: list[SpeakerEvent] = []
        self._downs: dict[int, int] = {}
        self.speaker = Speaker(
            self.events.extend, command=[*prefix, sys.executable, "-m", "kroute.speaker"]
        )

    async def __aenter__(self) -> Self:
        await self.speaker.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.speaker.stop()

    def of(self, *kinds: type, peer: int | None = None) -> list[Any]:
        """Events of these kinds, of one peer if given."""
        return [
            e
            for e in self.events
            if isinstance(e, kinds) and (peer is None or getattr(e, "peer", None) == peer)
        ]

    def is_up(self, peer: int = 1) -> bool:
        """Whether the last that was said of the session is Up."""
        last = self.of(Up, Down, peer=peer)
        return bool(last) and isinstance(last[-1], Up)

    async def up(self, peer: int = 1, timeout: float = 15.0) -> Up:
        """Wait for the session."""
        await until(lambda: self.is_up(peer), timeout, f"session {peer}; last: {self.events[-3:]}")
        found: Up = self.of(Up, peer=peer)[-1]
        return found

    async def down(self, peer: int = 1, timeout: float = 15.0) -> Down:
        """Wait for the next end of the session, and say why."""
        known = self._downs.get(peer, 0)
        await until(
            lambda: len(self.of(Down, peer=peer)) > known, timeout, f"session {peer} to end"
        )
        self._downs[peer] = known + 1
        found: Down = self.of(Down, peer=peer)[known]
        return found

    async def ready(self, times: int = 1) -> None:
        """Wait until the process runs for the so-manyth time."""
        await until(lambda: len(self.of(SpeakerReady)) >= times, 15, "the speaker to be ready")

    async def told(self, words: str, peer: int = 1) -> None:
        """Wait for a reason why there is no session."""
        await until(
            lambda: any(words in a.text for a in self.of(Attempt, peer=peer)),
            15,
            f"{words}: {self.events}",
        )

    def bodies(self, peer: int = 1) -> list[bytes]:
        """All UPDATE bodies of a peer."""
        return [body for event in self.of(Updates, peer=peer) for body in event.bodies]


class ScriptedPeer:
    """A BGP speaker that does what the test says, on a plain blocking socket.

    It lives in the namespace of the thread that made it.
    """

    def __init__(self, address: str, asn: int, *, hold_time: int = 90, port: int = 179) -> None:
        self.address, self.asn, self.hold_time, self.port = address, asn, hold_time, port
        self.listener = socket.create_server(
            (address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET, backlog=8
        )
        self.listener.settimeout(10)
        self.sock: socket.socket | None = None
        self._buffer = b""

    def close(self) -> None:
        """Close everything."""
        for sock in (self.sock, self.listener):
            if sock is not None:
                sock.close()

    def accept(self) -> None:
        """Take the speaker's connection."""
        self.use(self.listener.accept()[0])

    def connect(self, address: str, port: int = 179) -> None:
        """Open a connection to the speaker from our address."""
        self.use(socket.create_connection((address, port), 10, (self.address, 0)))

    def use(self, sock: socket.socket) -> None:
        """Go on with this connection."""
        self.sock, self._buffer = sock, b""
        sock.settimeout(10)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        assert self.sock is not None
        self.sock.sendall(data)

    def read(self) -> tuple[int, bytes]:
        """Type and body of the next message; (0, b"") when the speaker has closed."""
        assert self.sock is not None
        while len(self._buffer) < 19 or len(self._buffer) < int.from_bytes(
            self._buffer[16:18], "big"
        ):
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return 0, b""
            self._buffer += data
        length = int.from_bytes(self._buffer[16:18], "big")
        found = self._buffer[18], self._buffer[19:length]
        self._buffer = self._buffer[length:]
        return found

    def read_until(self, kind: int) -> bytes:
        """The body of the next message of this type."""
        while True:
            found, body = self.read()
            if found == kind:
                return body
            if not found:
                raise AssertionError(f"closed before a message of type {kind}")

    def open_message(
        self, capabilities: Sequence[bytes] | None = None, router_id: str = "9.9.9.9"
    ) -> bytes:
        """Our OPEN; IPv4 unicast and AS4 unless told otherwise."""
        if capabilities is None:
            capabilities = [
                b"\x01\x04\0\x01\0\x01",
                b"\x41\x04" + struct.pack("!I", self.asn),
                b"\x02\0",
            ]
        packed = b"".join(bytes((2, len(c))) + c for c in capabilities)
        asn = min(self.asn, 65535)
        fixed = struct.pack("!BHH4s", 4, asn, self.hold_time, socket.inet_aton(router_id))
        return message(OPEN, fixed + bytes((len(packed),)) + packed)

    def establish(self, capabilities: Sequence[bytes] | None = None) -> bytes:
        """OPEN and KEEPALIVE both ways; returns the body of the speaker's OPEN."""
        self.send(self.open_message(capabilities) + message(KEEPALIVE))
        theirs = self.read_until(OPEN)
        self.read_until(KEEPALIVE)
        return theirs


def parameters(local: str, peer: str, **more: Any) -> SessionParameters:
    """Session parameters for tests: AS 65000 towards AS 65001 and a short connect-retry."""
    values: dict[str, Any] = {
        "address": peer,
        "local_address": local,
        "asn": 65001,
        "local_asn": 65000,
        "router_id": "1.1.1.1",
        "connect_retry": 1.0,
        "families": (2,) if ":" in peer else (1,),
    }
    return SessionParameters(**{**values, **more})


__all__ = [
    "Attempt",
    "Down",
    "Refresh",
    "ScriptedPeer",
    "Side",
    "SpeakerDied",
    "Up",
    "Updates",
    "parameters",
]
