"""Frames under any bytes: round trips hold, garbage ends in FrameError and nothing else."""

from __future__ import annotations

import socket

from exabgp.bgp.message import Notify
from exabgp.protocol.family import AFI
from exabgp.reactor.network.error import NetworkError
from hypothesis import given
from hypothesis import strategies as st

from kroute.codec.frames import (
    MARKER,
    FrameError,
    FrameReader,
    Kind,
    SessionParameters,
    bodies,
    chunks,
    pack,
    unpack_send,
)
from kroute.codec.notification import describe_notification, notification
from kroute.drivers.speaker.events import event_of
from kroute.speaker.hooks.wire import Wire

frames = st.lists(
    st.tuples(
        st.sampled_from([int(k) for k in Kind]), st.integers(0, 2**32 - 1), st.binary(max_size=200)
    ),
    max_size=20,
)
messages = st.lists(st.binary(max_size=100), max_size=20)


def join(found: list[bytes]) -> bytes:
    return b"".join(MARKER + (19 + len(b)).to_bytes(2, "big") + b"\x02" + b for b in found)


@given(frames, st.lists(st.integers(1, 400), min_size=1, max_size=50))
def test_any_frames_cut_anywhere_come_out_as_they_went_in(
    sent: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    stream, reader, found, turn = b"".join(pack(*f) for f in sent), FrameReader(), [], 0
    while stream:
        size = cuts[turn % len(cuts)]
        found += reader.feed(stream[:size])
        stream, turn = stream[size:], turn + 1
    assert found == sent
    assert reader.held == 0


@given(st.lists(st.binary(max_size=300), max_size=10))
def test_any_bytes_are_frames_or_a_frame_error(pieces: list[bytes]) -> None:
    reader = FrameReader()
    try:
        for piece in pieces:
            reader.feed(piece)
    except FrameError:
        return


@given(st.sampled_from(list(Kind)), st.binary(max_size=200))
def test_any_body_is_an_event_or_a_frame_error(kind: Kind, body: bytes) -> None:
    for read in (
        lambda: event_of((kind, 1, body)),
        lambda: unpack_send(body),
        lambda: SessionParameters.unpack(body),
    ):
        try:
            read()
        except FrameError:
            continue


@given(messages, st.integers(1, 500))
def test_chunks_and_bodies_lose_nothing(found: list[bytes], limit: int) -> None:
    run = join(found)
    pieces = list(chunks(run, limit))
    assert b"".join(pieces) == run
    assert [b for piece in pieces for b in bodies(piece)] == found


@given(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=300))
def test_any_notification_has_words_that_are_safe_to_print(
    code: int, subcode: int, data: bytes
) -> None:
    assert describe_notification(code, subcode, data).isprintable()


@given(st.text(min_size=1, max_size=300))
def test_any_text_fits_a_shutdown_communication(text: str) -> None:
    packed = notification(6, 2, text)
    assert packed[2] == len(packed) - 3 <= 255
    assert text.encode(errors="replace").startswith(packed[3:])
    assert packed[3:].decode()


@given(st.lists(st.one_of(st.binary(max_size=60), messages.map(join)), max_size=10), st.booleans())
def test_any_bytes_from_a_peer_are_messages_or_a_notification(
    pieces: list[bytes], established: bool
) -> None:
    ours, far = socket.socketpair()
    ours.setblocking(False)
    wire = Wire(AFI.ipv4, ours, "192.0.2.2", "192.0.2.1", incoming=True)
    runs: list[bytes] = []
    if established:
        wire.on_updates = runs.append
    with far:
        try:
            for piece in pieces:
                far.send(piece)
                wire.drained = False
                while next(wire.reader())[0]:
                    continue
        except (Notify, NetworkError):
            pass
    for run in runs:
        bodies(run)
    wire.close()
