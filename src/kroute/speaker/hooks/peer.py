"""ExaBGP's Peer: the state machine of one session, telling its owner what happens."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any, Final, Protocol

from exabgp.bgp.fsm import FSM
from exabgp.bgp.message import Notification, Notify
from exabgp.reactor.peer import ACTION
from exabgp.reactor.peer import Peer as StockPeer

from kroute.codec.frames import SessionParameters
from kroute.codec.notification import describe_notification
from kroute.speaker.hooks.protocol import notification_bit
from kroute.speaker.hooks.wire import Wire

_OPEN_ERROR: Final = 2
_FILLS: Final = 4
_STEPS: Final = 256
_SETTLED: Final = 5.0
_FIRST_PAUSE: Final = 0.25

Ended = dict[str, Any]
"""``reason`` in words, ``sent`` and ``received``: code and subcode of a NOTIFICATION, or None."""


class Owner(Protocol):
    """Who owns the peer: gives it connections and hears its events."""

    def dial(self) -> Iterator[Wire]:
        """Connect: yields the wire until it is connected; raises NetworkError."""

    def dialled(self) -> Wire:
        """The wire that :meth:`dial` has connected."""

    def on_up(self) -> None:
        """The session is established."""

    def on_down(self, ended: Ended) -> None:
        """An established session ended."""

    def on_attempt(self, ended: Ended) -> None:
        """A session did not come up."""

    def on_refresh(self, afi: int, safi: int, subtype: int) -> None:
        """The peer wants a family again."""


class Backoff:
    """Pauses between attempts: doubling with jitter up to ``limit`` seconds, none after a session that lasted.

    Has the methods of ``exabgp.reactor.delay.Delay``. ``reset`` is what ExaBGP calls when a session comes
    up; it takes effect only if the session lasts, so one that fails at once does not spin.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.until = 0.0
        """Not before this time (monotonic)."""
        self._pause = 0.0
        self._up_since: float | None = None

    def reset(self) -> None:
        """A session came up."""
        self._up_since = time.monotonic()

    def increase(self) -> None:
        """An attempt or a session ended."""
        now, up_since = time.monotonic(), self._up_since
        self._up_since = None
        if up_since is not None and now - up_since > _SETTLED:
            self.until, self._pause = now, 0.0
            return
        self._pause = min(max(_FIRST_PAUSE, self._pause * 2), self.limit)
        self.until = now + self._pause * random.uniform(0.75, 1.0)

    def now(self) -> None:
        """Try at once, whatever was before."""
        self.until = self._pause = 0.0

    def backoff(self) -> bool:
        """Whether to wait still."""
        return time.monotonic() < self.until


class FlatRib:
    """Stands where ``neighbor.rib`` does and holds nothing: the daemon owns every RIB."""

    def __init__(self) -> None:
        self.incoming = self.outgoing = self

    def clear(self) -> None:
        """Nothing to clear."""

    reset = uncache = clear

    def pending(self) -> bool:
        """UPDATEs go straight to the wire, never through here."""
        return False

    def replace_restart(self, previous: Any, current: Any) -> None:
        """The daemon announces after UP."""


