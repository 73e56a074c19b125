"""One connection as ExaBGP sees it: runs of UPDATEs, odd messages, output that waits."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from exabgp.bgp.message import Notify
from exabgp.protocol.family import AFI
from exabgp.reactor.network.error import LostConnection, NetworkError

from kroute.codec.frames import bodies
from kroute.speaker.hooks.wire import Wire
from support.speaker import KEEPALIVE, NOTIFICATION, OPEN, UPDATE, message

NOTHING = (0, 0, b"", b"", None)


class Pair:
    """A wire and the other end of it."""

    def __init__(self) -> None:
        ours, self.far = socket.socketpair()
        ours.setblocking(False)
        self.wire = Wire(AFI.ipv4, ours, "192.0.2.2", "192.0.2.1", incoming=False)
        self.runs: list[bytes] = []

    def established(self) -> None:
        self.wire.on_updates = self.runs.append

    def read(self) -> tuple[int, int, bytes, bytes, None]:
        self.wire.drained = False
        return next(self.wire.reader())


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.wire.close()
    pair.far.close()


def test_a_message_is_read_when_it_is_complete(pair: Pair) -> None:
    data = message(OPEN, bytes(10))
    pair.far.send(data[:15])
    assert pair.read() == NOTHING
    pair.far.send(data[15:])
    assert pair.read() == (29, OPEN, data[:19], bytes(10), None)
    assert pair.read() == NOTHING
    assert pair.wire.starved


def test_a_row_of_updates_is_handed_over_in_one_piece(pair: Pair) -> None:
    pair.established()
    updates = b"".join(message(UPDATE, bytes(4 + n)) for n in range(50))
    pair.far.send(updates + message(KEEPALIVE) + message(UPDATE, b"\0\0\0\0x")[:-1])
    assert pair.read()[1] == UPDATE
    assert pair.runs == [updates]
    assert pair.read()[1] == KEEPALIVE
    assert pair.read() == NOTHING
    pair.far.send(b"x")
    assert pair.read()[1] == UPDATE
    assert bodies(pair.runs[1]) == [b"\0\0\0\0x"]


def test_before_the_session_is_established_an_update_is_an_ordinary_message(pair: Pair) -> None:
    pair.far.send(message(UPDATE, bytes(4)))
    assert pair.read()[3] == bytes(4)
    assert pair.runs == []


BROKEN = {
    "marker": (b"\0" * 19, (1, 1, b"")),
    "short length": (b"\xff" * 16 + b"\0\x12\x04", (1, 2, b"\0\x12")),
    "long length": (b"\xff" * 16 + b"\x10\x01\x02", (1, 2, b"\x10\x01")),
    "short OPEN": (message(OPEN, bytes(9)), (1, 2, b"\0\x1c")),
    "short UPDATE": (message(UPDATE, bytes(3)), (1, 2, b"\0\x16")),
    "short NOTIFICATION": (message(NOTIFICATION, b"\x06"), (1, 2, b"\0\x14")),
    "long KEEPALIVE": (message(KEEPALIVE, b"x"), (1, 2, b"\0\x14")),
    "unknown type": (message(7), (1, 3, b"\x07")),
    "type 0": (message(0), (1, 3, b"\0")),
    "late OPEN": (message(OPEN, bytes(10)), (5, 3, b"\x01")),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_bgp_ends_in_the_right_notification(pair: Pair, name: str) -> None:
    data, expected = BROKEN[name]
    pair.established()
    good = message(UPDATE, bytes(4))
    pair.far.send(good + data)
    assert pair.read()[1] == UPDATE
    assert pair.runs == [good], "what came before is not lost"
    with pytest.raises(Notify) as caught:
        pair.read()
    assert (caught.value.code, caught.value.subcode, caught.value.data) == expected


def test_extended_messages_are_read_once_agreed(pair: Pair) -> None:
    pair.established()
    pair.wire.msg_size = 65535
    long = message(UPDATE, bytes(60000))
    pair.far.setblocking(False)
    rest = memoryview(long)
    while rest:
        rest = rest[pair.far.send(rest) :]
        found = pair.read()
    assert found[1] == UPDATE
    assert pair.runs == [long]


def test_the_end_of_the_connection_is_told_in_words(pair: Pair) -> None:
    pair.far.close()
    with pytest.raises(LostConnection, match="closed by the peer"):
        pair.read()
    pair.wire.close()
    with pytest.raises(NetworkError):
        pair.read()


def test_output_waits_and_goes_out_in_order(pair: Pair) -> None:
    asked: list[int] = []
    pair.wire.on_output = lambda: asked.append(1)
    data = [message(UPDATE, n.to_bytes(4, "big") * 1000) for n in range(2000)]
    for piece in data:
        pair.wire.queue(piece)
    assert len(asked) == 2000
    assert pair.wire.queued == sum(map(len, data))
    assert not pair.wire.flush(), "the kernel's buffer is smaller"
    received = bytearray()
    while len(received) < sum(map(len, data)):
        received += pair.far.recv(1 << 20)
        pair.wire.flush()
    assert bytes(received) == b"".join(data)
    assert pair.wire.flush()


def test_a_dropped_queue_leaves_the_stream_in_step(pair: Pair) -> None:
    piece = message(UPDATE, bytes(4000)) * 200
    for _ in range(20):
        pair.wire.queue(piece)
    pair.wire.flush()
    pair.wire.drop_queue()
    assert pair.wire.queued < len(piece)
    assert list(pair.wire.writer(message(NOTIFICATION, b"\x06\x08"))) == [True]
    assert pair.wire.goodbye == b"\x06\x08"
    received = bytearray()
    while not pair.wire.flush() or not received.endswith(b"\x06\x08"):
        received += pair.far.recv(1 << 20)
    assert bodies(bytes(received))[-1] == b"\x06\x08"


def test_who_takes_the_socket_closes_it(pair: Pair) -> None:
    taken: list[socket.socket] = []
    pair.wire.on_close = taken.append
    pair.wire.close()
    pair.wire.close()
    assert len(taken) == 1
    assert pair.wire.fd() == -1
    taken[0].close()
