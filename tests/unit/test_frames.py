"""Frames between daemon and speaker: layout, cutting, bodies, and words for NOTIFICATIONs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from kroute.codec.frames import (
    HEADER,
    MARKER,
    MAX_BODY,
    FrameError,
    FrameReader,
    Kind,
    SessionParameters,
    bodies,
    chunks,
    pack,
    pack_send,
    unpack_json,
    unpack_send,
)
from kroute.codec.notification import describe_notification, notification


def update(body: bytes) -> bytes:
    return MARKER + (19 + len(body)).to_bytes(2, "big") + b"\x02" + body


SESSION = SessionParameters(
    address="fe80::1%eth0",
    local_address="fe80::2%eth0",
    asn=4200000000,
    local_asn=65000,
    router_id="1.1.1.1",
    families=(1, 2),
    password="s3cret",
    restart_time=120,
    forwarding=(1,),
)


def test_a_frame_is_kind_peer_length_body() -> None:
    assert pack(Kind.UPDATES, 7, b"ab") == b"\x03\0\0\0\x07\0\0\0\x02ab"


def test_frames_come_out_whole_however_they_arrive() -> None:
    frames = [
        (int(Kind.UP), 1, b"{}"),
        (int(Kind.UPDATES), 2, b"x" * 300),
        (int(Kind.DOWN), 1, b""),
    ]
    stream = b"".join(pack(*frame) for frame in frames)
    for step in (1, 2, 8, 9, 10, 100, len(stream)):
        reader = FrameReader()
        found = [f for i in range(0, len(stream), step) for f in reader.feed(stream[i : i + step])]
        assert found == frames
        assert reader.held == 0


def test_an_incomplete_frame_is_held() -> None:
    reader = FrameReader()
    assert reader.feed(pack(Kind.LOG, 0, b"hello")[:-1]) == []
    assert reader.held == HEADER.size + 4


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(FrameError, match="unknown frame kind 99"):
        FrameReader().feed(b"\x63" + bytes(8))


def test_an_impossible_length_is_refused_before_anything_is_stored() -> None:
    with pytest.raises(FrameError, match="longer than"):
        FrameReader().feed(HEADER.pack(Kind.UPDATES, 1, MAX_BODY + 1))
    with pytest.raises(FrameError, match="longer than"):
        pack(Kind.SEND, 0, bytes(MAX_BODY + 1))


def test_bodies_lie_behind_the_headers_of_a_run() -> None:
    assert bodies(update(b"one") + update(b"") + update(b"three")) == [b"one", b"", b"three"]
    assert bodies(b"") == []


@pytest.mark.parametrize(
    "sizes", [(30,) * 400, (30, 30, 286, 286, 30), (0, 0, 256, 256), (7, 7, 8)]
)
def test_neighbours_of_one_length_are_cut_like_any_others(sizes: tuple[int, ...]) -> None:
    found = [bytes((place % 256,)) * size for place, size in enumerate(sizes)]
    assert bodies(b"".join(map(update, found))) == found


@pytest.mark.parametrize(
    "run",
    [
        b"\xff" * 10,
        update(b"one")[:-1],
        MARKER + b"\0\x12\x02" + b"x",
        update(b"a") + b"\xff",
        (update(b"one") * 5)[:-1],
    ],
)
def test_a_broken_run_is_refused(run: bytes) -> None:
    with pytest.raises(FrameError):
        bodies(run)


def test_chunks_are_cut_between_messages() -> None:
    messages = b"".join(update(bytes(n)) for n in range(100))
    pieces = list(chunks(messages, 256))
    assert b"".join(pieces) == messages
    assert len(pieces) > 10
    assert all(len(p) <= 256 and bodies(p) for p in pieces)


def test_a_message_larger_than_the_limit_is_a_chunk_of_its_own() -> None:
    big, small = update(bytes(300)), update(b"")
    assert list(chunks(small + big + small, 100)) == [small, big, small]


def test_chunks_refuse_what_is_no_row_of_messages() -> None:
    with pytest.raises(FrameError):
        list(chunks(bytes(300), 100))


def test_send_names_peers_and_carries_messages() -> None:
    assert unpack_send(pack_send([3, 1, 2], b"messages")) == ((3, 1, 2), b"messages")
    assert unpack_send(pack_send([], b"")) == ((), b"")


@pytest.mark.parametrize("body", [b"", b"\0\0\0", b"\0\0\0\x02\0\0\0\x01"])
def test_a_send_shorter_than_its_peers_is_refused(body: bytes) -> None:
    with pytest.raises(FrameError):
        unpack_send(body)


def test_parameters_survive_the_way() -> None:
    assert SessionParameters.unpack(SESSION.pack()) == SESSION


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"nonsense", b'{"address": "x"}', b'{"colour": "blue"}', b"\xff"]
)
def test_parameters_that_are_none_are_refused(body: bytes) -> None:
    with pytest.raises(FrameError):
        SessionParameters.unpack(body)


def test_a_password_is_never_shown() -> None:
    assert "s3cret" not in repr(SESSION)


def test_what_binds_the_next_open_only_is_the_same_session() -> None:
    assert SESSION.same_session(replace(SESSION, restarting=True, forwarding=(), connect_retry=1.0))
    assert SESSION.same_session(replace(SESSION, local_port=10179, initiate="passive"))
    assert not SESSION.same_session(replace(SESSION, device="eth2"))
    assert not SESSION.same_session(replace(SESSION, initiate="knock"))


def test_what_can_be_set_on_a_live_connection_is_the_same_session() -> None:
    assert SESSION.same_session(replace(SESSION, password="other"))
    assert SESSION.same_session(replace(SESSION, ttl_security=2, keepalive=5, restart_time=60))
    assert SESSION.same_session(replace(SESSION, multihop=5))


@pytest.mark.parametrize(
    "change",
    [
        {"hold_time": 3},
        {"families": (1,)},
        {"add_path": (1,)},
        {"add_path_send": (1,)},
        {"extended_nexthop": True},
        {"password": ""},
        {"restart_time": None},
        {"asn": 1},
        {"local_address": "fe80::3%eth0"},
        {"port": 1179},
    ],
)
def test_what_both_opens_agreed_on_needs_a_new_session(change: dict[str, Any]) -> None:
    assert not SESSION.same_session(replace(SESSION, **change))
    assert not replace(SESSION, **change).same_session(SESSION)


def test_json_must_be_an_object() -> None:
    assert unpack_json(b'{"a": 1}') == {"a": 1}
    with pytest.raises(FrameError):
        unpack_json(b"1")


def test_a_shutdown_text_is_cut_at_a_character() -> None:
    packed = notification(6, 2, "ä" * 200)
    assert packed[:3] == b"\x06\x02\xfe"
    assert packed[3:].decode() == "ä" * 127
    assert notification(6, 3, "no room here") == b"\x06\x03"
    assert notification(6, 4) == b"\x06\x04"
    assert notification(3, 1, data=b"what") == b"\x03\x01what"


def test_notifications_read_well() -> None:
    assert describe_notification(2, 2) == "2/2 OPEN message error, bad peer AS"
    assert describe_notification(6, 2, b"\x04gone") == '6/2 cease, administrative shutdown "gone"'
    assert (
        describe_notification(6, 9, b"\x06\x03")
        == "6/9 cease, hard reset (6/3 cease, peer de-configured)"
    )
    assert describe_notification(200, 3) == "200/3 unknown error"
    assert "\x1b" not in describe_notification(6, 2, b"\x05\x1b[31m"), (
        "a peer does not paint our terminal"
    )


def test_the_module_stays_lean_for_the_speaker() -> None:
    code = "import sys, kroute.codec.frames as f; print(*(m for m in sys.modules if m.startswith('kroute')))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert sorted(loaded) == ["kroute", "kroute.codec", "kroute.codec.frames"]


def test_the_speaker_loads_nothing_else_of_kroute() -> None:
    code = "import sys, kroute.speaker.reactor; print(*(m for m in sys.modules if m.startswith('kroute')))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    others = [m for m in loaded if not m.startswith("kroute.speaker")]
    assert sorted(others) == [
        "kroute",
        "kroute.codec",
        "kroute.codec.frames",
        "kroute.codec.notification",
    ]
