"""Frames of the speaker as events of the driver, and what the driver tells the speaker of a peer."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest

from kroute.codec.frames import MARKER, FrameError, Kind
from kroute.drivers.speaker import (
    Attempt,
    Backlog,
    Down,
    Refresh,
    SpeakerLog,
    SpeakerReady,
    Up,
    Updates,
    session_parameters,
)
from kroute.drivers.speaker.events import event_of
from kroute.model.bgp import (
    Asn,
    Capability,
    GracefulRestart,
    Initiate,
    Negotiated,
    Peer,
    PeerKind,
    PeerName,
    PeerRestart,
    SessionDown,
)
from kroute.model.errors import DriverError
from kroute.model.net import Family

AGREED = {
    "asn": 65001,
    "router_id": "2.2.2.2",
    "asn4": True,
    "message_size": 65535,
    "hold_time": 90,
    "families": [1, 2],
    "extended_nexthop": True,
    "route_refresh": True,
    "restart": {
        "restarting": True,
        "notification": False,
        "restart_time": 60,
        "families": [1],
        "forwarding": [1],
    },
    "local_address": "192.0.2.1",
    "keepalive": 30,
    "add_path": [1],
    "add_path_send": [2],
    "capabilities": [["route refresh", "yes", "", False]],
}


def test_an_up_frame_tells_what_was_negotiated() -> None:
    expected = Negotiated(
        asn=Asn(65001),
        router_id="2.2.2.2",
        asn4=True,
        message_size=65535,
        hold_time=90,
        families=(Family.IPV4, Family.IPV6),
        extended_nexthop=True,
        route_refresh=True,
        restart=PeerRestart(
            restarting=True,
            notification=False,
            restart_time=60,
            families=(Family.IPV4,),
            forwarding=(Family.IPV4,),
        ),
        local_address="192.0.2.1",
        add_path=(Family.IPV4,),
        add_path_send=(Family.IPV6,),
        capabilities=(Capability("route refresh", "yes", "", False),),
    )
    assert event_of((Kind.UP, 3, json.dumps(AGREED).encode())) == Up(3, expected)
    without = event_of((Kind.UP, 3, json.dumps({**AGREED, "restart": None}).encode()))
    assert isinstance(without, Up)
    assert without.negotiated.restart is None


def test_every_other_frame_has_its_event() -> None:
    update = MARKER + b"\0\x17\x02" + bytes(4)
    down = json.dumps({"reason": "why", "sent": None, "received": [6, 2]}).encode()
    ready = json.dumps({"version": "5", "pid": 7, "privileges": "none"}).encode()
    assert event_of((Kind.UPDATES, 1, update * 2)) == Updates(1, [bytes(4), bytes(4)])
    assert event_of((Kind.DOWN, 1, down)) == Down(1, SessionDown(reason="why", received=(6, 2)))
    assert event_of((Kind.ATTEMPT, 1, b"connection refused")) == Attempt(1, "connection refused")
    assert event_of((Kind.REFRESH, 1, b"\0\x02\0\x01")) == Refresh(1, Family.IPV6)
    assert event_of((Kind.BACKLOG, 1, b"\0\x50\0\0")) == Backlog(1, 0x500000)
    assert event_of((Kind.READY, 0, ready)) == SpeakerReady("5", 7, "none")
    assert event_of((Kind.LOG, 0, b"\x28words")) == SpeakerLog(40, "words")


@pytest.mark.parametrize("body", [b"\0\x01\0\x80", b"\0\x01\x01\x01", b"\x40\x04\0\x01"])
def test_a_refresh_of_what_we_do_not_carry_is_no_event(body: bytes) -> None:
    assert event_of((Kind.REFRESH, 1, body)) is None


@pytest.mark.parametrize(
    ("kind", "body"),
    [(Kind.UP, b"{}"), (Kind.UP, b"x"), (Kind.DOWN, b"[]"), (Kind.REFRESH, b""), (Kind.LOG, b""), (Kind.ADD, b"{}"),
     (Kind.UPDATES, b"x"), (Kind.ATTEMPT, b"\xff"), (Kind.UP, json.dumps({**AGREED, "colour": 1}).encode())],
)  # fmt: skip
def test_a_body_that_breaks_its_promise_is_a_frame_error(kind: Kind, body: bytes) -> None:
    with pytest.raises(FrameError):
        event_of((kind, 1, body))


def peer(**more: object) -> Peer:
    values: dict[str, object] = {
        "name": PeerName("peer/tor1"),
        "kind": PeerKind.EXTERNAL,
        "address": ip_address("fe80::1%eth0"),
        "local_address": ip_address("fe80::2%eth0"),
        "asn": Asn(65001),
        "local_asn": Asn(65000),
        "router_id": "1.1.1.1",
    }
    return Peer(**{**values, **more})  # type: ignore[arg-type]


def test_a_peer_of_the_model_becomes_session_parameters() -> None:
    made = session_parameters(
        peer(
            families=(Family.IPV4, Family.IPV6),
            initiate=Initiate.KNOCK,
            graceful_restart=GracefulRestart(restart_time=60),
        ),
        password="key",
        listen_port=1179,
        restarting=True,
        forwarding=(Family.IPV4,),
    )
    assert (made.address, made.local_address) == ("fe80::1%eth0", "fe80::2%eth0")
    assert (made.families, made.initiate, made.restart_time) == ((1, 2), "knock", 60)
    assert (made.password, made.listen_port, made.restarting, made.forwarding) == (
        "key",
        1179,
        True,
        (1,),
    )


def test_what_does_not_concern_the_session_leaves_it_equal() -> None:
    assert session_parameters(peer()) == session_parameters(
        peer(description="x", max_prefixes=7, cluster_id="1.1.1.1")
    )


@pytest.mark.parametrize("password", ["x" * 81, "pässword"])
def test_a_key_that_the_kernel_would_refuse_is_refused_here(password: str) -> None:
    with pytest.raises(DriverError, match="peer/tor1") as caught:
        session_parameters(peer(), password=password)
    assert password not in str(caught.value)
