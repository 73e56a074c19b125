"""Peers that misbehave, daemons and speakers that die, and what the speaker's process may do."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from kroute.codec.frames import Frame, Kind, pack_send
from kroute.drivers.speaker import Backlog, Down, SpeakerLog, SpeakerReady, Up
from kroute.drivers.speaker.process import SpeakerProcess
from support.netns import Lab, until
from support.speaker import (
    KEEPALIVE,
    NOTIFICATION,
    OPEN,
    UPDATE,
    ScriptedPeer,
    Side,
    message,
    parameters,
    update,
    update_body,
)

pytestmark = pytest.mark.root

HERE, THERE, OTHER = "192.0.2.1", "192.0.2.2", "192.0.2.3"
GRACEFUL = b"\x40\x06" + struct.pack("!H", 0x4078) + b"\0\x01\x01\x80"


class Net:
    """kroute in ``a``; scripted peers with two addresses in ``b``."""

    def __init__(self, lab: Lab) -> None:
        self.a, self.b = lab.namespace("a"), lab.namespace("b")
        lab.veth(self.a, "eth0", self.b, "eth0")
        self.a.address("eth0", f"{HERE}/24")
        self.b.address("eth0", f"{THERE}/24", f"{OTHER}/24")
        self.peers: list[ScriptedPeer] = []

    def peer(self, address: str = THERE, asn: int = 65001, hold_time: int = 90) -> ScriptedPeer:
        with self.b.entered():
            self.peers.append(ScriptedPeer(address, asn, hold_time=hold_time))
        return self.peers[-1]

    async def establish(
        self, side: Side, *peers: ScriptedPeer, capabilities: list[bytes] | None = None
    ) -> None:
        for index, peer in enumerate(peers, 1):
            await asyncio.to_thread(peer.accept)
            await asyncio.to_thread(peer.establish, capabilities)
            await side.up(index)


@pytest.fixture
def net() -> Iterator[Net]:
    with Lab("spf") as lab:
        net = Net(lab)
        yield net
        for peer in net.peers:
            peer.close()


@pytest.fixture
async def side(net: Net) -> AsyncIterator[Side]:
    async with Side(net.a) as side:
        yield side


async def test_a_peer_that_does_not_read_is_dropped_and_hurts_nobody(net: Net, side: Side) -> None:
    slow, other = net.peer(), net.peer(OTHER)
    side.speaker.set_peers({1: parameters(HERE, THERE), 2: parameters(HERE, OTHER)})
    await net.establish(side, slow, other)
    piece = update("203.0.113.0/24", HERE, 65000) * 20_000
    for _ in range(80 * (1 << 20) // len(piece)):
        side.speaker.send([1], piece)
    side.speaker.send([2], update("203.0.113.0/24", HERE, 65000))
    assert await asyncio.to_thread(other.read_until, UPDATE) == update_body(
        "203.0.113.0/24", HERE, 65000
    )
    down = await side.down(1)
    assert down.down.sent == (6, 8)
    assert side.of(Backlog, peer=1)
    assert side.is_up(2)


MALFORMED = {
    "no marker": (b"\0" * 19, (1, 1)),
    "too long": (b"\xff" * 16 + b"\x10\x01\x02", (1, 2)),
    "too short": (b"\xff" * 16 + b"\x00\x12\x04", (1, 2)),
    "unknown type": (message(9), (1, 3)),
    "an OPEN in Established": (message(OPEN, bytes(10)), (5, 3)),
    "a long KEEPALIVE": (message(KEEPALIVE, b"x"), (1, 2)),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_malformed_message_ends_that_session_only(net: Net, side: Side, name: str) -> None:
    data, expected = MALFORMED[name]
    bad, good = net.peer(), net.peer(OTHER)
    side.speaker.set_peers({1: parameters(HERE, THERE), 2: parameters(HERE, OTHER)})
    await net.establish(side, bad, good)
    bad.send(update("203.0.113.0/24", THERE, 65001) + data)
    notice = await asyncio.to_thread(bad.read_until, NOTIFICATION)
    assert (notice[0], notice[1]) == expected
    down = await side.down(1)
    assert down.down.sent == expected
    assert side.bodies(1) == [update_body("203.0.113.0/24", THERE, 65001)], (
        "what came before counts"
    )
    good.send(message(KEEPALIVE))
    assert side.is_up(2)


async def test_bad_opens_are_refused_in_words(net: Net, side: Side) -> None:
    peer = net.peer(asn=65009)
    side.speaker.set_peers({1: parameters(HERE, THERE, connect_retry=0.3)})
    await asyncio.to_thread(peer.accept)
    peer.send(peer.open_message())
    assert (await asyncio.to_thread(peer.read_until, NOTIFICATION))[:2] == b"\x02\x02"
    await side.told("bad peer AS")
    peer.asn = 65001
    await asyncio.to_thread(peer.accept)
    peer.send(peer.open_message([b"\x01\x04\0\x02\0\x01", b"\x41\x04" + struct.pack("!I", 65001)]))
    assert await asyncio.to_thread(peer.read_until, NOTIFICATION) == b"\x02\x07\x01\x04\0\x01\0\x01"
    await side.told("unsupported capability")
    await asyncio.to_thread(peer.accept)
    peer.send(update("203.0.113.0/24", THERE, 65001))
    assert (await asyncio.to_thread(peer.read_until, NOTIFICATION))[:2] == b"\x05\x01"
    assert not side.of(Up)


async def test_an_open_that_comes_once_more_is_passed_over(net: Net, side: Side) -> None:
    """RFC 4271 §8.2.2: in OpenConfirm a valid OPEN is a matter of collisions only. OpenBGPD 7.7 repeats its own."""
    peer = net.peer()
    side.speaker.set_peers({1: parameters(HERE, THERE, connect_retry=0.3)})
    first, other = peer.open_message(), peer.open_message(router_id="9.9.9.8")
    for opens in (first + other, first * 3):
        await asyncio.to_thread(peer.accept)
        peer.send(opens + message(KEEPALIVE))
        assert (await asyncio.to_thread(peer.read_until, NOTIFICATION))[:2] == b"\x05\x02"
    assert not side.of(Up)
    await asyncio.to_thread(peer.accept)
    peer.send(first * 2 + message(KEEPALIVE) + update("203.0.113.0/24", THERE, 65001))
    await side.up(1)
    await until(lambda: side.bodies(1) == [update_body("203.0.113.0/24", THERE, 65001)])


async def test_opens_of_any_bytes_never_end_the_speaker(net: Net, side: Side) -> None:
    peer, good = net.peer(), net.peer(OTHER)
    side.speaker.set_peers(
        {2: parameters(HERE, OTHER), 1: parameters(HERE, THERE, connect_retry=0.05)}
    )
    whole = peer.open_message(
        [b"\x01\x04\0\x01\0\x01", b"\x41\x04" + struct.pack("!I", 65001), GRACEFUL]
    )
    for cut in range(29, len(whole)):
        await asyncio.to_thread(peer.accept)
        peer.send(whole[:16] + cut.to_bytes(2, "big") + whole[18:cut])
        notice = await asyncio.to_thread(peer.read_until, NOTIFICATION)
        assert notice[:2] == b"\x02\0", f"{cut} octets"
    for place in range(28, len(whole) - 19):
        await asyncio.to_thread(peer.accept)
        body = bytearray(whole[19:])
        body[place - 19] ^= 0xFF
        peer.send(message(OPEN, bytes(body)) + message(KEEPALIVE) + b"x" * 19)
        assert await asyncio.to_thread(peer.read_until, NOTIFICATION)
    await asyncio.to_thread(good.accept)
    await asyncio.to_thread(good.establish)
    await side.up(2)
    assert len(side.of(SpeakerReady)) == 1


async def test_a_peer_without_capabilities_speaks_ipv4(net: Net, side: Side) -> None:
    peer = net.peer()
    side.speaker.set_peers({1: parameters(HERE, THERE)})
    await asyncio.to_thread(peer.accept)
    await asyncio.to_thread(peer.establish, [])
    negotiated = (await side.up(1)).negotiated
    assert [f.label for f in negotiated.families] == ["ipv4"]
    assert (negotiated.asn4, negotiated.route_refresh, negotiated.restart) == (False, False, None)


async def test_a_silent_peer_loses_the_session_when_the_hold_time_is_over(
    net: Net, side: Side
) -> None:
    peer = net.peer(hold_time=3)
    side.speaker.set_peers({1: parameters(HERE, THERE)})
    await net.establish(side, peer)
    assert side.of(Up)[0].negotiated.hold_time == 3
    assert (await asyncio.to_thread(peer.read_until, NOTIFICATION))[:2] == b"\x04\0"
    assert (await side.down(1)).down.sent == (4, 0)


async def test_a_new_connection_replaces_a_session_with_graceful_restart(
    net: Net, side: Side
) -> None:
    peer = net.peer()
    side.speaker.set_peers({1: parameters(HERE, THERE, restart_time=120)})
    capabilities = [b"\x01\x04\0\x01\0\x01", b"\x41\x04" + struct.pack("!I", 65001), GRACEFUL]
    await net.establish(side, peer, capabilities=capabilities)
    since = asyncio.get_running_loop().time()
    await until(
        lambda: asyncio.get_running_loop().time() > since + 2.1, what="a session older than 2 s"
    )
    with net.b.entered():
        peer.connect(HERE)
    await asyncio.to_thread(peer.establish, capabilities)
    down = await side.down(1)
    assert "restarted" in down.down.reason
    assert down.down.sent is None
    await side.up(1)


async def test_a_new_connection_is_refused_by_a_session_without_graceful_restart(
    net: Net, side: Side
) -> None:
    peer = net.peer()
    side.speaker.set_peers({1: parameters(HERE, THERE)})
    await net.establish(side, peer)
    first = peer.sock
    with net.b.entered():
        peer.connect(HERE)
    assert await asyncio.to_thread(peer.read_until, NOTIFICATION) == b"\x06\x07"
    assert side.is_up(1)
    assert first is not None
    first.close()


async def test_a_stranger_is_refused_and_named_once(net: Net, side: Side) -> None:
    side.speaker.set_peers({1: parameters(HERE, THERE, initiate="passive")})
    await side.ready()
    stranger = net.peer(OTHER)
    for _ in range(2):
        await until(lambda: _connects(net, stranger), 10, "the listening socket")
        assert await asyncio.to_thread(stranger.read) == (0, b"")
    assert [e.text for e in side.of(SpeakerLog)] == [
        f"refused a connection from {OTHER} to {HERE}: no such peer"
    ]


def _connects(net: Net, peer: ScriptedPeer) -> bool:
    try:
        with net.b.entered():
            peer.connect(HERE)
    except ConnectionRefusedError:
        return False
    return True


async def test_what_was_meant_for_the_session_before_never_reaches_the_new_one(net: Net) -> None:
    peer, frames = net.peer(), list[Frame]()
    ended: list[str] = []
    command = ["ip", "netns", "exec", net.a.name, sys.executable, "-m", "kroute.speaker"]
    process = SpeakerProcess(command, "nobody", frames.extend, ended.append)
    process.send(Kind.ADD, 1, parameters(HERE, THERE).pack())
    await asyncio.to_thread(peer.accept)
    await asyncio.to_thread(peer.establish)
    await until(lambda: any(f[0] == Kind.UP for f in frames), 10, "UP")
    process.send(Kind.SEND, 0, pack_send([1], update("198.51.100.0/24", HERE, 65000)))
    process.send(Kind.BEGIN, 1)
    process.send(Kind.SEND, 0, pack_send([1], update("203.0.113.0/24", HERE, 65000)))
    assert await asyncio.to_thread(peer.read_until, UPDATE) == update_body(
        "203.0.113.0/24", HERE, 65000
    )
    await process.stop(3)
    assert ended == []


async def test_the_process_keeps_the_right_to_bind_low_ports_and_no_other(
    net: Net, side: Side
) -> None:
    await side.ready()
    status = Path(f"/proc/{side.speaker.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == ["65534"] * 4
    assert fields["Gid"].split() == ["65534"] * 4
    assert fields["Groups"].strip() == ""
    for capabilities in ("CapPrm", "CapEff", "CapBnd"):
        assert int(fields[capabilities], 16) == 1 << 10
    assert int(fields["CapInh"], 16) == int(fields["CapAmb"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    assert os.getpriority(os.PRIO_PROCESS, side.speaker.pid) == -10, "before the daemon"
    assert "CAP_NET_BIND_SERVICE" in side.of(SpeakerReady)[0].privileges
    descriptors = [
        str(p.readlink()) for p in Path(f"/proc/{side.speaker.pid}/fd").iterdir() if int(p.name) > 2
    ]
    assert len([d for d in descriptors if d.startswith("socket:")]) == 1, (
        "nothing of the daemon's but its one socket"
    )


ORPHAN = """
import asyncio, sys
from kroute.drivers.speaker import Speaker
async def main():
    speaker = Speaker(lambda events: None)
    await speaker.start()
    print(speaker.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_the_speaker_ends_with_its_daemon(number: signal.Signals) -> None:
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ORPHAN, stdout=asyncio.subprocess.PIPE
    )
    assert daemon.stdout is not None
    pid = int(await daemon.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    daemon.send_signal(number)
    await daemon.wait()
    await until(lambda: not Path(f"/proc/{pid}").exists(), 10, "the speaker to end")


async def test_a_speaker_that_cannot_live_is_started_ever_more_rarely(tmp_path: Path) -> None:
    from kroute.drivers.speaker import Speaker, SpeakerDied, SpeakerEvent

    events: list[SpeakerEvent] = []
    speaker = Speaker(events.extend, command=["/bin/false"])
    await speaker.start()
    await until(lambda: len(events) >= 4, 10, "four deaths")
    assert {type(e) for e in events} == {SpeakerDied}
    assert events[0] == SpeakerDied("it ended with status 1")
    await speaker.stop()
    assert not [e for e in events if isinstance(e, Down)]


async def test_silence_of_the_daemon_ends_no_session(net: Net) -> None:
    """A daemon that does not read for longer than the hold time; 64 MiB of UPDATEs meanwhile."""
    busy, quiet = net.peer(hold_time=3), net.peer(OTHER, hold_time=3)
    frames: list[Frame] = []
    command = ["ip", "netns", "exec", net.a.name, sys.executable, "-m", "kroute.speaker"]
    process = SpeakerProcess(command, "nobody", frames.extend, lambda reason: None)
    for index, address in ((1, THERE), (2, OTHER)):
        process.send(Kind.ADD, index, parameters(HERE, address).pack())
    for peer in (busy, quiet):
        await asyncio.to_thread(peer.accept)
        await asyncio.to_thread(peer.establish)
    await until(lambda: len([f for f in frames if f[0] == Kind.UP]) == 2, 10, "both sessions")
    piece = update("203.0.113.0/24", THERE, 65001) * 2000
    rounds = (64 << 20) // len(piece)

    def flood() -> None:
        for _ in range(rounds):
            busy.send(piece)

    asyncio.get_running_loop().remove_reader(process._socket)
    flooding = asyncio.create_task(asyncio.to_thread(flood))
    for _ in range(6):
        await asyncio.to_thread(quiet.read_until, KEEPALIVE)
        quiet.send(message(KEEPALIVE))
    asyncio.get_running_loop().add_reader(process._socket, process._readable)
    await flooding
    await until(
        lambda: sum(len(f[2]) for f in frames if f[0] == Kind.UPDATES) == rounds * len(piece),
        20,
        "all of it",
    )
    assert not [f for f in frames if f[0] == Kind.DOWN]
    await process.stop(3)
