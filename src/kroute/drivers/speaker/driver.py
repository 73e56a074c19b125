"""The speaker as the daemon sees it: desired peers in, events out, whatever happens to the process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from kroute.codec.frames import (
    Frame,
    FrameError,
    Kind,
    SessionParameters,
    chunks,
    pack_send,
)
from kroute.codec.notification import notification
from kroute.drivers.speaker.events import (
    Counters,
    Down,
    SpeakerDied,
    SpeakerEvent,
    Up,
    event_of,
)
from kroute.drivers.speaker.process import SpeakerProcess
from kroute.model.bgp import CeaseSubcode, NoticeCode, Peer, SessionDown
from kroute.model.errors import DriverError
from kroute.model.net import Family

_SEND_CHUNK: Final = 1 << 20
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_LASTED: Final = 30.0
_PATIENCE: Final = 3.0
_KEY_LIMIT: Final = 80
_ANSWER: Final = 1.0
"""Seconds that the speaker has to answer a person's question."""
_COMMAND: Final = (sys.executable, "-P", "-m", "kroute.speaker")

OnEvents = Callable[[list[SpeakerEvent]], None]


def session_parameters(
    peer: Peer,
    *,
    password: str = "",
    listen_port: int = 179,
    connect_retry: float = 5.0,
    restarting: bool = False,
    forwarding: Iterable[Family] = (),
) -> SessionParameters:
    """What the speaker must know about a peer.

    ``password`` is the content of ``peer.password_file``. ``restarting``: our first OPEN says that we have
    restarted. ``forwarding``: families whose forwarding state was kept (RFC 4724).

    Raises:
        DriverError: the password is longer than 80 characters or not ASCII (RFC 2385, linux/tcp.h).
    """
    if len(password) > _KEY_LIMIT or not password.isascii():
        raise DriverError(
            f"{peer.name}: a TCP MD5 password is at most {_KEY_LIMIT} ASCII characters"
        )
    return SessionParameters(
        address=str(peer.address),
        local_address=str(peer.local_address),
        asn=peer.asn,
        local_asn=peer.local_asn,
        router_id=peer.router_id,
        families=tuple(int(f) for f in peer.families),
        port=peer.port,
        listen_port=listen_port,
        initiate=peer.initiate.value,
        hold_time=peer.hold_time,
        keepalive=peer.keepalive,
        local_port=peer.local_port or 0,
        device=peer.device,
        add_path=tuple(int(f) for f in peer.add_path),
        add_path_send=tuple(int(f) for f in peer.add_path_send),
        extended_nexthop=peer.extended_nexthop,
        restart_time=peer.graceful_restart.restart_time if peer.graceful_restart else None,
        ttl_security=peer.ttl_security,
        multihop=peer.multihop,
        password=password,
        connect_retry=connect_retry,
        restarting=restarting,
        forwarding=tuple(int(f) for f in forwarding),
    )


