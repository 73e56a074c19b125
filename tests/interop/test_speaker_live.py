"""What changes on a running session, what is told of it, and a speaker that hangs."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from kroute.drivers.speaker import Attempt, Down, SpeakerDied, Up, process
from kroute.model.bgp import Capability
from support.netns import Lab, Namespace, until
from support.speaker import (
    KEEPALIVE,
    NOTIFICATION,
    OPEN,
    ScriptedPeer,
    Side,
    message,
    parameters,
    update,
)

pytestmark = pytest.mark.root

HERE, THERE = "192.0.2.1", "192.0.2.2"
HERE6, THERE6 = "2001:db8::1", "2001:db8::2"


@pytest.fixture
def net() -> Iterator[tuple[Namespace, Namespace]]:
    with Lab("spl") as lab:
        a, b = lab.namespace("a"), lab.namespace("b")
        lab.veth(a, "eth0", b, "eth0")
        a.address("eth0", f"{HERE}/24", f"{HERE6}/64")
        b.address("eth0", f"{THERE}/24", f"{THERE6}/64")
        yield a, b


@pytest.fixture
async def side(net: tuple[Namespace, Namespace]) -> AsyncIterator[Side]:
    async with Side(net[0]) as side:
        yield side


@pytest.fixture
def peer(net: tuple[Namespace, Namespace]) -> Iterator[ScriptedPeer]:
    with net[1].entered():
        peer = ScriptedPeer(THERE, 65001)
    yield peer
    peer.close()


async def established(
    side: Side, peer: ScriptedPeer, capabilities: list[bytes] | None = None
) -> Up:
    await asyncio.to_thread(peer.accept)
    await asyncio.to_thread(peer.establish, capabilities)
    return await side.up(1)


@pytest.mark.parametrize(("here", "there"), [(HERE, THERE), (HERE6, THERE6)], ids=["ipv4", "ipv6"])
async def test_a_key_is_rotated_on_both_ends_without_a_flap(
    net: tuple[Namespace, Namespace], side: Side, here: str, there: str
) -> None:
    mine = parameters(here, there, password="first", ttl_security=1)
    theirs = parameters(
        there,
        here,
        password="first",
        ttl_security=1,
        asn=65000,
        local_asn=65001,
        router_id="2.2.2.2",
    )
    async with Side(net[1]) as other:
        side.speaker.set_peers({1: mine})
        other.speaker.set_peers({1: replace(theirs, initiate="passive")})
        await side.up(1)
        await other.up(1)
        side.speaker.set_peers({1: replace(mine, password="second")})
        side.speaker.send([1], update("203.0.113.0/24", HERE, 65000))
        other.speaker.set_peers({1: replace(theirs, password="second")})
        await until(lambda: other.bodies(1), 20, "what was sent under the new key")
        assert not side.of(Down) + other.of(Down)
        other.speaker.reset(1)
        await until(lambda: len(side.of(Up)) == 2, 20, "a new session under the new key")
        assert "second" not in repr((side.events, other.events, side.speaker.peers))


async def test_a_key_that_the_other_end_does_not_get_ends_in_the_hold_timer(
    net: tuple[Namespace, Namespace], side: Side
) -> None:
    mine = parameters(HERE, THERE, password="first", hold_time=3)
    theirs = parameters(
        THERE, HERE, password="first", asn=65000, local_asn=65001, router_id="2.2.2.2"
    )
    async with Side(net[1]) as other:
        side.speaker.set_peers({1: mine})
        other.speaker.set_peers({1: replace(theirs, initiate="passive")})
        await side.up(1)
        side.speaker.set_peers({1: replace(mine, password="second")})
        assert (await side.down(1)).down.sent == (4, 0)
        assert len(side.of(Up)) == 1


async def test_timers_and_ttl_change_on_the_running_session(side: Side, peer: ScriptedPeer) -> None:
    mine = parameters(HERE, THERE, hold_time=90)
    side.speaker.set_peers({1: mine})
    up = await established(side, peer)
    assert up.negotiated.keepalive == 30
    side.speaker.set_peers({1: replace(mine, keepalive=1, multihop=9, connect_retry=2.0)})
    for _ in range(2):
        await asyncio.to_thread(peer.read_until, KEEPALIVE)
    assert (await side.speaker.counters(1))["sent"]["keepalive"] >= 3
    side.speaker.set_peers({1: mine})
    assert side.is_up(1)
    assert not side.of(Down)


async def test_a_keepalive_interval_is_kept_from_the_start(side: Side, peer: ScriptedPeer) -> None:
    side.speaker.set_peers({1: parameters(HERE, THERE, hold_time=30, keepalive=1)})
    assert (await established(side, peer)).negotiated.keepalive == 1
    await asyncio.to_thread(peer.read_until, KEEPALIVE)


async def test_a_source_port_is_used_and_used_again(side: Side, peer: ScriptedPeer) -> None:
    side.speaker.set_peers({1: parameters(HERE, THERE, local_port=10179)})
    await established(side, peer)
    assert peer.sock is not None
    assert peer.sock.getpeername()[1] == 10179
    peer.sock.close()
    await side.down(1)
    await asyncio.to_thread(peer.accept)
    assert peer.sock.getpeername()[1] == 10179


async def test_a_passive_session_becomes_active_without_a_reset(
    net: tuple[Namespace, Namespace], side: Side, peer: ScriptedPeer
) -> None:
    mine = parameters(HERE, THERE, initiate="passive")
    side.speaker.set_peers({1: mine})
    await side.ready()
    side.speaker.set_peers({1: replace(mine, initiate="both")})
    await established(side, peer)
    side.speaker.set_peers({1: mine})
    assert side.is_up(1)
    assert not side.of(Down)


async def test_counters_tell_what_went_over_the_connection(side: Side, peer: ScriptedPeer) -> None:
    side.speaker.set_peers({1: parameters(HERE, THERE)})
    assert await side.speaker.counters(9) == {}
    await established(side, peer)
    peer.send(update("203.0.113.0/24", THERE, 65001) * 7 + message(KEEPALIVE))
    await until(lambda: len(side.bodies(1)) == 7, 10, "seven UPDATEs")
    found = await side.speaker.counters(1)
    assert found["received"] | {"keepalive": 0} == {
        "open": 1,
        "update": 7,
        "notification": 0,
        "keepalive": 0,
        "routeRefresh": 0,
    }
    assert found["sent"]["open"] == 1
    assert found["octetsIn"] > 7 * 23
    assert found["octetsOut"] > 29
    assert (found["openedBy"], found["peerPort"], found["queued"]) == ("us", 179, 0)
    assert peer.sock is not None
    peer.sock.close()
    await side.down(1)
    assert "retryIn" in await side.speaker.counters(1)


async def test_capabilities_are_told_side_by_side(side: Side, peer: ScriptedPeer) -> None:
    side.speaker.set_peers({1: parameters(HERE, THERE, restart_time=120, add_path=(1,))})
    ours = [
        b"\x01\x04\0\x01\0\x01",
        b"\x01\x04\0\x02\0\x80",
        b"\x41\x04" + struct.pack("!I", 65001),
        b"\x45\x04\0\x01\x01\x03",
        b"\x40\x06" + struct.pack("!H", 0xC03C) + b"\0\x01\x01\x80",
        b"\x49\x06\x04host\0",
        b"\xc8\x00",
    ]
    negotiated = (await established(side, peer, ours)).negotiated
    rows = {c.name: c for c in negotiated.capabilities}
    assert rows["ipv4 unicast"] == Capability("ipv4 unicast", "yes", "yes", True)
    assert rows["AFI 2 SAFI 128"] == Capability("AFI 2 SAFI 128", "", "yes", False)
    assert rows["4-octet AS"] == Capability("4-octet AS", "65000", "65001", True)
    assert rows["route refresh"] == Capability("route refresh", "yes", "", False)
    assert rows["add-path"] == Capability(
        "add-path", "ipv4 unicast receive", "ipv4 unicast send and receive", True
    )
    assert rows["graceful restart"] == Capability(
        "graceful restart",
        "120 s, NOTIFICATION, ipv4 unicast",
        "60 s, restarting, NOTIFICATION, ipv4 unicast kept",
        True,
    )
    assert rows["host name"].theirs == "yes"
    assert not rows["capability 200"].holds
    assert [f.label for f in negotiated.add_path] == ["ipv4"]


@pytest.mark.parametrize(
    ("way", "receives", "sends"), [(1, [], ["ipv4"]), (3, ["ipv4"], ["ipv4"]), (7, [], [])]
)
async def test_each_direction_of_several_paths_is_agreed_on_by_itself(
    side: Side, peer: ScriptedPeer, way: int, receives: list[str], sends: list[str]
) -> None:
    """7 is no direction, and counts for nothing (RFC 7911 §4)."""
    side.speaker.set_peers({1: parameters(HERE, THERE, add_path=(1,), add_path_send=(1,))})
    ours = [
        b"\x01\x04\0\x01\0\x01",
        b"\x41\x04" + struct.pack("!I", 65001),
        b"\x45\x04\0\x01\x01" + bytes((way,)),
    ]
    negotiated = (await established(side, peer, ours)).negotiated
    assert [f.label for f in negotiated.add_path] == receives
    assert [f.label for f in negotiated.add_path_send] == sends
    row = next(c for c in negotiated.capabilities if c.name == "add-path")
    assert (row.ours, row.holds) == ("ipv4 unicast send and receive", bool(sends))


async def test_a_peer_that_connects_and_says_nothing_is_told_of(
    side: Side, peer: ScriptedPeer
) -> None:
    side.speaker.set_peers({1: parameters(HERE, THERE)})
    await asyncio.to_thread(peer.accept)
    await side.told("connected, but the peer sends no OPEN")
    peer.send(peer.open_message())
    await asyncio.to_thread(peer.read_until, OPEN)
    await side.told("sends no KEEPALIVE after its OPEN")
    peer.send(message(KEEPALIVE))
    await side.up(1)


async def test_an_open_of_two_minds_about_its_as_is_refused(side: Side, peer: ScriptedPeer) -> None:
    side.speaker.set_peers({1: parameters(HERE, THERE, connect_retry=0.3)})
    await asyncio.to_thread(peer.accept)
    mixed = [b"\x01\x04\0\x01\0\x01", b"\x41\x04" + struct.pack("!I", 65002)]
    peer.send(peer.open_message(mixed))
    assert (await asyncio.to_thread(peer.read_until, NOTIFICATION))[:2] == b"\x02\x02"
    await side.told("AS 65001 in the OPEN, 65002 in its capability")
    assert not side.of(Up)


async def test_as_trans_stands_for_any_number(side: Side, peer: ScriptedPeer) -> None:
    peer.asn = 23456
    side.speaker.set_peers({1: parameters(HERE, THERE)})
    capabilities = [b"\x01\x04\0\x01\0\x01", b"\x41\x04" + struct.pack("!I", 65001)]
    assert (await established(side, peer, capabilities)).negotiated.asn == 65001


async def test_a_speaker_that_hangs_is_replaced(
    side: Side, peer: ScriptedPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "PULSE", 0.1)
    side.speaker.set_peers({1: parameters(HERE, THERE)})
    await established(side, peer)
    assert side.speaker.pid
    os.kill(side.speaker.pid, signal.SIGSTOP)
    await until(lambda: side.of(SpeakerDied), 10, "the end of the hung speaker")
    assert "no sign of life" in side.of(SpeakerDied)[0].reason
    await side.ready(2)
    await established(side, peer)


async def test_a_daemon_that_was_stopped_itself_blames_no_speaker(
    side: Side, peer: ScriptedPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "PULSE", 0.01)
    side.speaker.set_peers({1: parameters(HERE, THERE)})
    await established(side, peer)
    stop = asyncio.get_running_loop().time() + 1.0
    while asyncio.get_running_loop().time() < stop:
        pass  # nothing of ours turns for a hundred pulses
    await asyncio.to_thread(peer.send, update("203.0.113.0/24", THERE, 65001))
    await until(lambda: side.bodies(1), 10, "the UPDATE")
    assert not side.of(SpeakerDied)
    assert not side.of(Attempt)
