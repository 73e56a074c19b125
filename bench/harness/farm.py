"""The other side of every session, in one epoll loop. It is passive: the subject connects to it.

It shares the machine's cores with what it measures, so it does little: it writes ready-made bytes, counts the
prefixes that come back and notes when.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Collection

from harness.bed import BenchError
from harness.wire import FEEDER_ASN, KEEPALIVE, open_message


class Session:
    """One session; addressed by our own end."""

    def __init__(self, sock: socket.socket, takers: Collection[str] = ()) -> None:
        self.sock = sock
        self.me: str = sock.getsockname()[0]
        self.several = self.me in takers
        """Whether it asks for several paths to a prefix; it must be told with path identifiers then."""
        self.buffer = b""
        self.out = memoryview(b"")
        self.up = False
        self.prefixes = 0
        self.withdrawn = 0
        self.first = 0.0
        """When the first UPDATE came since :meth:`reset`."""
        self.last = 0.0
        self.updates = 0
        self.keepalives: list[float] = []

    def reset(self) -> None:
        """Count from nought."""
        self.prefixes = self.withdrawn = self.updates = 0
        self.first = self.last = 0.0


class Farm:
    """Every session of our side. Make it inside the namespace of the peers' addresses."""

    def __init__(
        self, *, asn: int = FEEDER_ASN, hold: int = 90, takers: Collection[str] = ()
    ) -> None:
        """``takers``: addresses whose sessions take several paths to a prefix."""
        self.asn, self.hold, self.takers = asn, hold, takers
        self.sessions: dict[int, Session] = {}
        self.up: dict[str, Session] = {}
        self._epoll = select.epoll()
        self._listener = socket.create_server(("0.0.0.0", 179), backlog=1024)
        self._listener.setblocking(False)
        self._epoll.register(self._listener, select.EPOLLIN)
        self._next_keepalive = 0.0

    def close(self) -> None:
        """Close everything."""
        for session in self.sessions.values():
            session.sock.close()
        self._listener.close()
        self._epoll.close()

    def leave(self, session: Session) -> None:
        """Close a session from our side; the subject may come back."""
        self._drop(session)

    def send(self, session: Session, data: bytes) -> None:
        """Queue data; what the socket takes at once is written at once."""
        session.out = memoryview(bytes(session.out) + data) if session.out else memoryview(data)
        self._push(session)

    def run(self, until: Callable[[], bool], limit: float, step: float = 0.05) -> None:
        """Turn until the condition holds; ``step`` is the longest rest in seconds.

        Raises:
            BenchError: it does not hold within ``limit`` seconds.
        """
        end = time.monotonic() + limit
        while not until():
            if time.monotonic() > end:
                raise BenchError(f"not within {limit:.0f} s")
            self.turn(step)

    def rest(self, seconds: float) -> None:
        """Keep the sessions alive for a while."""
        end = time.monotonic() + seconds
        self.run(lambda: time.monotonic() >= end, seconds + 10)

    def turn(self, timeout: float) -> None:
        """One turn of the loop."""
        if (now := time.monotonic()) >= self._next_keepalive:
            self._next_keepalive = now + max(1.0, self.hold / 3)
            for session in list(self.up.values()):
                self.send(session, KEEPALIVE)
        for descriptor, events in self._epoll.poll(timeout):
            if descriptor == self._listener.fileno():
                self._accept()
                continue
            session = self.sessions.get(descriptor)
            if session is None:
                continue
            if events & select.EPOLLOUT:
                self._push(session)
            if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self._read(session)

    def _push(self, session: Session) -> None:
        try:
            while session.out:
                session.out = session.out[session.sock.send(session.out[: 1 << 20]) :]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(session)
            return
        wanted = select.EPOLLIN | (select.EPOLLOUT if session.out else 0)
        self._epoll.modify(session.sock, wanted)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            session = self.sessions[sock.fileno()] = Session(sock, self.takers)
            self._epoll.register(sock, select.EPOLLIN)
            words = open_message(self.asn, self.hold, session.me, several=session.several)
            self.send(session, words)

    def _drop(self, session: Session) -> None:
        self.sessions.pop(session.sock.fileno(), None)
        if self.up.get(session.me) is session:
            del self.up[session.me]
        session.up = False
        session.sock.close()

    def _read(self, session: Session) -> None:
        try:
            data = session.sock.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(session)
            return
        data, at, now = session.buffer + data, 0, time.monotonic()
        while len(data) - at >= 19:
            length = data[at + 16] << 8 | data[at + 17]
            if len(data) - at < length:
                break
            self._take(session, data[at + 18], data[at + 19 : at + length], now)
            at += length
        session.buffer = data[at:]

    def _take(self, session: Session, kind: int, body: bytes, now: float) -> None:
        if kind == 2:
            session.first = session.first or now
            session.last = now
            session.updates += 1
            gone = body[0] << 8 | body[1]
            skip = 4 + gone + (body[2 + gone] << 8 | body[3 + gone])
            session.withdrawn += _count(body[2 : 2 + gone])
            count = _count_paths if session.several else _count
            session.prefixes += count(body[skip:])
        elif kind == 4:
            session.keepalives.append(now)
            if not session.up:
                session.up = True
                self.up[session.me] = session
        elif kind == 1:
            self.send(session, KEEPALIVE)
        elif kind == 3:
            self._drop(session)


def _count(prefixes: bytes) -> int:
    """How many NLRI; long runs are /24 throughout, which is checked at both ends only."""
    size = len(prefixes)
    if size > 64 and size % 4 == 0 and prefixes[0] == prefixes[-4] == 24:
        return size // 4
    at = found = 0
    while at < size:
        at += 1 + ((prefixes[at] + 7) >> 3)
        found += 1
    return found


def _count_paths(entries: bytes) -> int:
    """The same behind path identifiers."""
    size = len(entries)
    if size > 128 and size % 8 == 0 and entries[4] == entries[-4] == 24:
        return size // 8
    at = found = 0
    while at < size:
        at += 5 + ((entries[at + 4] + 7) >> 3)
        found += 1
    return found
