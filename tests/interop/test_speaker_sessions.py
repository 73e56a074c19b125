"""Sessions of the speaker with BIRD, GoBGP, FRR and with itself, in namespaces of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from kroute.drivers.speaker import Down, SpeakerDied, Up
from kroute.model.bgp import CeaseSubcode
from support.netns import Lab, Namespace, until
from support.speaker import (
    END_OF_RIB,
    NOTIFICATION,
    ScriptedPeer,
    Side,
    parameters,
    update,
)

pytestmark = pytest.mark.root

V4, V6 = ("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")


class Net:
    """Two namespaces on one wire: kroute in ``a``, the other in ``b``."""

    def __init__(self, lab: Lab, path: Path) -> None:
        self.lab, self.path = lab, path
        self.a, self.b = lab.namespace("a"), lab.namespace("b")
        lab.veth(self.a, "eth0", self.b, "eth0")
        for namespace, v4, v6 in ((self.a, V4[0], V6[0]), (self.b, V4[1], V6[1])):
            namespace.address("eth0", f"{v4}/24", f"{v6}/64")


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    with Lab("spk") as lab:
        yield Net(lab, tmp_path)


@pytest.fixture
async def side(net: Net) -> AsyncIterator[Side]:
    async with Side(net.a) as side:
        yield side


class Bird:
    """BIRD in a namespace, with protocols of the test's making."""

    def __init__(self, net: Net, protocols: str, where: Namespace | None = None) -> None:
        self.where = where or net.b
        self.control, self.log = net.path / "bird.ctl", net.path / "bird.log"
        configuration = net.path / "bird.conf"
        configuration.write_text(
            f'log "{self.log}" all;\nrouter id 2.2.2.2;\nprotocol device {{}}\n'
            "protocol static { ipv4; route 198.51.100.0/24 blackhole; }\n"
            "protocol static s6 { ipv6; route 2001:db8:100::/48 blackhole; }\n" + protocols
        )
        self.command = [
            "bird",
            "-f",
            "-c",
            str(configuration),
            "-s",
            str(self.control),
            "-P",
            str(net.path / "pid"),
        ]
        self.process = self.start()

    def start(self) -> Any:
        return self.where.popen(self.command)

    def ask(self, *words: str) -> str:
        return self.where.run(["birdc", "-s", str(self.control), *words], check=False)

    async def shows(self, expected: str, *words: str) -> None:
        await until(
            lambda: expected in self.ask(*words), 15, f"{expected!r} in {words}: {self.ask(*words)}"
        )


def bgp(name: str, channel: str, more: str = "", *, v6: bool = False, asn: int = 65000) -> str:
    local, peer = (V6[1], V6[0]) if v6 else (V4[1], V4[0])
    return (
        f"protocol bgp {name} {{ local {local} as 65001; neighbor {peer} as {asn}; connect delay time 1;"
        f" connect retry time 1; error wait time 1,2; {more} {channel} {{ import all; export all; }}; }}\n"
    )


async def test_a_session_with_bird_carries_routes_both_ways(net: Net, side: Side) -> None:
    bird = Bird(net, bgp("v4", "ipv4") + bgp("v6", "ipv6", v6=True))
    side.speaker.set_peers({1: parameters(*V4), 2: parameters(*V6)})
    up = await side.up(1)
    assert (up.negotiated.asn, up.negotiated.router_id, up.negotiated.asn4) == (
        65001,
        "2.2.2.2",
        True,
    )
    assert up.negotiated.local_address == V4[0]
    assert up.negotiated.message_size == 4096
    await side.up(2)
    side.speaker.send([1], update("203.0.113.0/24", V4[0], 65000) + END_OF_RIB)
    await bird.shows("203.0.113.0/24", "show", "route", "protocol", "v4")
    await until(
        lambda: any(b.endswith(b"\x18\xc6\x33\x64") for b in side.bodies(1)),
        10,
        "the route of BIRD",
    )
    await until(lambda: side.bodies(2), 10, "the IPv6 route of BIRD")
    assert side.speaker.pid


async def test_md5_and_gtsm_hold_on_both_families(net: Net, side: Side) -> None:
    secured = 'password "s3cret"; ttl security on; hold time 9;'
    bird = Bird(net, bgp("v4", "ipv4", secured) + bgp("v6", "ipv6", secured, v6=True))
    side.speaker.set_peers(
        {
            1: parameters(*V4, password="s3cret", ttl_security=1),
            2: parameters(*V6, password="s3cret", ttl_security=1),
        }
    )
    assert (await side.up(1)).negotiated.hold_time == 9
    await side.up(2)
    assert "s3cret" not in repr(side.speaker.peers)
    await bird.shows("Established", "show", "protocols", "v4")


