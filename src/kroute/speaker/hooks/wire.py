"""One TCP connection as ExaBGP sees it: reading and writing buffered, nothing ever waits."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final

from exabgp.bgp.message import Notify
from exabgp.reactor.network.connection import Connection
from exabgp.reactor.network.error import LostConnection, NetworkError, NotConnected

from kroute.codec.frames import BGP_HEADER, BGP_HEADER_SIZE, MARKER

_CHUNK: Final = 1 << 16
"""Octets per look at a peer; also what the daemon gets to read in one turn of its loop: 64 KiB keep it below 30 ms."""
_SHARED: Final = memoryview(bytearray(_CHUNK))
_VECTOR: Final = 64

_OPEN, _UPDATE, _NOTIFICATION, _KEEPALIVE, _REFRESH = 1, 2, 3, 4, 5
_SHORTEST: Final = {_OPEN: 29, _UPDATE: 23, _NOTIFICATION: 21, _KEEPALIVE: 19, _REFRESH: 23}
_PARAMETERS: Final = 10
_NOTHING: Final = (0, 0, b"", b"", None)

Message = tuple[int, int, bytes, bytes, None]
"""Length, type, header, body, None: what ``Protocol.read_message`` expects from a reader."""


def words(error: OSError) -> str:
    """An error of a socket as an operator reads it: ``connection refused``."""
    if error.errno is None:
        return str(error)
    return os.strerror(error.errno).lower()


def _is_filled(body: bytes) -> bool:
    """Whether the optional parameters of an OPEN end where it ends (RFC 4271 §4.2, RFC 9072 §2)."""
    if body[_PARAMETERS - 1 : _PARAMETERS + 1] == b"\xff\xff":
        return len(body) == _PARAMETERS + 3 + int.from_bytes(
            body[_PARAMETERS + 1 : _PARAMETERS + 3], "big"
        )
    return len(body) == _PARAMETERS + body[_PARAMETERS - 1]


class Wire(Connection):  # type: ignore[misc]
    """A connection; ``incoming`` says who opened it.

    While :attr:`on_updates` is set (session Established), complete UPDATE messages are handed over in
    one piece and ExaBGP only hears that there was an UPDATE, which feeds its hold timer.
    """

    def __init__(
        self, afi: Any, sock: socket.socket, remote: str, local: str, *, incoming: bool
    ) -> None:
        super().__init__(afi, remote, local)
        self.direction = "incoming" if incoming else "outgoing"
        self.incoming = incoming
        self.io: socket.socket | None = sock
        self.since = time.monotonic()
        """When it was opened."""
        self.progress = self.since
        """When the kernel took something last."""
        self.queued = 0
        """Octets that wait for the peer."""
        self.answered = False
        """The loop saw the attempt to connect come to an end."""
        self.starved = False
        """The last look found no complete message."""
        self.blocked = False
        """The kernel's buffer was full at the last look."""
        self.interest: object = None
        """What the loop was asked to watch for."""
        self.drained = False
        """Nothing more to read until the next event; set it to look at buffered bytes only."""
        self.fills = 0
        """How often bytes were taken from the socket."""
        self.heard = self.since
        """When octets came last."""
        self.octets_in = 0
        self.octets_out = 0
        self.received = dict.fromkeys(_SHORTEST, 0)
        """Messages that came, by type."""
        self.sent = dict.fromkeys(_SHORTEST, 0)
        """Messages that went out, by type; but for ready-made UPDATEs, which their maker counts."""
        self.goodbye = b""
        """Body of the NOTIFICATION that was sent."""
        self.farewell = b""
        """Body of the NOTIFICATION that was received."""
        self.on_updates: Callable[[bytes], None] | None = None
        self.on_output: Callable[[], None] = lambda: None
        self.on_close: Callable[[socket.socket], None] = socket.socket.close
        self._out: deque[bytes | memoryview] = deque()
        self._buffer = b""
        self._at = 0

    # -- connecting

    def establish(self, address: tuple[Any, ...], deadline: float) -> Iterator[bool]:
        """Connect without waiting: yields False until connected.

        Raises:
            NetworkError: refused, unreachable, or no answer by the deadline.
        """
        if self.io is None:
            raise NotConnected("closed before it was connected")
        status = self.io.connect_ex(address)
        while status == errno.EINPROGRESS:
            yield False
            if self.io is None:
                raise NotConnected("closed before it was connected")
            if self.answered:
                status = self.io.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            elif time.monotonic() > deadline:
                status = errno.ETIMEDOUT
        if status:
            self.close()
            raise NetworkError(os.strerror(status).lower())
        self.since = time.monotonic()

    # -- reading

    def reader(self) -> Iterator[Message]:
        """One message; ``(0, 0, b"", b"", None)`` as long as none is complete.

        Raises:
            Notify: what the peer sent is no BGP message; carries the NOTIFICATION to send.
            NetworkError: the connection is gone.
        """
        while (message := self._next()) is None:
            self.starved = True
            yield _NOTHING
        yield message

    def _next(self) -> Message | None:
        while (message := self._cut()) is None:
            if not self._fill():
                return None
        return message

    def _fill(self) -> bool:
        if self.io is None:
            raise NotConnected("the connection is closed")
        if self.drained:
            return False
        try:
            count = self.io.recv_into(_SHARED)
        except (BlockingIOError, InterruptedError):
            self.drained = True
            return False
        except OSError as error:
            raise LostConnection(words(error)) from None
        if not count:
            raise LostConnection("closed by the peer")
        self.drained = count < _CHUNK
        self.heard = time.monotonic()
        self.octets_in += count
        self.fills += 1
        received = _SHARED[:count].tobytes()
        self._buffer = (
            self._buffer[self._at :] + received if self._at < len(self._buffer) else received
        )
        self._at = 0
        return True

    def _cut(self) -> Message | None:
        data, at = self._buffer, self._at
        if len(data) - at < BGP_HEADER_SIZE:
            if at == len(data):
                self._buffer, self._at = b"", 0
            return None
        marker, length, kind = BGP_HEADER.unpack_from(data, at)
        self._check(marker, length, kind)
        if len(data) - at < length:
            return None
        self._at = end = at + length
        self.received[kind] += 1
        if kind == _UPDATE and self.on_updates is not None:
            self._at = end = self._run_end(end)
            self.on_updates(data[at:end])
            return length, kind, b"", b"", None
        body = data[at + BGP_HEADER_SIZE : end]
        if kind == _NOTIFICATION:
            self.farewell = body
        elif kind == _OPEN and not _is_filled(body):
            raise Notify(2, 0, b"")
        return length, kind, data[at : at + BGP_HEADER_SIZE], body, None

    def _run_end(self, at: int) -> int:
        """Where the row of complete UPDATEs ends; whatever is odd ends it and is looked at by itself."""
        data, size, unpack = self._buffer, self.msg_size, BGP_HEADER.unpack_from
        end = len(data)
        last = end - BGP_HEADER_SIZE
        count = 0
        while at <= last:
            marker, length, kind = unpack(data, at)
            if (
                kind != _UPDATE
                or marker != MARKER
                or length > size
                or length < 23
                or at + length > end
            ):
                break
            at += length
            count += 1
        self.received[_UPDATE] += count
        return at

    def _check(self, marker: bytes, length: int, kind: int) -> None:
        if marker != MARKER:
            raise Notify(1, 1, b"")
        if length < BGP_HEADER_SIZE or length > self.msg_size:
            raise Notify(1, 2, length.to_bytes(2, "big"))
        if kind not in _SHORTEST:
            raise Notify(1, 3, bytes((kind,)))
        if length < _SHORTEST[kind] or (kind == _KEEPALIVE and length != BGP_HEADER_SIZE):
            raise Notify(1, 2, length.to_bytes(2, "big"))
        if kind == _OPEN and self.on_updates is not None:
            raise Notify(5, 3, bytes((kind,)))

    # -- writing

    def writer(self, data: bytes) -> Iterator[bool]:
        """Queue a message; it never has to be asked again."""
        if data[18] == _NOTIFICATION:
            self.goodbye = data[BGP_HEADER_SIZE:]
        self.sent[data[18]] += 1
        self.queue(data)
        yield True

    def queue(self, data: bytes) -> None:
        """Queue complete messages; they leave at the end of the turn."""
        if self.io is None:
            return
        self._out.append(data)
        self.queued += len(data)
        self.on_output()

    def drop_queue(self) -> None:
        """Forget what waits, but for the rest of a piece that is partly sent: the stream stays in step."""
        first = self._out[0] if self._out and isinstance(self._out[0], memoryview) else None
        self._out.clear()
        self.queued = 0
        if first is not None:
            self._out.append(first)
            self.queued = len(first)

    def flush(self) -> bool:
        """Hand the kernel what it takes now; True when nothing waits any more.

        A broken connection counts as nothing waiting: reading will say what happened.
        """
        out = self._out
        while self.queued and self.io is not None:
            try:
                sent = self.io.sendmsg(list(islice(out, _VECTOR)))
            except (BlockingIOError, InterruptedError):
                return False
            except OSError:
                out.clear()
                self.queued = 0
                break
            self._sent(sent)
        return True

    def _sent(self, count: int) -> None:
        self.queued -= count
        self.octets_out += count
        self.progress = time.monotonic()
        out = self._out
        while count:
            first = len(out[0])
            if first > count:
                out[0] = memoryview(out[0])[count:]
                return
            count -= first
            out.popleft()

    @property
    def lacks(self) -> str:
        """The message that the peer has to send next before the session is established."""
        return "KEEPALIVE after its OPEN" if self.received[_OPEN] else "OPEN"

    def rest(self) -> bytes:
        """What could not be sent before :meth:`close`."""
        return b"".join(self._out)

    def fd(self) -> int:
        """The descriptor, -1 when closed."""
        return -1 if self.io is None else self.io.fileno()

    def close(self) -> None:
        """Give the socket away: whoever set :attr:`on_close` closes it."""
        sock = getattr(self, "io", None)
        if sock is None:
            return
        self.flush()
        self.io = None
        self.on_close(sock)
