"""The frames between daemon and speaker: bytes ↔ (kind, peer, body), without I/O.

Both directions use one layout on a stream socket: kind (1 octet), peer index (4), length of the body (4),
body; numbers in network order. The daemon chooses the index of a peer; 0 means no peer in particular.
Frames of one peer keep their order, so whatever lies between UP and DOWN belongs to that session.

The speaker imports this module and nothing else of kroute, so it needs the standard library alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum
from struct import Struct, iter_unpack
from typing import Any, Final

HEADER: Final = Struct("!BII")
"""Kind, peer index, length of the body."""

MAX_BODY: Final = 1 << 24
"""Octets; no honest frame is longer, so a longer one means that the stream is out of step."""

BGP_HEADER: Final = Struct("!16sHB")
"""Marker, length with the header, type (RFC 4271 §4.1)."""

BGP_HEADER_SIZE: Final = 19
_FAR: Final = 128
"""Messages of one length that are looked for at once."""
MARKER: Final = b"\xff" * 16
UPDATE: Final = 2

ANY_ASN: Final = 0
"""As the AS of a peer: any but ours, learned from its OPEN."""


class FrameError(ValueError):
    """The bytes are no frame, or a frame's body is not what its kind promises; the text says which."""


class Kind(IntEnum):
    """What a frame says. Up to 15 from the speaker to the daemon, from 16 the other way."""

    READY = 1
    """The speaker runs; body: JSON with ``version`` (of ExaBGP), ``pid`` and ``privileges`` (words)."""
    UP = 2
    """Session established; body: JSON, what both OPENs agreed on."""
    UPDATES = 3
    """One or more complete UPDATE messages, marker and length checked; see :func:`bodies`."""
    DOWN = 4
    """An established session ended; body: JSON ``reason``, ``sent``, ``received``."""
    ATTEMPT = 5
    """A session did not come up, or a listening socket failed; body: words."""
    REFRESH = 6
    """The peer wants a family again (RFC 2918); body: AFI (2), subtype (1), SAFI (1)."""
    BACKLOG = 7
    """Octets queued to a peer (4): sent when they grow beyond a mark and when they are gone again."""
    LOG = 8
    """Body: one octet of severity as in :mod:`logging`, then words."""
    COUNTERS = 9
    """Answer to ASK; body: JSON, what the session's connection has counted, empty while there is none."""
    ECHOED = 10
    """Answer to ECHO."""

    ADD = 16
    """Body: :class:`SessionParameters`. For a known index: take over what binds the next OPEN only."""
    REMOVE = 17
    """Forget the peer; body: code, subcode, data of the NOTIFICATION to send, or nothing to send none."""
    RESET = 18
    """As REMOVE, but the session may come back at once."""
    SEND = 19
    """Body: number of peers (4), their indexes (4 each), ready-made BGP messages for those in Established."""
    CONNECT_NOW = 20
    """Forget the back-off of this peer."""
    STOP = 21
    """End; body: code, subcode, data of the NOTIFICATION for all, or nothing to close in silence."""
    BEGIN = 22
    """The daemon has seen UP. Each UP is answered by one BEGIN, and SEND counts only when all are answered:
    what was meant for the session before never reaches the new one."""
    ASK = 23
    """Answered by COUNTERS."""
    ECHO = 24
    """Answered by ECHOED at once: a speaker that does not is hung."""


_KINDS: Final = frozenset(int(k) for k in Kind)

Frame = tuple[int, int, bytes]
"""Kind, peer index, body."""


def pack(kind: int, peer: int, body: bytes = b"") -> bytes:
    """One frame as it travels.

    Raises:
        FrameError: the body is longer than :data:`MAX_BODY`.
    """
    if len(body) > MAX_BODY:
        raise FrameError(f"a frame of {len(body)} octets is longer than {MAX_BODY}")
    return HEADER.pack(kind, peer, len(body)) + body