class Peer(StockPeer):  # type: ignore[misc]
    """The state machine of one session. Also the ``reactor.processes`` that ExaBGP reports to."""

    terminate_on_error = False

    def __init__(self, neighbor: Any, owner: Owner, limit: float, *, restarting: bool) -> None:
        super().__init__(neighbor, self)
        self.processes = self
        self.owner = owner
        self.up_since: float | None = None
        """When the session was established (monotonic); None while it is not."""
        self._restarted = restarting
        self._delay = Backoff(limit)

    # -- turns

    def turn(self) -> bool:
        """Go on as far as what has arrived allows; large floods are cut so that others get their turn.

        Returns whether there is more to do at once, which no event of the socket will tell.
        """
        wire = self.wire
        limit = (wire.fills if wire is not None else 0) + _FILLS
        for _ in range(_STEPS):
            fresh = self.generator is None
            if wire is not None:
                wire.starved = False
            action = self.run()
            wire = self.wire
            if fresh and self._begun():
                continue
            if action != ACTION.NOW or wire is None or wire.starved:
                return False
            if wire.fills > limit:
                break
        return True

    def _begun(self) -> bool:
        """Whether the state machine has just made its first step, which ExaBGP ends with "later"."""
        return self.generator is not None

    @property
    def wire(self) -> Wire | None:
        """The connection in use."""
        return self.proto.connection if self.proto else None

    @property
    def is_up(self) -> bool:
        """Whether UP was told and DOWN was not."""
        return self.up_since is not None

    @property
    def confirming(self) -> bool:
        """Whether the peer's OPEN was good and its KEEPALIVE is due."""
        return bool(self.fsm.state == FSM.OPENCONFIRM)

    @property
    def backoff(self) -> Backoff:
        """The pauses between attempts."""
        return self._delay

    def dial(self) -> Iterator[Wire]:
        """See :class:`Owner`."""
        return self.owner.dial()

    def dialled(self) -> Wire:
        """See :class:`Owner`."""
        return self.owner.dialled()

    def adopt(self, wire: Wire) -> None:
        """Take this connection; the one before must be closed."""
        self.generator = None
        self.proto = _protocol(self).accept(wire)
        self.backoff.now()

    def finish(self, notice: bytes, reason: str) -> None:
        """End the session now: send a NOTIFICATION (code, subcode, data) unless empty, close, tell the owner."""
        wire = self.wire
        error: Any = reason
        if notice and wire is not None:
            error = Notify(notice[0], notice[1], notice[2:])
            for _ in wire.writer(error.message()):
                pass
        self._reset(reason, error)

    def keep_alive(self) -> None:
        """Take the peer for alive although nothing is read from it."""
        if self.recv_timer is not None:
            self.recv_timer.last_read = int(time.monotonic())

    def soften(self, parameters: SessionParameters) -> None:
        """Take over what binds the next OPEN only."""
        self.neighbor.parameters = parameters
        self._restarted = parameters.restarting
        self.backoff.limit = parameters.connect_retry
        if self.is_up:
            self.proto.pace(parameters.keepalive)

    @property
    def hold_time(self) -> int:
        """The negotiated one of an established session, in seconds."""
        return int(self.proto.negotiated.holdtime)

    @property
    def tick(self) -> float:
        """Seconds between looks at the timers of an established session, so that no KEEPALIVE is late."""
        hold = self.proto.negotiated.holdtime
        return float(min(max(hold / 30, 0.25), hold.keepalive() / 4 or 3.0, 3.0))

    @property
    def keeps_routes(self) -> bool:
        """Whether the peer would keep our routes after an ordinary NOTIFICATION (RFC 8538)."""
        return self.is_up and notification_bit(self.proto.negotiated)

    # -- what ExaBGP calls

    def me(self, message: str) -> str:
        """The peer in ExaBGP's errors; its own words cannot name a peer of any AS."""
        return f"peer {self.neighbor['peer-address']}: {message}"

    def _close(self, message: Any = "", error: Any = "") -> None:
        was_up, self.up_since = self.up_since is not None, None
        ended = _ended(self.wire, message, error)
        super()._close(message, error)
        if was_up:
            self.owner.on_down(ended)
        else:
            self.owner.on_attempt(ended)

    def resend(self, enhanced: bool, family: Any = None) -> None:
        """A ROUTE-REFRESH came."""
        afi, safi = family
        self.owner.on_refresh(int(afi), int(safi), 0)

    def up(self, neighbor: Any) -> None:
        """``processes.up``: called before the first message of the established session is read."""
        self.up_since = time.monotonic()
        self.owner.on_up()

    def down(self, neighbor: Any, reason: str) -> None:
        """``processes.down``: told by :meth:`_close`, which knows more."""

    def connected(self, neighbor: Any) -> None:
        """``processes.connected``: nobody asks."""

    def broken(self, neighbor: Any) -> bool:
        """``processes.broken``: there is no helper process that could be."""
        return False


def _protocol(peer: Peer) -> Any:
    """A message layer as ExaBGP would make it, so that both ways are the same."""
    import exabgp.reactor.peer as stock

    return stock.Protocol(peer)


def _ended(wire: Wire | None, message: Any, error: Any) -> Ended:
    """Who ended it and why."""
    if isinstance(error, Notify):
        told = describe_notification(error.code, error.subcode, error.data)
        return _verdict(
            f"sent NOTIFICATION {told}{_aside(message, error)}", sent=[error.code, error.subcode]
        )
    if isinstance(error, Notification):
        body = (
            wire.farewell
            if wire is not None and len(wire.farewell) >= 2
            else bytes((error.code, error.subcode))
        )
        told = describe_notification(body[0], body[1], body[2:])
        return _verdict(f"received NOTIFICATION {told}", received=[body[0], body[1]])
    return _verdict(str(error or message or "internal error, see the log"))


def _aside(message: Any, error: Any) -> str:
    """Who asked for it, or what ExaBGP put into the data as text."""
    if not str(message).startswith("notification sent"):
        return f" ({message})"
    text = error.data.decode("ascii", errors="replace")
    return (
        f" ({text})" if error.code == _OPEN_ERROR and len(text) > 4 and text.isprintable() else ""
    )


def _verdict(
    reason: str, *, sent: list[int] | None = None, received: list[int] | None = None
) -> Ended:
    return {"reason": reason, "sent": sent, "received": received}
