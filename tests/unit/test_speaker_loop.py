"""The speaker's loop, its socket to the daemon, back-off and parameters."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from kroute.codec.frames import Frame, FrameError, FrameReader, Kind, SessionParameters, pack
from kroute.speaker import channel
from kroute.speaker.channel import Channel
from kroute.speaker.endpoint import Endpoint
from kroute.speaker.hooks import peer
from kroute.speaker.hooks.peer import Backoff
from kroute.speaker.loop import READ, Loop
from kroute.speaker.neighbor import make_neighbor
from kroute.speaker.protection import lowest_ttl, sending_ttl


def test_timers_ring_in_order_and_cancelled_ones_do_not() -> None:
    loop, rung = Loop(), []
    loop.later(0.02, lambda: (rung.append("late"), setattr(loop, "stopped", True)))
    loop.later(0.01, lambda: rung.append("early"))
    loop.later(0.0, lambda: rung.append("never")).cancel()
    loop.run()
    assert rung == ["early", "late"]


def test_a_forgotten_descriptor_is_not_called_again() -> None:
    loop, calls = Loop(), []
    near, far = socket.socketpair()
    with near, far:

        def ready(events: int) -> None:
            calls.append(events & READ)
            loop.forget(near.fileno())
            loop.later(0.01, lambda: setattr(loop, "stopped", True))

        loop.watch(near.fileno(), READ, ready)
        far.send(b"x")
        loop.run()
    assert calls == [READ]


class Daemon:
    """The far end of a channel."""

    def __init__(self) -> None:
        self.loop = Loop()
        near, self.sock = socket.socketpair()
        self.commands: list[Frame] = []
        self.channel = Channel(near, self.loop, self.commands.append)
        self.pauses: list[bool] = []
        self.channel.on_pause = self.pauses.append

    def turn(self) -> None:
        self.loop.later(0, lambda: None)
        self.loop._turn()


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    daemon = Daemon()
    yield daemon
    daemon.sock.close()


def test_a_daemon_that_does_not_read_pauses_the_peers_until_half_is_gone(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "PAUSE", 4 << 20)
    sent = 0
    while not daemon.pauses:
        daemon.channel.send(Kind.UPDATES, 1, bytes(100_000))
        sent += 1
    assert daemon.pauses == [True]
    assert daemon.channel.paused
    reader, found = FrameReader(), 0
    while found < sent:
        daemon.turn()
        found += len(reader.feed(daemon.sock.recv(1 << 20)))
        if daemon.channel.queued > 2 << 20:
            assert daemon.channel.paused
    assert daemon.pauses == [True, False]
    assert daemon.channel.queued == 0


def test_commands_arrive_as_frames(daemon: Daemon) -> None:
    daemon.sock.send(pack(Kind.CONNECT_NOW, 3) + pack(Kind.REMOVE, 4, b"\x06\x03"))
    daemon.turn()
    assert daemon.commands == [(Kind.CONNECT_NOW, 3, b""), (Kind.REMOVE, 4, b"\x06\x03")]


def test_the_end_of_the_daemon_is_the_end_of_the_loop(daemon: Daemon) -> None:
    daemon.sock.close()
    daemon.loop.run()
    assert daemon.loop.stopped


def test_garbage_from_the_daemon_is_the_end_too(daemon: Daemon) -> None:
    daemon.sock.send(bytes(100))
    with pytest.raises(FrameError):
        daemon.turn()
    assert daemon.loop.stopped


def test_pauses_grow_to_the_limit_and_vanish_after_a_session_that_lasted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(peer.time, "monotonic", lambda: now[0])
    backoff = Backoff(5.0)
    assert not backoff.backoff(), "the first attempt is immediate"
    pauses = []
    for _ in range(8):
        backoff.increase()
        pauses.append(backoff.until - now[0])
        now[0] = backoff.until
    assert pauses[0] <= 0.25
    assert max(pauses) <= 5.0
    assert pauses[-1] >= 3.75
    backoff.reset()
    now[0] += 1.0
    backoff.increase()
    assert backoff.backoff(), "a session that failed at once does not spin"
    backoff.reset()
    now[0] += 60.0
    backoff.increase()
    assert not backoff.backoff(), "one that lasted is tried again at once"
    backoff.increase()
    assert backoff.backoff()
    backoff.now()
    assert not backoff.backoff()


def session(**more: object) -> SessionParameters:
    values: dict[str, object] = {
        "address": "192.0.2.2",
        "local_address": "192.0.2.1",
        "asn": 65001,
        "local_asn": 65000,
        "router_id": "1.1.1.1",
    }
    return SessionParameters(**{**values, **more})  # type: ignore[arg-type]


def test_ttls_follow_the_kind_of_peer() -> None:
    assert sending_ttl(session()) == 1, "external peers are neighbours"
    assert sending_ttl(session(asn=65000)) is None
    assert sending_ttl(session(multihop=4)) == 4
    assert sending_ttl(session(ttl_security=2)) == 255
    assert (
        lowest_ttl(session()),
        lowest_ttl(session(ttl_security=1)),
        lowest_ttl(session(ttl_security=3)),
    ) == (0, 255, 253)


def test_endpoints_know_their_link() -> None:
    assert Endpoint.parse("fe80::1%eth0") == Endpoint("fe80::1", "eth0")
    assert Endpoint.parse("192.0.2.1").sockaddr(179) == ("192.0.2.1", 179)
    assert Endpoint.parse("2001:DB8::1").key == Endpoint.parse("2001:db8:0::1").key
    assert Endpoint.of_sockaddr(("fe80::1", 179, 0, socket.if_nametoindex("lo"))) == Endpoint(
        "fe80::1", "lo"
    )
    assert Endpoint.of_sockaddr(("192.0.2.1", 179)) == Endpoint("192.0.2.1")


def test_a_neighbor_speaks_no_end_of_rib_of_its_own() -> None:
    neighbor = make_neighbor(session(families=(1, 2), extended_nexthop=True, hold_time=9))
    assert neighbor["manual-eor"] is True
    assert [(int(a), int(s)) for a, s in neighbor.families()] == [(1, 1), (2, 1)]
    assert [tuple(map(int, n)) for n in neighbor.nexthops()] == [(1, 1, 2)]
    assert neighbor["hold-time"] == 9
    assert neighbor.api["receive-update"] is False