class FrameReader:
    """Cuts a stream into frames, however it arrives."""

    __slots__ = ("_held", "_missing", "_parts")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._held = 0
        self._missing = 0
        """Octets that must still arrive before looking again is worth it."""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now, in order; the rest waits for more bytes.

        Raises:
            FrameError: unknown kind or impossible length; the stream cannot be used any further.
        """
        if self._parts:
            self._parts.append(data)
            self._held += len(data)
            if len(data) < self._missing:
                self._missing -= len(data)
                return []
            data = b"".join(self._parts)
        frames, position = self._cut(data)
        rest = data[position:]
        self._parts = [rest] if rest else []
        self._held = len(rest)
        return frames

    @property
    def held(self) -> int:
        """Octets of the incomplete frame that wait for their rest."""
        return self._held

    def _cut(self, data: bytes) -> tuple[list[Frame], int]:
        frames: list[Frame] = []
        append, unpack, size = frames.append, HEADER.unpack_from, HEADER.size
        position, end = 0, len(data)
        self._missing = 1
        while end - position >= size:
            kind, peer, length = unpack(data, position)
            if kind not in _KINDS:
                raise FrameError(f"unknown frame kind {kind}")
            if length > MAX_BODY:
                raise FrameError(f"a frame of {length} octets is longer than {MAX_BODY}")
            start = position + size
            if end - start < length:
                self._missing = length - (end - start)
                break
            position = start + length
            append((kind, peer, data[start:position]))
        return frames, position


def bodies(run: bytes) -> list[bytes]:
    """The bodies (what follows the 19 octets of header) of the BGP messages in an UPDATES frame.

    Raises:
        FrameError: the run is not a row of complete BGP messages.
    """
    found: list[bytes] = []
    position, end = 0, len(run)
    while position < end:
        size = run[position + 16 : position + 18]
        if len(size) < 2:
            raise FrameError("a run of UPDATEs ends inside a header")
        length = size[0] << 8 | size[1]
        following = position + length
        if length < BGP_HEADER_SIZE or following > end:
            raise FrameError(f"a run of UPDATEs holds a message of impossible length {length}")
        if run[following + 16 : following + 18] == size:
            following = position + _alike(run, position, length) * length
            cut = iter_unpack(
                f"{BGP_HEADER_SIZE}x{length - BGP_HEADER_SIZE}s", run[position:following]
            )
            found += [body for (body,) in cut]
        else:
            found.append(run[position + BGP_HEADER_SIZE : following])
        position = following
    return found


def _alike(run: bytes, position: int, length: int) -> int:
    """How many complete messages of this length follow one another, as far as it pays to look."""
    stop = position + _FAR * length
    high, low = run[position + 16 : stop : length], run[position + 17 : stop : length]
    return min(
        len(high) - len(high.lstrip(high[:1])),
        len(low) - len(low.lstrip(low[:1])),
        (len(run) - position) // length,
    )


def chunks(messages: bytes, limit: int) -> Iterator[bytes]:
    """Ready-made BGP messages in pieces of at most ``limit`` octets, cut between messages only.

    Raises:
        FrameError: the bytes are not a row of complete BGP messages.
    """
    if len(messages) <= limit:
        yield messages
        return
    start = position = 0
    while position < len(messages):
        length = int.from_bytes(messages[position + 16 : position + 18], "big")
        if length < BGP_HEADER_SIZE or position + length > len(messages):
            raise FrameError(f"a BGP message of impossible length {length}")
        if position + length - start > limit and position > start:
            yield messages[start:position]
            start = position
        position += length
    yield messages[start:]


_COUNT: Final = Struct("!I")


def pack_send(peers: Iterable[int], messages: bytes) -> bytes:
    """The body of a SEND frame: ready-made BGP messages for several peers."""
    indexes = tuple(peers)
    return Struct(f"!I{len(indexes)}I").pack(len(indexes), *indexes) + messages


def unpack_send(body: bytes) -> tuple[tuple[int, ...], bytes]:
    """Peer indexes and messages of a SEND frame.

    Raises:
        FrameError: the body is shorter than its own count says.
    """
    if len(body) < 4 or len(body) < 4 + 4 * (count := _COUNT.unpack_from(body)[0]):
        raise FrameError("a SEND frame is shorter than its list of peers")
    return Struct(f"!{count}I").unpack_from(body, 4), body[4 + 4 * count :]


def unpack_json(body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        FrameError: it is no JSON object.
    """
    try:
        value = json.loads(body)
    except ValueError as error:
        raise FrameError(f"a frame holds no JSON: {error}") from None
    if not isinstance(value, dict):
        raise FrameError("a frame holds JSON that is no object")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionParameters:
    """All that the speaker must know about one peer. Times in seconds; AFIs are IANA's (1, 2).

    Addresses are text; a link-local one names its interface (``fe80::1%eth0``). ``password`` is the TCP
    MD5 key itself (RFC 2385) and stays out of every repr.
    """

    address: str
    local_address: str
    asn: int
    local_asn: int
    router_id: str
    families: tuple[int, ...] = (1,)
    add_path: tuple[int, ...] = ()
    """AFIs of which we ask for several paths to a prefix (RFC 7911, receive)."""
    add_path_send: tuple[int, ...] = ()
    """AFIs in which we offer to tell several (send). Where both are asked for, the AFIs are the same."""
    port: int = 179
    """TCP port of the peer."""
    local_port: int = 0
    """TCP port that we connect from; 0 lets the kernel choose."""
    device: str = ""
    """Interface that connections are bound to (SO_BINDTODEVICE); empty for none."""
    listen_port: int = 179
    """Our TCP port for this peer's connections."""
    initiate: str = "both"
    """As :class:`kroute.model.bgp.Initiate`."""
    hold_time: int = 90
    keepalive: int | None = None
    """Seconds between our KEEPALIVEs; never more than a third of the negotiated hold time, which None means."""
    extended_nexthop: bool = False
    """Offer IPv4 routes with IPv6 next hops (RFC 8950)."""
    restart_time: int | None = None
    """Offer graceful restart (RFC 4724), and how long the peer shall keep our routes."""
    ttl_security: int | None = None
    """GTSM (RFC 5082): hops between us, 1 for a neighbour on the link."""
    multihop: int | None = None
    """TTL to send with; None means the kernel's for an internal peer and 1 for an external one."""
    password: str = field(default="", repr=False)
    connect_retry: float = 5.0
    """Longest pause between attempts to connect, and between knocks."""
    restarting: bool = False
    """The first OPEN says that we have restarted (R bit)."""
    forwarding: tuple[int, ...] = ()
    """AFIs whose forwarding state we kept (F bit)."""

    def pack(self) -> bytes:
        """The body of an ADD frame."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def unpack(cls, body: bytes) -> SessionParameters:
        """The parameters in an ADD frame.

        Raises:
            FrameError: no JSON object, or its keys are not these fields.
        """
        values = unpack_json(body)
        for name in ("families", "forwarding", "add_path", "add_path_send"):
            values[name] = tuple(values.get(name, ()))
        try:
            return cls(**values)
        except TypeError as error:
            raise FrameError(f"an ADD frame does not describe a session: {error}") from None

    def same_session(self, other: SessionParameters) -> bool:
        """Whether a running session may stay when these replace the others.

        It may where the rest can be set on a live connection (TTL, GTSM, KEEPALIVE interval, one TCP MD5 key in place
        of another) or binds the next attempt or OPEN only. A session without a key never gets one while it runs, nor
        the other way round: until both ends have changed, nothing would pass.
        """
        if bool(self.password) != bool(other.password):
            return False
        if (self.restart_time is None) != (other.restart_time is None):
            return False
        if (self.initiate in _CHOSEN) != (other.initiate in _CHOSEN):
            return False
        return replace(self, **{name: getattr(other, name) for name in _SOFT}) == other


_CHOSEN: Final = ("both", "passive")
"""Who initiates as configured; between nodes it follows from their addresses."""

_SOFT: Final = (
    "connect_retry",
    "forwarding",
    "initiate",
    "keepalive",
    "local_port",
    "multihop",
    "password",
    "restart_time",
    "restarting",
    "ttl_security",
)
"""Parameters that need no new session."""
