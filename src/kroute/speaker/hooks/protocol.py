"""What we offer in an OPEN, and what a session takes from the two OPENs."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, Final

from exabgp.bgp.message import NOP, KeepAlive, Notify, Open
from exabgp.bgp.message.open.capability import Capabilities, Capability
from exabgp.bgp.message.open.capability.graceful import Graceful
from exabgp.bgp.message.open.capability.refresh import RouteRefresh
from exabgp.bgp.message.open.holdtime import HoldTime
from exabgp.protocol.family import AFI, SAFI
from exabgp.reactor.keepalive import KA
from exabgp.reactor.protocol import Protocol as StockProtocol

from kroute.codec.frames import ANY_ASN
from kroute.speaker.hooks.capabilities import add_path, add_path_send, side_by_side

_NOTIFICATION_BIT: Final = 0x4
_UNICAST: Final = 1
_CODE: Final = Capability.CODE
_AS_TRANS: Final = 23456
_OPEN_ERROR, _BAD_PEER_AS = 2, 2
_FSM_ERROR, _IN_OPENCONFIRM = 5, 2


class Offer(Capabilities):  # type: ignore[misc]
    """The capabilities of our OPEN; differs from ExaBGP's in graceful restart and route refresh."""

    def _graceful(self, neighbor: Any, restarted: bool) -> None:
        """RFC 4724 with the F bit where forwarding state was kept, and the N bit of RFC 8538."""
        parameters = neighbor.parameters
        if parameters.restart_time is None:
            return
        flags = _NOTIFICATION_BIT | (Graceful.RESTART_STATE if restarted else 0)
        families = [
            (afi, safi, Graceful.FORWARDING_STATE if int(afi) in parameters.forwarding else 0)
            for afi, safi in neighbor.families()
        ]
        self[_CODE.GRACEFUL_RESTART] = Graceful().set(flags, parameters.restart_time, families)

    def _refresh(self, neighbor: Any) -> None:
        """RFC 2918 only: nobody here would answer the enhanced kind (RFC 7313)."""
        self[_CODE.ROUTE_REFRESH] = RouteRefresh()

    def _hostname(self, neighbor: Any) -> None:
        """Not offered: it would tell every peer the name of the node."""


class Interval(HoldTime):  # type: ignore[misc]
    """A negotiated hold time with the KEEPALIVE interval that was asked for."""

    wanted: int | None = None

    def keepalive(self) -> int:
        """Seconds between KEEPALIVEs; never more than a third of the hold time (RFC 4271 §4.4), 0 for none."""
        third = int(super().keepalive())
        return third if self.wanted is None else min(self.wanted, third)


class Keepalives(KA):  # type: ignore[misc]
    """Sends KEEPALIVEs; known to its session, so that the interval can change while it runs."""

    def __init__(self, session: Any, proto: Any) -> None:
        super().__init__(session, proto)
        proto.keepalives = self


class Protocol(StockProtocol):  # type: ignore[misc]
    """The message layer of one session, on a :class:`~kroute.speaker.hooks.wire.Wire`."""

    keepalives: Keepalives | None = None
    """Set while the session is established."""

    def connect(self) -> Iterator[bool]:
        """Connect as the peer's owner says; yields True once connected.

        Raises:
            NetworkError: the attempt failed.
        """
        for wire in self.peer.dial():
            self.connection = wire
            yield False
        self.connection = self.peer.dialled()
        yield True

    def validate_open(self) -> None:
        """Check what the peer offered.

        Raises:
            Notify: the session cannot be; also when no family is common (RFC 5492 §3), and when a peer that may be
                of any AS but ours is of ours.
        """
        _check_as_numbers(self.negotiated.received_open)
        super().validate_open()
        parameters = self.neighbor.parameters
        if parameters.asn == ANY_ASN and self.negotiated.peer_as == parameters.local_asn:
            raise Notify(2, 2, "an external peer cannot be of our own AS")
        self.pace(self.neighbor.parameters.keepalive)
        if not families(self.negotiated, self.neighbor):
            raise Notify(2, 7, _wanted(self.neighbor))

    def read_keepalive(self) -> Iterator[Any]:
        """Wait for the KEEPALIVE that answers our OPEN; yields what is read until then, and it.

        An OPEN that comes once more is passed over: RFC 4271 §8.2.2 asks for no more than the detection of collisions
        then, and OpenBGPD 7.7 repeats its own on the connection after one that was lost while it opened.

        Raises:
            Notify: something else came.
        """
        message = yield from self._next()
        if _repeats(message, self.negotiated.received_open):
            message = yield from self._next()
        if message.TYPE != KeepAlive.TYPE:
            raise Notify(_FSM_ERROR, _IN_OPENCONFIRM)
        yield message

    def _next(self) -> Generator[Any, None, Any]:
        """The next message; yields ExaBGP's NOP while there is none."""
        for message in self.read_message():
            if message.TYPE != NOP.TYPE:
                return message
            yield message
        raise Notify(_FSM_ERROR, _IN_OPENCONFIRM)

    def pace(self, keepalive: int | None) -> None:
        """Send KEEPALIVEs at this interval from now on; None for a third of the hold time."""
        interval = Interval(self.negotiated.holdtime)
        interval.wanted = keepalive
        self.negotiated.holdtime = interval
        if self.keepalives is not None:
            self.keepalives.send_timer.keepalive = interval.keepalive()


