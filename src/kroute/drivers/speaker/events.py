"""What the speaker driver tells the daemon. One batch keeps the order in which the speaker said it."""

from __future__ import annotations

from typing import Any, NamedTuple

from kroute.codec.frames import Frame, FrameError, Kind, bodies, unpack_json
from kroute.model.bgp import Asn, Capability, Negotiated, PeerRestart, SessionDown
from kroute.model.net import Family


class Updates(NamedTuple):
    """Bodies of UPDATE messages (RFC 4271 §4.3, what follows the header) of one session, in order."""

    peer: int
    bodies: list[bytes]


class Up(NamedTuple):
    """A session is established. Nothing has been sent on it but OPEN and KEEPALIVE."""

    peer: int
    negotiated: Negotiated


class Down(NamedTuple):
    """An established session ended; told once for each Up, also when the peer is removed or the speaker dies."""

    peer: int
    down: SessionDown


class Attempt(NamedTuple):
    """Why there is no session: told when the reason changes."""

    peer: int
    text: str


class Refresh(NamedTuple):
    """The peer wants to hear a family again (RFC 2918)."""

    peer: int
    family: Family


class Backlog(NamedTuple):
    """Octets waiting for a slow peer: told beyond 4 MiB, and with 0 when all is sent. At 64 MiB the session ends."""

    peer: int
    octets: int


class Counters(NamedTuple):
    """What a session's connection has counted, as the speaker tells it when asked; see ``Speaker.counters``."""

    peer: int
    values: dict[str, Any]


class SpeakerReady(NamedTuple):
    """The process runs and knows every desired peer; all sessions start from scratch."""

    version: str
    pid: int
    privileges: str


class SpeakerDied(NamedTuple):
    """The process ended by itself; a Down for each established session came before."""

    reason: str


class SpeakerLog(NamedTuple):
    """Words for the log, with the severity of :mod:`logging`."""

    severity: int
    text: str


SpeakerEvent = (
    Updates
    | Up
    | Down
    | Attempt
    | Refresh
    | Backlog
    | Counters
    | SpeakerReady
    | SpeakerDied
    | SpeakerLog
)


def event_of(frame: Frame) -> SpeakerEvent | None:
    """A frame as an event; None for what does not concern the daemon (another SAFI, refresh borders).

    Raises:
        FrameError: the body is not what the kind promises.
    """
    kind, peer, body = frame
    if kind == Kind.UPDATES:
        return Updates(peer, bodies(body))
    try:
        return _session_event(kind, peer, body)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FrameError(f"a frame of kind {kind} cannot be read: {error!r}") from None


def _session_event(kind: int, peer: int, body: bytes) -> SpeakerEvent | None:
    match kind:
        case Kind.UP:
            return Up(peer, _negotiated(body))
        case Kind.DOWN:
            return Down(peer, _session_down(body))
        case Kind.ATTEMPT:
            return Attempt(peer, body.decode())
        case Kind.REFRESH:
            return _refresh(peer, body)
        case Kind.BACKLOG:
            return Backlog(peer, int.from_bytes(body, "big"))
        case Kind.COUNTERS:
            return Counters(peer, unpack_json(body))
        case Kind.READY:
            ready = unpack_json(body)
            return SpeakerReady(ready["version"], ready["pid"], ready["privileges"])
        case Kind.LOG:
            return SpeakerLog(body[0], body[1:].decode())
        case _:
            raise FrameError(f"the speaker sent a frame of kind {kind}")


def _negotiated(body: bytes) -> Negotiated:
    values = unpack_json(body)
    restart = values.pop("restart")
    families = _families(values.pop("families"))
    return Negotiated(
        asn=Asn(values.pop("asn")),
        families=families,
        restart=restart and _peer_restart(restart),
        add_path=_families(values.pop("add_path")),
        add_path_send=_families(values.pop("add_path_send")),
        capabilities=tuple(Capability(*row) for row in values.pop("capabilities")),
        **values,
    )


def _peer_restart(values: dict[str, object]) -> PeerRestart:
    return PeerRestart(
        restarting=bool(values["restarting"]),
        notification=bool(values["notification"]),
        restart_time=int(str(values["restart_time"])),
        families=_families(values["families"]),
        forwarding=_families(values["forwarding"]),
    )


def _families(afis: object) -> tuple[Family, ...]:
    """Known families; others a peer offers mean nothing here."""
    known = {int(f) for f in Family}
    return tuple(Family(a) for a in afis if a in known) if isinstance(afis, list) else ()


def _session_down(body: bytes) -> SessionDown:
    values = unpack_json(body)
    return SessionDown(
        reason=values["reason"], sent=_pair(values["sent"]), received=_pair(values["received"])
    )


def _pair(value: list[int] | None) -> tuple[int, int] | None:
    return (value[0], value[1]) if value else None


def _refresh(peer: int, body: bytes) -> Refresh | None:
    afi, subtype, safi = int.from_bytes(body[:2], "big"), body[2], body[3]
    if subtype or safi != 1 or afi not in {int(f) for f in Family}:
        return None
    return Refresh(peer, Family(afi))
