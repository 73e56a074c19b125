"""One peer: who connects, which of two connections stays, when the next attempt is due."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from exabgp.protocol.ip import IP
from exabgp.reactor.network.error import NetworkError

from kroute.codec.frames import SessionParameters
from kroute.speaker.counters import counters
from kroute.speaker.endpoint import Endpoint
from kroute.speaker.hooks.peer import Ended, Peer
from kroute.speaker.hooks.protocol import describe, graceful
from kroute.speaker.hooks.wire import Wire, words
from kroute.speaker.knock import Knock
from kroute.speaker.limits import CONNECT, HANDSHAKE_TICK, YOUNG, overdue
from kroute.speaker.loop import CLOSED, FAILED, READ, WRITE, Loop, Timer
from kroute.speaker.neighbor import accepted_socket, make_neighbor, outgoing_socket
from kroute.speaker.protection import reprotect
from kroute.speaker.reports import Reports

_FORGET: Final = (bytes((6, 2)), bytes((6, 3)))
"""Administrative shutdown and peer de-configured: what must reach a peer as Hard Reset if it keeps
routes over an ordinary NOTIFICATION (RFC 8538 §3.1)."""


class Session:
    """A peer of ours, from ADD to REMOVE.

    Initiate (:class:`kroute.model.bgp.Initiate`) decides: ``both`` connects and accepts; of two connections
    the one whose OPEN went out first stays, the other is parked and takes over if that one fails, so no
    second OPEN ever provokes a collision (RFC 4271 §6.8). ``active`` connects, and takes an incoming
    connection as a knock. ``knock`` accepts, and knocks while the session is down. ``passive`` accepts.
    """

    def __init__(
        self, index: int, parameters: SessionParameters, loop: Loop, reports: Reports
    ) -> None:
        self.index = index
        self.parameters = parameters
        self.paused = False
        """Established sessions are not read while the daemon does not keep up."""
        self.backlogged = False
        """A BACKLOG frame told that much is waiting."""
        self._loop = loop
        self._reports = reports
        self._peer = Peer(
            make_neighbor(parameters),
            self,
            parameters.connect_retry,
            restarting=parameters.restarting,
        )
        self._connects = parameters.initiate in ("both", "active")
        self._dialling: Wire | None = None
        self._parked: Wire | None = None
        self._alarm: Timer | None = None
        self._knock = (
            Knock(parameters, loop, self._knocked) if parameters.initiate == "knock" else None
        )
        self._removed = False
        self._last_told = ""

    # -- commands

    def start(self) -> None:
        """First attempt, or first knock, now."""
        self._turn()

    def connect_now(self) -> None:
        """Forget the back-off; an attempt that is waiting for an answer starts anew."""
        self._peer.backoff.now()
        if self._dialling is not None and time.monotonic() - self._dialling.since > 0.1:
            self._hang_up()
        if self._knock is not None and self._peer.wire is None:
            self._knock.now()
        self._turn()

    def soften(self, parameters: SessionParameters) -> None:
        """Take over what needs no new session."""
        before, self.parameters = self.parameters, parameters
        self._peer.soften(parameters)
        self._connects = parameters.initiate in ("both", "active")
        for wire in (self._peer.wire, self._parked, self._dialling):
            if wire is not None and wire.io is not None:
                reprotect(wire.io, before, parameters, self.tell)
        if not self._peer.is_up:
            self._turn()

    def counters(self) -> dict[str, Any]:
        """What the present connection has counted; see :mod:`kroute.speaker.counters`."""
        return counters(self._peer.wire, self._peer.backoff.until, time.monotonic())

    def reset(self, notice: bytes) -> None:
        """End the session; it comes back, at once if it had lasted."""
        self._end(notice, "reset")
        self._turn()

    def remove(self, notice: bytes) -> None:
        """End for good."""
        self._removed = True
        if self._alarm is not None:
            self._alarm.cancel()
        if self._knock is not None:
            self._knock.stop()
        self._end(notice, "removed")
        self._unpark()

    def overflow(self) -> None:
        """The peer does not read: Cease, out of resources (RFC 4486)."""
        wire = self._peer.wire
        if wire is not None:
            wire.drop_queue()
        self._peer.finish(bytes((6, 8)), "the peer does not read")
        self._schedule()

    @property
    def wire(self) -> Wire | None:
        """The connection of the established session; None while there is none."""
        return self._peer.wire if self._peer.is_up else None

    def pause(self, paused: bool) -> None:
        """Stop or resume reading from the peer; keepalives go on."""
        self.paused = paused
        wire = self._peer.wire
        if wire is not None and wire.on_updates is not None:
            self._watch(wire)
            if not paused:
                self._peer.keep_alive()

    def flush(self) -> None:
        """Send what waits; ask for the rest of the room when the kernel's buffer is full."""
        wire = self._peer.wire
        if wire is not None:
            wire.blocked = not wire.flush()
            self._watch(wire)

    # -- turns

    def _turn(self) -> None:
        """Let the state machine go on, then see when it is next due."""
        if self._removed:
            return
        more = (self._peer.wire is not None or self._connects) and self._peer.turn()
        if self._peer.wire is None and self._parked is not None:
            self._promote()
            return
        if self._parked is not None:
            self._settle()
        self._schedule(at_once=more)

    def _tick(self) -> None:
        """The alarm rang: nothing new to read, look at timers only."""
        wire = self._peer.wire
        if wire is not None:
            wire.drained = True
            if self.paused and wire.on_updates is not None:
                self._peer.keep_alive()
            self._expire(wire)
        self._turn()

    def _expire(self, wire: Wire) -> None:
        verdict = overdue(self._peer, wire, time.monotonic())
        if verdict is None:
            return
        notice, reason = verdict
        if not notice:
            self.tell(reason)
            return
        wire.drop_queue()
        self._peer.finish(notice, reason)

    def _schedule(self, *, at_once: bool = False) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        if self._removed:
            return
        now = time.monotonic()
        if at_once:
            due = now
        elif self._peer.is_up:
            due = now + self._peer.tick
        elif self._peer.wire is not None or self._dialling is not None:
            due = now + HANDSHAKE_TICK
        elif self._connects:
            due = max(self._peer.backoff.until, now) + 0.001
        else:
            if self._knock is not None:
                self._knock.soon()
            return
        self._alarm = self._loop.at(due, self._tick)

    def _ready(self, events: int) -> None:
        wire = self._peer.wire
        if wire is not None:
            if events & WRITE and wire.flush():
                wire.blocked = False
                self._watch(wire)
                self._reports.flush_later(self)
            if events & (READ | FAILED):
                wire.drained = False
                self._turn()
        elif self._dialling is not None:
            self._dialling.answered = True
            self._turn()

    def _watch(self, wire: Wire) -> None:
        events = 0 if self.paused and wire.on_updates is not None else READ
        self._interest(wire, events | (WRITE if wire.blocked else 0), self._ready)

    def _interest(self, wire: Wire, events: int, handler: Callable[[int], None]) -> None:
        if wire.io is not None and wire.interest != (events, handler):
            wire.interest = (events, handler)
            self._loop.watch(wire.fd(), events, handler)

    # -- connections

    def _wire(self, sock: socket.socket, *, incoming: bool) -> Wire:
        remote = Endpoint.parse(self.parameters.address).address
        local = Endpoint.parse(self.parameters.local_address).address
        wire = Wire(IP.toafi(remote), sock, remote, local, incoming=incoming)
        wire.on_output = lambda: self._reports.flush_later(self)
        wire.on_close = lambda closed: self._reports.linger(closed, wire)
        return wire

    def dial(self) -> Iterator[Wire]:
        """Connect; see :class:`kroute.speaker.hooks.peer.Owner`."""
        try:
            sock = outgoing_socket(self.parameters)
            address = Endpoint.parse(self.parameters.address).sockaddr(self.parameters.port)
        except OSError as error:
            raise NetworkError(words(error)) from None
        wire = self._dialling = self._wire(sock, incoming=False)
        try:
            self._interest(wire, WRITE, self._ready)
            for _ in wire.establish(address, time.monotonic() + CONNECT):
                yield wire
        except BaseException:
            self._dialling = None
            raise

    def dialled(self) -> Wire:
        """The connected wire; see :class:`kroute.speaker.hooks.peer.Owner`."""
        wire, self._dialling = self._dialling, None
        assert wire is not None
        self._watch(wire)
        return wire

    def _hang_up(self) -> None:
        """Give up an attempt to connect."""
        wire, self._dialling = self._dialling, None
        self._peer.generator = None
        if wire is not None:
            wire.close()

    def _end(self, notice: bytes, reason: str) -> None:
        self._hang_up()
        if self._peer.wire is None:
            return
        if notice[:2] in _FORGET and self._peer.keeps_routes:
            notice = bytes((6, 9)) + notice
        self._peer.finish(notice, reason)

    # -- incoming connections

    def accept(self, sock: socket.socket) -> None:
        """The peer opened a connection."""
        if self.parameters.initiate == "active":
            sock.close()
            self._answer_knock()
            return
        try:
            accepted_socket(sock, self.parameters)
        except (NetworkError, OSError) as error:
            sock.close()
            self.tell(f"cannot prepare an incoming connection: {error}")
            return
        self._place(self._wire(sock, incoming=True))

    def _answer_knock(self) -> None:
        """The peer asks us to connect: it has just started, or lost the session that we still see."""
        wire, now = self._peer.wire, time.monotonic()
        if self._peer.up_since is not None:
            if now - self._peer.up_since < YOUNG:
                return
            self._peer.finish(b"", "the peer has restarted: it asks for a new session")
        elif wire is not None:
            if now - wire.since < YOUNG:
                return
            self._peer.finish(b"", "the peer asks for a new session")
        self.connect_now()

    def _place(self, wire: Wire) -> None:
        """Use the connection now, keep it in reserve, or refuse it."""
        current = self._peer.wire
        if current is None:
            self._hang_up()
            self._adopt(wire)
        elif not self._peer.is_up:
            if current.incoming and self.parameters.initiate != "both":
                self._peer.finish(b"", "the peer opened another connection")
                self._adopt(wire)
            else:
                self._park(wire)
        elif self._superseded():
            self._peer.finish(b"", "the peer has restarted: it opened a new connection")
            self._adopt(wire)
        else:
            self._refuse(wire)

    def _superseded(self) -> bool:
        """Whether a new connection ends the established session.

        It does with graceful restart (RFC 4724 §5), and where only the peer ever connects.
        """
        since = self._peer.up_since or 0.0
        if time.monotonic() - since < YOUNG:
            return False
        return self.parameters.initiate != "both" or graceful(self._peer.proto.negotiated)

    def _adopt(self, wire: Wire) -> None:
        if self._knock is not None:
            self._knock.stop()
        self._peer.adopt(wire)
        self._watch(wire)
        self._turn()

    def _refuse(self, wire: Wire) -> None:
        """Cease, connection collision resolution (RFC 4486)."""
        wire.goodbye = bytes((6, 7))
        wire.queue(b"\xff" * 16 + b"\x00\x15\x03\x06\x07")
        wire.close()

    def _park(self, wire: Wire) -> None:
        self._unpark()
        self._parked = wire
        self._interest(wire, CLOSED, lambda events: self._unpark())

    def _unpark(self) -> None:
        wire, self._parked = self._parked, None
        if wire is not None:
            wire.close()

    def _promote(self) -> None:
        wire, self._parked = self._parked, None
        if wire is not None:
            self._adopt(wire)

    def _settle(self) -> None:
        """A parked connection loses against an established session and wins against one that hangs."""
        wire = self._peer.wire
        if self._peer.is_up and self._parked is not None:
            parked, self._parked = self._parked, None
            self._refuse(parked)
        elif (
            wire is not None and not self._peer.confirming and time.monotonic() - wire.since > YOUNG
        ):
            self._peer.finish(b"", "the peer did not answer our OPEN on this connection")
            self._promote()

    # -- events

    def on_up(self) -> None:
        """See :class:`kroute.speaker.hooks.peer.Owner`."""
        wire = self._peer.wire
        assert wire is not None
        assert wire.io is not None
        wire.on_updates = lambda run: self._reports.updates(self, run)
        self._last_told = ""
        local = str(wire.io.getsockname()[0]).partition("%")[0]
        self._reports.up(self, describe(self._peer.proto.negotiated, self._peer.neighbor, local))
        if self.paused:
            self._watch(wire)

    def on_down(self, ended: Ended) -> None:
        """See :class:`kroute.speaker.hooks.peer.Owner`."""
        self._reports.down(self, ended)

    def on_attempt(self, ended: Ended) -> None:
        """See :class:`kroute.speaker.hooks.peer.Owner`."""
        if not self._removed:
            self.tell(ended["reason"])

    def on_refresh(self, afi: int, safi: int, subtype: int) -> None:
        """See :class:`kroute.speaker.hooks.peer.Owner`."""
        self._reports.refresh(self, afi, safi, subtype)

    def _knocked(self, problem: str) -> None:
        if problem:
            self.tell(f"knocking: {problem}")

    def tell(self, text: str) -> None:
        """Say why there is no session, once for each change of the reason."""
        if text != self._last_told:
            self._last_told = text
            self._reports.attempt(self, text)