class Speaker:
    """Keeps the speaker running. Peers are named by indexes that the caller chooses, from 1.

    Events come in batches, in order, from the event loop's thread. When the process dies, each established
    session gets its Down, then SpeakerDied; it is started again after a pause, told all peers, and
    SpeakerReady follows. ``user`` is whom the process becomes if we are root; ``command`` starts the process.
    """

    def __init__(
        self, on_events: OnEvents, *, user: str = "nobody", command: Sequence[str] = _COMMAND
    ) -> None:
        self._on_events = on_events
        self._user = user
        self._command = tuple(command)
        self._process: SpeakerProcess | None = None
        self._peers: dict[int, SessionParameters] = {}
        self._up: set[int] = set()
        self._asked: dict[int, list[asyncio.Future[dict[str, Any]]]] = {}
        self._pause = _FIRST_PAUSE
        self._started_at = 0.0
        self._restart: asyncio.TimerHandle | None = None
        self._stopped = False

    async def start(self) -> None:
        """Start the process; SpeakerReady tells when it works. Peers may be set before or after.

        Raises:
            DriverError: it cannot be started.
        """
        self._spawn()

    async def stop(self, *, silent: bool = True, text: str = "") -> None:
        """End the process, within 3 seconds.

        ``silent`` closes the connections without a word, so that peers with graceful restart keep our
        routes; else each peer gets Cease, administrative shutdown, with ``text``.
        """
        self._stopped = True
        if self._restart is not None:
            self._restart.cancel()
        process, self._process = self._process, None
        if process is None:
            return
        process.send(Kind.STOP, 0, b"" if silent else _cease(CeaseSubcode.ADMIN_SHUTDOWN, text))
        await process.ended(_PATIENCE)
        await process.stop(_PATIENCE)

    @property
    def pid(self) -> int | None:
        """Process id of the speaker; None while it is not running."""
        return self._process.pid if self._process is not None else None

    @property
    def peers(self) -> Mapping[int, SessionParameters]:
        """The desired peers as last set."""
        return self._peers

    def set_peers(self, desired: Mapping[int, SessionParameters]) -> None:
        """Make these the peers: adds, removes (Cease, peer de-configured) and replaces what differs.

        Equal parameters never touch a session; nor do changes that bind the next OPEN only.
        """
        for index in self._peers.keys() - desired.keys():
            self.remove(index)
        for index, parameters in desired.items():
            self.add(index, parameters)

    def add(self, index: int, parameters: SessionParameters) -> None:
        """Add a peer, or replace the parameters of one; a session that must change is reset."""
        known = self._peers.get(index)
        if known == parameters:
            return
        self._peers[index] = parameters
        if known is not None and not known.same_session(parameters):
            self._tell(Kind.REMOVE, index, _cease(CeaseSubcode.OTHER_CONFIG_CHANGE))
        self._tell(Kind.ADD, index, parameters.pack())

    def remove(
        self,
        index: int,
        *,
        subcode: int = CeaseSubcode.PEER_DECONFIGURED,
        text: str = "",
        data: bytes = b"",
    ) -> None:
        """Forget a peer: Cease with this subcode (and text where RFC 9003 has room for it, else data), then close."""
        if self._peers.pop(index, None) is not None:
            self._tell(Kind.REMOVE, index, notification(NoticeCode.CEASE, subcode, text, data))

    def reset(
        self,
        index: int,
        *,
        code: int = NoticeCode.CEASE,
        subcode: int = CeaseSubcode.ADMIN_RESET,
        text: str = "",
        data: bytes = b"",
    ) -> None:
        """End a session with this NOTIFICATION; it comes back by itself, at once if it had lasted 5 s."""
        self._tell(Kind.RESET, index, notification(code, subcode, text, data))

    def send(self, indexes: Iterable[int], messages: bytes) -> None:
        """Send ready-made BGP messages to those of the peers that are in Established.

        What is sent between an Up and the next Down of a peer reaches that session or none.

        Raises:
            FrameError: the bytes are no row of complete BGP messages.
        """
        peers = tuple(indexes)
        if peers and messages:
            for piece in chunks(messages, _SEND_CHUNK):
                self._tell(Kind.SEND, 0, pack_send(peers, piece))

    async def counters(self, index: int) -> dict[str, Any]:
        """What a session's connection has counted, as :mod:`kroute.speaker.counters` describes it.

        Empty if there is no such peer, or no speaker that answers within a second.
        """
        if self._process is None or index not in self._peers:
            return {}
        asked = asyncio.get_running_loop().create_future()
        self._asked.setdefault(index, []).append(asked)
        self._tell(Kind.ASK, index)
        try:
            return await asyncio.wait_for(asked, _ANSWER)
        except TimeoutError:
            return {}

    def connect_now(self, index: int) -> None:
        """Forget the back-off of this peer: something says that it is back."""
        self._tell(Kind.CONNECT_NOW, index)

    # -- the process

    def _tell(self, kind: Kind, index: int, body: bytes = b"") -> None:
        """A process that is not there is told all peers when it is."""
        if self._process is not None:
            self._process.send(kind, index, body)

    def _spawn(self, *, again: bool = False) -> None:
        self._restart = None
        self._started_at = asyncio.get_running_loop().time()
        self._process = SpeakerProcess(self._command, self._user, self._frames, self._died)
        for index, parameters in self._peers.items():
            told = replace(parameters, restarting=True) if again else parameters
            self._process.send(Kind.ADD, index, told.pack())

    def _frames(self, frames: list[Frame]) -> None:
        try:
            events = [event for frame in frames if (event := event_of(frame)) is not None]
        except FrameError as error:
            if self._process is not None:
                self._process.condemn(f"it does not keep to the frames: {error}")
            return
        for event in events:
            if isinstance(event, Counters):
                self._answer(event)
            elif isinstance(event, Up):
                self._up.add(event.peer)
                self._tell(Kind.BEGIN, event.peer)
            elif isinstance(event, Down):
                self._up.discard(event.peer)
        events = [event for event in events if not isinstance(event, Counters)]
        if events:
            self._on_events(events)

    def _answer(self, event: Counters) -> None:
        for asked in self._asked.pop(event.peer, ()):
            if not asked.done():
                asked.set_result(event.values)

    def _died(self, reason: str) -> None:
        self._process = None
        for index in list(self._asked):
            self._answer(Counters(index, {}))
        if self._stopped:
            return
        down = SessionDown(reason=f"the speaker died: {reason}")
        events: list[SpeakerEvent] = [Down(index, down) for index in sorted(self._up)]
        self._up.clear()
        loop = asyncio.get_running_loop()
        if loop.time() - self._started_at > _LASTED:
            self._pause = _FIRST_PAUSE
        self._restart = loop.call_later(self._pause, self._again)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        self._on_events([*events, SpeakerDied(reason)])

    def _again(self) -> None:
        try:
            self._spawn(again=True)
        except DriverError as error:
            self._died(str(error))


def _cease(subcode: int, text: str = "") -> bytes:
    return notification(NoticeCode.CEASE, subcode, text)
