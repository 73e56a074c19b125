"""The capabilities of both OPENs side by side (RFC 5492), in words that no peer chooses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from exabgp.bgp.message.open.capability import Capability
from exabgp.bgp.message.open.capability.graceful import Graceful

_CODE: Final = Capability.CODE
_UNICAST: Final = 1
_LABELS: Final = {1: "ipv4", 2: "ipv6"}
_NOTIFICATION_BIT: Final = 0x4
_DIRECTIONS: Final = {1: "receive", 2: "send", 3: "send and receive"}
_RECEIVE, _SEND = 1, 2
_NAMES: Final = {
    2: "route refresh",
    5: "extended next hop",
    6: "extended message",
    9: "role",
    64: "graceful restart",
    65: "4-octet AS",
    69: "add-path",
    70: "enhanced route refresh",
    71: "long-lived graceful restart",
    73: "host name",
    75: "software version",
    128: "route refresh (Cisco)",
    131: "multisession (Cisco)",
}

Row = tuple[str, str, str, bool]
"""Name, what we offered, what the peer offered (both empty where nothing was), whether it holds."""


def side_by_side(negotiated: Any) -> list[Row]:
    """Every capability that either OPEN of a session carries: families first, then by code."""
    ours, theirs = negotiated.sent_open.capabilities, negotiated.received_open.capabilities
    rows = _families(ours.get(_CODE.MULTIPROTOCOL, ()), theirs.get(_CODE.MULTIPROTOCOL, ()))
    for code in sorted({int(c) for c in (*ours, *theirs)} - {_CODE.MULTIPROTOCOL}):
        mine, other = (_text(code, side[code]) if code in side else "" for side in (ours, theirs))
        holds = bool(mine and other)
        if code == _CODE.ADD_PATH:
            holds = bool(add_path(negotiated) or add_path_send(negotiated))
        rows.append((_NAMES.get(code, f"capability {code}"), mine, other, holds))
    return rows


def add_path(negotiated: Any) -> list[int]:
    """AFIs of the unicast families in which the peer sends us path identifiers (RFC 7911 §4)."""
    return _agreed(negotiated, _RECEIVE, _SEND)


def add_path_send(negotiated: Any) -> list[int]:
    """AFIs of the unicast families in which we send the peer path identifiers."""
    return _agreed(negotiated, _SEND, _RECEIVE)


def _agreed(negotiated: Any, we: int, they: int) -> list[int]:
    ours, theirs = (
        side.capabilities.get(_CODE.ADD_PATH) or {}
        for side in (negotiated.sent_open, negotiated.received_open)
    )
    return sorted(
        int(afi)
        for (afi, safi), mine in ours.items()
        if int(safi) == _UNICAST and mine & we and _known(theirs.get((afi, safi), 0)) & they
    )


def _known(way: Any) -> int:
    """A direction of the capability; any value that RFC 7911 §4 does not define is ignored."""
    return int(way) if int(way) in _DIRECTIONS else 0


def _families(ours: Any, theirs: Any) -> list[Row]:
    known = {(int(afi), int(safi)) for afi, safi in (*ours, *theirs)}
    both = [{(int(afi), int(safi)) for afi, safi in side} for side in (ours, theirs)]
    rows = []
    for family in sorted(known):
        mine, other = ("yes" if family in side else "" for side in both)
        rows.append((_family(*family), mine, other, bool(mine and other)))
    return rows


def _family(afi: int, safi: int) -> str:
    if safi == _UNICAST and afi in _LABELS:
        return f"{_LABELS[afi]} unicast"
    return f"AFI {afi} SAFI {safi}"


def _text(code: int, offer: Any) -> str:
    """What an OPEN says under a code."""
    words = _WORDS.get(code)
    return "yes" if words is None else words(offer)


def _graceful(offer: Any) -> str:
    flags = [f"{int(offer.restart_time)} s"]
    flags += ["restarting"] if offer.restart_flag & Graceful.RESTART_STATE else []
    flags += ["NOTIFICATION"] if offer.restart_flag & _NOTIFICATION_BIT else []
    families = [
        _family(int(afi), int(safi)) + (" kept" if bits & Graceful.FORWARDING_STATE else "")
        for (afi, safi), bits in offer.items()
    ]
    return ", ".join([*flags, *families])


def _nexthop(offer: Any) -> str:
    pairs = (
        f"{_family(int(afi), int(safi))} over {_LABELS.get(int(hop), f'AFI {int(hop)}')}"
        for afi, safi, hop in offer
    )
    return ", ".join(pairs)


def _paths(offer: Any) -> str:
    return ", ".join(
        f"{_family(int(afi), int(safi))} {_direction(int(way))}"
        for (afi, safi), way in offer.items()
    )


def _direction(way: int) -> str:
    """FRR says 0, which RFC 7911 does not define, where it is to do neither (`disable-addpath-rx`)."""
    return _DIRECTIONS.get(way, "invalid") if way else "neither"


_WORDS: Final[dict[int, Callable[[Any], str]]] = {
    _CODE.NEXTHOP: _nexthop,
    _CODE.GRACEFUL_RESTART: _graceful,
    _CODE.FOUR_BYTES_ASN: lambda offer: str(int(offer)),
    _CODE.ADD_PATH: _paths,
}