@pytest.mark.parametrize("mine", ["", "wrong"])
async def test_a_wrong_or_missing_md5_key_brings_no_session(
    net: Net, side: Side, mine: str
) -> None:
    Bird(net, bgp("v4", "ipv4", 'password "s3cret"; passive;'))
    side.speaker.set_peers({1: parameters(*V4, password=mine)})
    await side.told("timed out")
    assert not side.of(Up)


async def test_an_incoming_session_works_with_md5_and_gtsm(net: Net, side: Side) -> None:
    Bird(net, bgp("v4", "ipv4", 'password "s3cret"; ttl security on;'))
    side.speaker.set_peers(
        {1: parameters(*V4, password="s3cret", ttl_security=1, initiate="passive")}
    )
    await side.up(1)
    side.speaker.remove(1)
    await side.down(1)
    side.speaker.set_peers(
        {1: parameters(*V4, password="other", ttl_security=1, initiate="passive")}
    )
    await side.ready()
    side.speaker.set_peers(
        {1: parameters(*V4, password="s3cret", ttl_security=1, initiate="passive")}
    )
    await side.up(1)


async def test_a_removed_peer_is_told_why(net: Net, side: Side) -> None:
    bird = Bird(net, bgp("v4", "ipv4"))
    side.speaker.set_peers({1: parameters(*V4)})
    await side.up(1)
    side.speaker.remove(1, subcode=CeaseSubcode.ADMIN_SHUTDOWN, text="rack 4 läuft leer")
    down = await side.down(1)
    assert down.down.sent == (6, 2)
    await until(lambda: "rack 4 läuft leer" in bird.log.read_text(), 10, "the text in BIRD's log")


async def test_with_rfc_8538_a_reset_is_soft_and_a_removal_is_a_hard_reset(
    net: Net, side: Side
) -> None:
    with net.b.entered():
        peer = ScriptedPeer(V4[1], 65001)
    side.speaker.set_peers({1: parameters(*V4, restart_time=120, forwarding=(1,), restarting=True)})
    await asyncio.to_thread(peer.accept)
    graceful = b"\x40\x06" + struct.pack("!H", 0x4078) + b"\0\x01\x01\x80"
    capabilities = [b"\x01\x04\0\x01\0\x01", b"\x41\x04" + struct.pack("!I", 65001), graceful]
    opened = await asyncio.to_thread(peer.establish, capabilities)
    assert b"\x40\x06\xc0\x78\x00\x01\x01\x80" in opened, (
        "R and N bit, 120 s, IPv4 unicast with F bit"
    )
    restart = (await side.up()).negotiated.restart
    assert restart is not None
    assert (restart.notification, restart.restarting, restart.restart_time) == (True, False, 120)
    side.speaker.reset(1)
    assert await asyncio.to_thread(peer.read_until, NOTIFICATION) == b"\x06\x04"
    await asyncio.to_thread(peer.accept)
    opened = await asyncio.to_thread(peer.establish, capabilities)
    assert b"\x40\x06\x40\x78\x00\x01\x01\x80" in opened, (
        "no R bit: only the first OPEN is a restart"
    )
    await until(lambda: len(side.of(Up)) == 2, 10, "the second session")
    side.speaker.remove(1)
    assert await asyncio.to_thread(peer.read_until, NOTIFICATION) == b"\x06\x09\x06\x03"
    peer.close()


async def test_a_killed_speaker_comes_back_with_all_sessions(net: Net, side: Side) -> None:
    bird = Bird(net, bgp("v4", "ipv4", "graceful restart on;"))
    side.speaker.set_peers({1: parameters(*V4, restart_time=120, forwarding=(1,))})
    await side.up(1)
    side.speaker.send([1], update("203.0.113.0/24", V4[0], 65000) + END_OF_RIB)
    await bird.shows("203.0.113.0/24", "show", "route", "protocol", "v4")
    assert side.speaker.pid
    os.kill(side.speaker.pid, signal.SIGKILL)
    await until(lambda: side.of(SpeakerDied), 10, "SpeakerDied")
    assert [type(e) for e in side.of(Down, SpeakerDied)] == [Down, SpeakerDied]
    await side.ready(2)
    await side.up(1)
    assert "203.0.113.0/24" in bird.ask("show", "route", "protocol", "v4"), (
        "kept while we restarted"
    )
    side.speaker.send([1], END_OF_RIB)
    await until(
        lambda: "203.0.113.0/24" not in bird.ask("show", "route", "protocol", "v4"),
        10,
        "the route to go",
    )