def _repeats(message: Any, opened: Any) -> bool:
    """Whether a message is the OPEN that the peer has sent before."""
    if message.TYPE != Open.TYPE:
        return False
    one, other = (
        (int(m.asn), int(m.hold_time), str(m.router_id), str(m.capabilities))
        for m in (message, opened)
    )
    return one == other


def _check_as_numbers(opened: Any) -> None:
    """A speaker of 4-octet AS numbers repeats its number in the fixed field, or AS_TRANS there (RFC 6793 §4.1).

    Raises:
        Notify: the two numbers differ.
    """
    told = opened.capabilities.get(_CODE.FOUR_BYTES_ASN)
    if told is not None and int(opened.asn) not in (int(told), _AS_TRANS):
        words = f"AS {int(opened.asn)} in the OPEN, {int(told)} in its capability"
        raise Notify(_OPEN_ERROR, _BAD_PEER_AS, words)


def _wanted(neighbor: Any) -> bytes:
    """The data of "unsupported capability": our multiprotocol capabilities (RFC 5492 §3)."""
    packed = (afi.pack() + b"\0" + safi.pack() for afi, safi in neighbor.families())
    return b"".join(bytes((_CODE.MULTIPROTOCOL, len(value))) + value for value in packed)


def families(negotiated: Any, neighbor: Any) -> list[int]:
    """AFIs of the unicast families that both sides offered.

    A peer that offers no multiprotocol capability at all means IPv4 unicast (RFC 4760 §8).
    """
    if not negotiated.received_open.capabilities.announced(_CODE.MULTIPROTOCOL):
        return [1] if (AFI.ipv4, SAFI.unicast) in neighbor.families() else []
    return [int(afi) for afi, safi in negotiated.families if int(safi) == _UNICAST]


def notification_bit(negotiated: Any) -> bool:
    """Whether a NOTIFICATION keeps routes alive here, so that "forget me" needs a Hard Reset (RFC 8538 §3)."""
    ours, theirs = (
        side.capabilities.get(_CODE.GRACEFUL_RESTART) if side else None
        for side in (negotiated.sent_open, negotiated.received_open)
    )
    return bool(ours and theirs and theirs.restart_flag & _NOTIFICATION_BIT)


def graceful(negotiated: Any) -> bool:
    """Whether both sides offered graceful restart (RFC 4724)."""
    sides = (negotiated.sent_open, negotiated.received_open)
    return all(side and _CODE.GRACEFUL_RESTART in side.capabilities for side in sides)


def describe(negotiated: Any, neighbor: Any, local_address: str) -> dict[str, Any]:
    """What both OPENs agreed on, as plain values: the body of an UP frame."""
    received = negotiated.received_open
    return {
        "asn": int(negotiated.peer_as),
        "router_id": str(received.router_id),
        "asn4": bool(negotiated.asn4),
        "message_size": int(negotiated.msg_size),
        "hold_time": int(negotiated.holdtime),
        "keepalive": int(negotiated.holdtime.keepalive()),
        "families": families(negotiated, neighbor),
        "extended_nexthop": any(
            (int(afi), int(safi), int(nexthop)) == (1, _UNICAST, 2)
            for afi, safi, nexthop in negotiated.nexthop
        ),
        "route_refresh": received.capabilities.announced(_CODE.ROUTE_REFRESH),
        "restart": _restart(received.capabilities.get(_CODE.GRACEFUL_RESTART)),
        "local_address": local_address,
        "add_path": add_path(negotiated),
        "add_path_send": add_path_send(negotiated),
        "capabilities": side_by_side(negotiated),
    }


def _restart(offer: Any) -> dict[str, Any] | None:
    """The peer's Graceful Restart capability; unicast families only."""
    if offer is None:
        return None
    unicast = {int(afi): flags for (afi, safi), flags in offer.items() if int(safi) == _UNICAST}
    return {
        "restarting": bool(offer.restart_flag & Graceful.RESTART_STATE),
        "notification": bool(offer.restart_flag & _NOTIFICATION_BIT),
        "restart_time": int(offer.restart_time),
        "families": sorted(unicast),
        "forwarding": sorted(
            afi for afi, flags in unicast.items() if flags & Graceful.FORWARDING_STATE
        ),
    }
