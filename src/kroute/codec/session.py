"""What the speaker tells about a session, as values of the model."""

from __future__ import annotations

from typing import Any

from kroute.codec.frames import unpack_json
from kroute.model.bgp import Asn, Negotiated, PeerRestart, SessionDown
from kroute.model.net import Family


def negotiated_of(body: bytes) -> Negotiated:
    """The body of an UP frame.

    Raises:
        FrameError: it is no JSON object.
        KeyError: it lacks a field; speaker and daemon are not of one version.
    """
    said = unpack_json(body)
    return Negotiated(
        asn=Asn(said["asn"]),
        router_id=said["router_id"],
        asn4=said["asn4"],
        message_size=said["message_size"],
        hold_time=said["hold_time"],
        families=_families(said["families"]),
        extended_nexthop=said["extended_nexthop"],
        route_refresh=said["route_refresh"],
        restart=_restart(said["restart"]),
        local_address=said["local_address"],
    )


def _restart(said: dict[str, Any] | None) -> PeerRestart | None:
    if said is None:
        return None
    return PeerRestart(
        restarting=said["restarting"],
        notification=said["notification"],
        restart_time=said["restart_time"],
        forwarding=_families(said["forwarding"]),
        families=_families(said["families"]),
    )


def _families(afis: list[int]) -> tuple[Family, ...]:
    return tuple(f for f in Family if f in afis)


def session_down_of(body: bytes) -> SessionDown:
    """The body of a DOWN frame."""
    said = unpack_json(body)
    return SessionDown(
        reason=said["reason"],
        sent=_notice(said.get("sent")),
        received=_notice(said.get("received")),
    )


def _notice(said: list[int] | None) -> tuple[int, int] | None:
    return (said[0], said[1]) if said else None