async def test_a_silent_stop_keeps_our_routes_at_a_graceful_restart_helper(net: Net) -> None:
    bird = Bird(net, bgp("v4", "ipv4", "graceful restart on;"))
    async with Side(net.a) as side:
        side.speaker.set_peers({1: parameters(*V4, restart_time=120, forwarding=(1,))})
        await side.up(1)
        side.speaker.send([1], update("203.0.113.0/24", V4[0], 65000) + END_OF_RIB)
        await bird.shows("203.0.113.0/24", "show", "route", "protocol", "v4")
    await until(
        lambda: "Established" not in bird.ask("show", "protocols", "v4"), 10, "BIRD to notice"
    )
    assert "203.0.113.0/24" in bird.ask("show", "route", "protocol", "v4")


async def test_the_text_of_a_shutdown_reaches_the_reason(net: Net, side: Side) -> None:
    bird = Bird(net, bgp("v4", "ipv4"))
    side.speaker.set_peers({1: parameters(*V4)})
    await side.up(1)
    bird.ask("disable", "v4", '"power work until noon"')
    down = await side.down(1)
    assert down.down.received == (6, 2)
    assert '"power work until noon"' in down.down.reason
    bird.ask("enable", "v4")
    await side.up(1)


async def test_both_sides_active_settle_with_bird(net: Net, side: Side) -> None:
    bird = Bird(net, bgp("v4", "ipv4"))
    side.speaker.set_peers({1: parameters(*V4)})
    for _ in range(5):
        await side.up(1)
        await bird.shows("Established", "show", "protocols", "v4")
        bird.ask("restart", "v4")
        await side.down(1)
    assert len(side.of(Up)) <= 6


async def test_a_foreign_speaker_that_only_accepts_and_one_that_only_connects(
    net: Net, side: Side
) -> None:
    Bird(net, bgp("v4", "ipv4", "passive;") + bgp("v6", "ipv6", v6=True))
    side.speaker.set_peers({1: parameters(*V4), 2: parameters(*V6, initiate="passive")})
    await side.up(1)
    await side.up(2)


async def test_link_local_addresses_carry_a_session(net: Net, side: Side) -> None:
    net.a.address("eth0", "fe80::a/64")
    net.b.address("eth0", "fe80::b/64")
    Bird(
        net,
        "protocol bgp ll { local fe80::b as 65001; neighbor fe80::a%eth0 as 65000; connect delay time 1;"
        " error wait time 1,2; ipv6 { import all; export all; }; }\n",
    )
    mine = parameters("fe80::a%eth0", "fe80::b%eth0")
    side.speaker.set_peers({1: mine})
    assert (await side.up(1)).negotiated.local_address == "fe80::a"
    side.speaker.remove(1)
    await side.down(1)
    side.speaker.set_peers({2: parameters("fe80::a%eth0", "fe80::b%eth0", initiate="passive")})
    await side.up(2)


async def test_ipv4_routes_travel_with_ipv6_next_hops(net: Net, side: Side) -> None:
    Bird(
        net,
        bgp("v6", "ipv4", "", v6=True).replace("export all;", "export all; extended next hop on;"),
    )
    side.speaker.set_peers({1: parameters(*V6, families=(1,), extended_nexthop=True)})
    assert (await side.up(1)).negotiated.extended_nexthop
    await until(lambda: any(b"\x18\xc6\x33\x64" in b for b in side.bodies(1)), 10, "the IPv4 route")


@pytest.mark.parametrize("first", ["active", "knock"])
async def test_two_kroutes_find_each_other_whoever_starts_first(net: Net, first: str) -> None:
    sides = {"active": Side(net.a), "knock": Side(net.b)}
    peers = {
        "active": parameters(*V4, initiate="active", connect_retry=60.0, router_id="1.1.1.1"),
        "knock": parameters(
            *reversed(V4),
            initiate="knock",
            connect_retry=60.0,
            router_id="2.2.2.2",
            asn=65000,
            local_asn=65001,
        ),
    }
    order = [first, *(n for n in sides if n != first)]
    for name in order:
        side = sides[name]
        await side.speaker.start()
        side.speaker.set_peers({1: peers[name]})
        if name == first:
            await side.told("connection refused")
    try:
        # With 60 s between attempts only the knock can bring them together this soon.
        for side in sides.values():
            await side.up(1, timeout=3)
    finally:
        for side in sides.values():
            await side.speaker.stop()


