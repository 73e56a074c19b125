"""The speaker at work: commands from the daemon to sessions, events of sessions to the daemon."""

from __future__ import annotations

import json
import logging
import socket
from typing import Final

from kroute.codec.frames import Frame, FrameError, Kind, SessionParameters, unpack_send
from kroute.speaker.channel import Channel
from kroute.speaker.hooks.peer import Ended
from kroute.speaker.hooks.wire import Wire
from kroute.speaker.linger import Lingering
from kroute.speaker.listener import Listener
from kroute.speaker.loop import Loop
from kroute.speaker.session import Session

OVERFLOW: Final = 64 << 20
"""Octets queued to one peer at which its session is dropped."""
BACKLOG: Final = 4 << 20
"""Octets queued to one peer at which the daemon is told."""

_GOODBYE: Final = 0.5


class Reactor:
    """Owns every session. The daemon's index names a session for as long as it exists."""

    def __init__(self, sock: socket.socket) -> None:
        self.loop = Loop()
        self._listener = Listener(self.loop, lambda text: self.log(logging.INFO, text))
        self._sessions: dict[int, Session] = {}
        self._unseen: dict[int, int] = {}
        """UPs of a peer that the daemon has not seen yet."""
        self._flush: dict[Session, None] = {}
        self._lingering: set[Lingering] = set()
        self.loop.after_every_turn(self._flush_sessions)
        self._channel = Channel(sock, self.loop, self._command)
        self._channel.on_pause = self._pause
        self._commands = {
            Kind.ADD: self._add,
            Kind.REMOVE: self._remove,
            Kind.RESET: self._reset,
            Kind.SEND: self._send,
            Kind.CONNECT_NOW: self._connect_now,
            Kind.STOP: self._stop,
            Kind.BEGIN: self._begin,
            Kind.ASK: self._ask,
            Kind.ECHO: self._echo,
        }

    def run(self, version: str, pid: int, privileges: str) -> None:
        """Tell READY and work until the daemon says STOP or is gone."""
        ready = {"version": version, "pid": pid, "privileges": privileges}
        self._channel.send(Kind.READY, 0, json.dumps(ready).encode())
        self._channel.flush()
        self.loop.run()

    def log(self, severity: int, text: str) -> None:
        """Words for the daemon's log."""
        self._channel.send(Kind.LOG, 0, bytes((severity,)) + text.encode(errors="replace"))

    # -- commands

    def _command(self, frame: Frame) -> None:
        kind, index, body = frame
        handler = self._commands.get(Kind(kind))
        if handler is None:
            raise FrameError(f"{Kind(kind).name} is no command")
        handler(index, body)

    def _add(self, index: int, body: bytes) -> None:
        parameters = SessionParameters.unpack(body)
        known = self._sessions.get(index)
        if known is not None:
            self._soften(known, parameters)
            return
        try:
            session = Session(index, parameters, self.loop, self)
        except (OSError, ValueError) as error:
            self._tell_attempt(index, f"these parameters make no session: {error}")
            return
        self._sessions[index] = session
        session.paused = self._channel.paused
        self._listener.add(parameters, session.accept, session.tell)
        session.start()

    def _soften(self, session: Session, parameters: SessionParameters) -> None:
        before = session.parameters
        guards = [(p.password, p.ttl_security) for p in (before, parameters)]
        session.soften(parameters)
        if guards[0] != guards[1]:
            self._listener.add(parameters, session.accept, session.tell)

    def _ask(self, index: int, body: bytes) -> None:
        session = self._sessions.get(index)
        told = session.counters() if session is not None else {}
        self._channel.send(Kind.COUNTERS, index, json.dumps(told).encode())

    def _echo(self, index: int, body: bytes) -> None:
        self._channel.send(Kind.ECHOED, index, body)

    def _remove(self, index: int, body: bytes) -> None:
        session = self._sessions.pop(index, None)
        if session is not None:
            self._listener.remove(session.parameters)
            session.remove(body)

    def _reset(self, index: int, body: bytes) -> None:
        if session := self._sessions.get(index):
            session.reset(body)

    def _connect_now(self, index: int, body: bytes) -> None:
        if session := self._sessions.get(index):
            session.connect_now()

    def _send(self, index: int, body: bytes) -> None:
        peers, messages = unpack_send(body)
        for peer in peers:
            session = self._sessions.get(peer)
            wire = session.wire if session is not None else None
            if session is None or wire is None or self._unseen[peer]:
                continue
            wire.queue(messages)
            if wire.queued > BACKLOG:
                self._backlog(session, wire)

    def _begin(self, index: int, body: bytes) -> None:
        self._unseen[index] = self._unseen.get(index, 0) - 1

    def _backlog(self, session: Session, wire: Wire) -> None:
        session.flush()
        if wire.queued > OVERFLOW:
            session.overflow()
        elif wire.queued > BACKLOG and not session.backlogged:
            session.backlogged = True
            self._channel.send(Kind.BACKLOG, session.index, wire.queued.to_bytes(4, "big"))

    def _stop(self, index: int, body: bytes) -> None:
        """With a NOTIFICATION or in silence; the kernel closes what is left when the process ends."""
        if body:
            for session in self._sessions.values():
                session.remove(body)
            self._sessions.clear()
        self._flush_sessions()
        self._channel.drain(_GOODBYE)
        if self._lingering:
            self.loop.later(_GOODBYE, self._quit)
        else:
            self._quit()

    def _quit(self) -> None:
        self.loop.stopped = True

    # -- what sessions report

    def up(self, session: Session, agreed: dict[str, object]) -> None:
        """See :class:`kroute.speaker.reports.Reports`."""
        session.backlogged = False
        self._unseen[session.index] = self._unseen.get(session.index, 0) + 1
        self._channel.send(Kind.UP, session.index, json.dumps(agreed).encode())

    def down(self, session: Session, ended: Ended) -> None:
        """See :class:`kroute.speaker.reports.Reports`."""
        self._channel.send(Kind.DOWN, session.index, json.dumps(ended).encode())

    def attempt(self, session: Session, text: str) -> None:
        """See :class:`kroute.speaker.reports.Reports`."""
        self._tell_attempt(session.index, text)

    def _tell_attempt(self, index: int, text: str) -> None:
        self._channel.send(Kind.ATTEMPT, index, text.encode(errors="replace"))

    def refresh(self, session: Session, afi: int, safi: int, subtype: int) -> None:
        """See :class:`kroute.speaker.reports.Reports`."""
        body = afi.to_bytes(2, "big") + bytes((subtype, safi))
        self._channel.send(Kind.REFRESH, session.index, body)

    def updates(self, session: Session, run: bytes) -> None:
        """See :class:`kroute.speaker.reports.Reports`."""
        self._channel.send(Kind.UPDATES, session.index, run)

    def flush_later(self, session: Session) -> None:
        """See :class:`kroute.speaker.reports.Reports`."""
        self._flush[session] = None

    def linger(self, sock: socket.socket, wire: Wire) -> None:
        """See :class:`kroute.speaker.reports.Reports`."""
        self.loop.forget(sock.fileno())
        if wire.goodbye:
            Lingering(sock, wire.rest(), self.loop, self._lingering)
        else:
            sock.close()

    # -- housekeeping

    def _flush_sessions(self) -> None:
        sessions, self._flush = self._flush, {}
        for session in sessions:
            session.flush()
            wire = session.wire
            if session.backlogged and (wire is None or not wire.queued):
                session.backlogged = False
                self._channel.send(Kind.BACKLOG, session.index, bytes(4))

    def _pause(self, paused: bool) -> None:
        self.log(
            logging.WARNING,
            "the daemon does not keep up: peers are not read"
            if paused
            else "the daemon keeps up again",
        )
        for session in self._sessions.values():
            session.pause(paused)