async def test_a_knock_replaces_a_session_that_died_unseen(tmp_path: Path) -> None:
    active = parameters(*V4, initiate="active", connect_retry=60.0)
    knock = parameters(
        *reversed(V4), initiate="knock", router_id="2.2.2.2", asn=65000, local_asn=65001
    )
    with Lab("spk") as lab:
        switch, a, b, again = (lab.namespace(n) for n in ("switch", "a", "b", "again"))
        lab.bridge(switch, "br0", (a, "eth0"), (b, "eth0"), (again, "eth0"))
        again.ip("link set eth0 down")
        for namespace, address in ((a, V4[0]), (b, V4[1]), (again, V4[1])):
            namespace.address("eth0", f"{address}/24")
        async with Side(a) as here, Side(b) as there:
            here.speaker.set_peers({1: active})
            there.speaker.set_peers({1: knock})
            first = (await here.up(1)) and asyncio.get_running_loop().time()
            await until(
                lambda: asyncio.get_running_loop().time() > first + 2.1,
                what="a session older than 2 s",
            )
            b.ip("link set eth0 down")  # the node loses power: no FIN, no RST
            again.ip("link set eth0 up")
            async with Side(again) as reborn:
                reborn.speaker.set_peers({1: knock})
                await reborn.up(1, timeout=5)
                down = await here.down(1)
                assert "restarted" in down.down.reason
                assert down.down.sent is None
                await here.up(1)


GOBGP = """
[global.config]
as = 65001
router-id = "2.2.2.2"
[[neighbors]]
[neighbors.config]
neighbor-address = "192.0.2.1"
peer-as = 65000
[neighbors.timers.config]
connect-retry = 1
idle-hold-time-after-reset = 1
"""


async def test_both_sides_active_settle_with_gobgp(net: Net, side: Side) -> None:
    (net.path / "gobgp.toml").write_text(GOBGP)
    net.b.popen(["gobgpd", "-f", str(net.path / "gobgp.toml"), "--api-hosts", "127.0.0.1:50051"])
    side.speaker.set_peers({1: parameters(*V4)})
    await side.up(1, timeout=30)
    side.speaker.send([1], update("203.0.113.0/24", V4[0], 65000))
    await until(
        lambda: "203.0.113.0/24" in net.b.run(["gobgp", "global", "rib"], check=False),
        10,
        "the route at GoBGP",
    )
    assert len(side.of(Up)) == 1


FRR = """
router bgp 65001
 bgp router-id 2.2.2.2
 no bgp ebgp-requires-policy
 timers bgp 3 9
 neighbor 192.0.2.1 remote-as 65000
 neighbor 192.0.2.1 timers connect 1
"""


async def test_both_sides_active_settle_with_frr(net: Net, side: Side) -> None:
    net.path.chmod(0o777)
    configuration = net.path / "bgpd.conf"
    configuration.write_text(FRR)
    places = [
        "-f",
        str(configuration),
        "--vty_socket",
        str(net.path),
        "-i",
        str(net.path / "bgpd.pid"),
    ]
    net.b.popen(
        ["/usr/lib/frr/bgpd", "--no_kernel", "--no_zebra", "--skip_runas", "-P", "0", *places]
    )
    side.speaker.set_peers({1: parameters(*V4)})
    assert (await side.up(1, timeout=30)).negotiated.hold_time == 9
    for _ in range(3):
        side.speaker.reset(1)
        await side.down(1)
        await side.up(1)
    assert len(side.of(Up)) == 4


async def test_a_refresh_is_passed_on(net: Net, side: Side) -> None:
    from kroute.drivers.speaker import Refresh
    from kroute.model.net import Family

    bird = Bird(net, bgp("v4", "ipv4"))
    side.speaker.set_peers({1: parameters(*V4)})
    assert (await side.up(1)).negotiated.route_refresh
    bird.ask("reload", "in", "v4")
    await until(lambda: Refresh(1, Family.IPV4) in side.events, 10, "the refresh")


async def test_connect_now_ends_the_pause(net: Net, side: Side) -> None:
    side.speaker.set_peers({1: parameters(*V4, connect_retry=60.0, initiate="active")})
    await side.told("connection refused")
    with net.b.entered():
        peer = ScriptedPeer(V4[1], 65001)
    side.speaker.connect_now(1)
    await asyncio.to_thread(peer.accept)
    await asyncio.to_thread(peer.establish)
    await side.up(1, timeout=3)
    peer.close()


async def test_equal_and_soft_changes_leave_the_session_alone_others_reset_it(
    net: Net, side: Side
) -> None:
    Bird(net, bgp("v4", "ipv4"))
    side.speaker.set_peers({1: parameters(*V4)})
    await side.up(1)
    side.speaker.set_peers({1: parameters(*V4)})
    side.speaker.set_peers({1: parameters(*V4, restarting=True, connect_retry=2.0)})
    side.speaker.set_peers({1: parameters(*V4, hold_time=30, connect_retry=2.0)})
    down = await side.down(1)
    assert down.down.sent == (6, 6)
    assert (await side.up(1)).negotiated.hold_time == 30
    assert len(side.of(Up)) == 2
