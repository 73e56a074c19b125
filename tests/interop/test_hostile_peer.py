"""One peer does its worst: it alone suffers, the daemon lives, pods go on pinging, and people are told who and why."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support.daemon import Site, nothing_lost
from support.daemon_hostile import (
    KEEPALIVE,
    MARKER,
    REFRESH,
    UPDATE,
    ScriptedRouter,
    attribute,
    message,
    update,
)
from support.netns import wait_for

pytestmark = pytest.mark.root

HOSTILE, ASN, NAME = "192.0.2.66", 65066, "peer/hostile"
K4 = "192.0.2.1"
NET = "198.51.100.0/24"
LIMIT = 100

ORIGIN = attribute(0x40, 1, b"\0")
AS_PATH = attribute(0x40, 2, b"\x02\x01" + struct.pack("!I", ASN))
NEXT_HOP = attribute(0x40, 3, socket.inet_aton(HOSTILE))
GOOD = ORIGIN + AS_PATH + NEXT_HOP


class Scene:
    """Nodes n1 and n2 with a pod each, and a peer of n1 that is believed everything and deserves it not."""

    def __init__(self, site: Site) -> None:
        peer = {
            "name": "hostile",
            "address": HOSTILE,
            "asn": ASN,
            "accept": "all",
            "maxPrefixes": LIMIT,
        }
        peer |= {"families": ["ipv4"], "passive": True}
        self.site = site
        self.where = site.host("x", 66)
        self.node, self.good = site.node(1, {"peering": {"peers": [peer]}}), site.node(2)
        for node in (self.node, self.good):
            node.launch()
        self.pod = site.pod(self.node, 10)
        site.pod(self.good, 10)
        for node in (self.node, self.good):
            wait_for(node.answers, 15)
        self.node.established("node/n2")
        self.node.has("10.244.2.0/24", "fd00:10:244:2::/64")
        self.router: ScriptedRouter

    def meet(self) -> int:
        """A session with the hostile peer; how many sessions with it were lost before."""
        self.router.meet(K4)
        self.node.established(NAME)
        flaps: int = self.node.peer(NAME)["flaps"]
        return flaps

    @contextmanager
    def unharmed(self) -> Iterator[None]:
        """Whatever the block does: the daemon and its speaker live, the good session stays, pings go through."""
        pids = self.node.pid, self.node.speaker_pid
        with nothing_lost((self.pod, "10.244.2.10"), (self.pod, "fd00:10:244:2::10")):
            yield
        assert self.node.alive()
        assert (self.node.pid, self.node.speaker_pid) == pids
        assert self.node.peer("node/n2")["flaps"] == 0
        assert "Traceback" not in self.node.words()

    def kernel(self) -> set[str]:
        """What n1's kernel has of the hostile peer."""
        return {p for p, gateways in self.node.kernel().items() if HOSTILE in gateways}


@pytest.fixture(scope="module")
def stage() -> Iterator[Scene]:
    with Site("bad") as site:
        yield Scene(site)


@pytest.fixture
def scene(stage: Scene) -> Iterator[Scene]:
    stage.router = ScriptedRouter(stage.where, HOSTILE, ASN, dials=True)
    yield stage
    stage.router.close()
    wait_for(lambda: stage.node.peer(NAME)["state"] != "established", 10, "the session to end")


def test_garbage_before_and_after_open_ends_that_session_alone(scene: Scene) -> None:
    router, node = scene.router, scene.node
    good = router.open()
    flaps = node.peer(NAME)["flaps"]
    other_as = good.replace(struct.pack("!H", ASN), struct.pack("!H", 4242))
    attacks = (
        ("not synchronized", b"GET / HTTP/1.1\r\nHost: kroute\r\n\r\n" * 10),
        ("bad message length", MARKER + b"\0\0\1"),
        ("not synchronized", b"\0" * 16 + good[16:]),
        ("unexpected message in OpenSent", message(UPDATE, b"\0" * 4)),
        ("bad message length", MARKER + b"\xff\xff\1" + b"x" * 65516),
        ("bad peer AS", other_as),
        ("OPEN message error", good[:28] + b"\xff" + good[29:]),
        ("not synchronized", good + b"\xa5" * 500),
        ("unexpected message in OpenConfirm", good + good + good),
        ("bad message length", good + MARKER + b"\0\x12\4"),
        ("", b""),
    )
    with scene.unharmed():
        for words, octets in attacks:
            sock = router.dial(K4)
            if octets:
                router.send(octets)
                router.ended()
            else:
                sock.close()
            wait_for(lambda words=words: words in node.peer(NAME)["reason"], 10, words)
        assert node.peer(NAME)["flaps"] == flaps
        assert node.peer(NAME)["state"] != "established"
        scene.meet()


def test_garbage_on_an_established_session_ends_it_and_routes_go(scene: Scene) -> None:
    router, node = scene.router, scene.node
    attacks = {
        "not synchronized": b"\0" * 19,
        "bad message length": MARKER + b"\0\x12\2",
        "bad message type": message(9),
        "malformed attribute list": message(UPDATE, b"\xff\xff\0\0"),
        "invalid network field": update([], GOOD)[:16] + _sized(GOOD, b"\x21\1\2\3\4\5"),
    }
    with scene.unharmed():
        for words, octets in attacks.items():
            flaps = scene.meet()
            router.send(update([NET], GOOD))
            wait_for(lambda: scene.kernel() == {NET}, 10, "the route")
            router.send(octets)
            assert router.ended()
            wait_for(
                lambda flaps=flaps: node.peer(NAME)["flaps"] == flaps + 1,
                10,
                f"the end after {words}",
            )
            assert words in node.peer(NAME)["reason"]
            wait_for(lambda: not scene.kernel(), 10, "the route to go")


def _sized(attributes: bytes, tail: bytes) -> bytes:
    """The rest of an UPDATE after the marker, with raw octets as its NLRI."""
    body = struct.pack("!HH", 0, len(attributes)) + attributes + tail
    return struct.pack("!HB", 19 + len(body), UPDATE) + body


MALFORMED = {
    "ORIGIN": attribute(0x40, 1, b"\7") + AS_PATH + NEXT_HOP,
    "ORIGIN of two octets": attribute(0x40, 1, b"\0\0") + AS_PATH + NEXT_HOP,
    "ORIGIN with optional flag": attribute(0xC0, 1, b"\0") + AS_PATH + NEXT_HOP,
    "AS_PATH of a strange segment": ORIGIN + attribute(0x40, 2, b"\x09\1\0\0\1\1") + NEXT_HOP,
    "AS_PATH that overruns": ORIGIN + attribute(0x40, 2, b"\x02\xff\0\0\1\1") + NEXT_HOP,
    "NEXT_HOP of three octets": ORIGIN + AS_PATH + attribute(0x40, 3, b"\1\2\3"),
    "NEXT_HOP missing": ORIGIN + AS_PATH,
    "ORIGIN missing": AS_PATH + NEXT_HOP,
    "MED of three octets": GOOD + attribute(0x80, 4, b"\0\0\1"),
    "COMMUNITIES of three octets": GOOD + attribute(0xC0, 8, b"\0\0\1"),
    "LARGE_COMMUNITY of 11 octets": GOOD + attribute(0xC0, 32, b"\0" * 11),
    "an attribute that overruns the list": GOOD + b"\xc0\x08\xff\0",
    "an unknown well-known attribute": GOOD + attribute(0x40, 99, b""),
}


def test_malformed_updates_withdraw_their_routes_and_keep_the_session(scene: Scene) -> None:
    router, node = scene.router, scene.node
    flaps = scene.meet()
    faults = node.peer(NAME)["faults"]
    with scene.unharmed():
        for number, (words, attributes) in enumerate(MALFORMED.items(), faults + 1):
            router.send(update([NET], GOOD))
            wait_for(lambda: scene.kernel() == {NET}, 10, f"the route before {words}")
            router.send(update([NET], attributes))
            wait_for(lambda: not scene.kernel(), 10, f"the route to go by {words}")
            wait_for(lambda n=number: node.peer(NAME)["faults"] >= n, 10, f"{words} to be counted")
        assert "treated as withdraw" in node.peer(NAME)["lastFault"]
        assert "faulty UPDATEs" in node.problems()[f"{NAME} update"]
        assert node.peer(NAME)["flaps"] == flaps


def test_attributes_of_no_weight_are_discarded_and_the_route_stays(scene: Scene) -> None:
    scene.meet()
    with scene.unharmed():
        scene.router.send(update([NET], GOOD + attribute(0xC0, 7, b"\0\0\1")))
        wait_for(lambda: scene.kernel() == {NET}, 10, "the route")
        assert "attribute discarded" in scene.node.peer(NAME)["lastFault"]


def test_routes_that_would_loop_or_lead_nowhere_are_refused_with_a_reason(scene: Scene) -> None:
    loop = ORIGIN + attribute(0x40, 2, b"\x02\x02" + struct.pack("!II", ASN, 64512)) + NEXT_HOP
    ours = ORIGIN + AS_PATH + attribute(0x40, 3, socket.inet_aton(K4))
    far = ORIGIN + AS_PATH + attribute(0x40, 3, socket.inet_aton("203.0.113.9"))
    scene.meet()
    with scene.unharmed():
        scene.router.send(
            update(["198.51.100.0/26"], loop)
            + update(["198.51.100.64/26"], ours)
            + update(["198.51.100.128/26"], far)
            + update(["198.51.100.192/26"], GOOD)
        )
        wait_for(lambda: scene.kernel() == {"198.51.100.192/26"}, 10, "the one good route")
        reasons = {r["prefix"]: r["reason"] for r in scene.node.ask("routes", rejected="1")}
        assert "AS path" in reasons["198.51.100.0/26"]
        assert "our own address" in reasons["198.51.100.64/26"]
        assert (
            "203.0.113.9" in reasons["198.51.100.128/26"]
            or "next hop" in reasons["198.51.100.128/26"]
        )


def floods(count: int) -> Iterator[bytes]:
    """UPDATEs with 200 different /30s each."""
    for start in range(0, count, 200):
        first = int.from_bytes(socket.inet_aton("100.64.0.0"), "big") + start * 4
        tail = b"".join(
            b"\x1e" + (first + 4 * n).to_bytes(4, "big") for n in range(min(200, count - start))
        )
        yield MARKER + _sized(GOOD, tail)


def memory(pid: int) -> float:
    """Resident MiB of a process."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.split("Pss:")[1].split()[0]) / 1024


def test_a_flood_is_held_at_the_limit_and_reported(scene: Scene) -> None:
    router, node = scene.router, scene.node
    flaps = scene.meet()
    for octets in floods(LIMIT * 2):
        router.send(octets)
    wait_for(lambda: len(scene.kernel()) == LIMIT, 10, "the limit")
    before = memory(node.pid)
    with scene.unharmed():
        total = 300_000
        for octets in floods(total):
            router.send(octets)
        router.send(update([], b"", ["192.0.2.128/25"]) + message(KEEPALIVE))
        wait_for(lambda: node.peer(NAME)["overLimit"] >= total - LIMIT, 60, "the whole flood")
        assert node.peer(NAME)["received"] == LIMIT
        assert len(scene.kernel()) == LIMIT
        assert f"over its limit of {LIMIT}" in node.problems()[f"{NAME} maxPrefixes"]
        assert node.peer(NAME)["flaps"] == flaps
        assert memory(node.pid) < before + 30

        router.send(update([], b"", [str_prefix(n) for n in range(50)]))
        wait_for(lambda: len(scene.kernel()) == LIMIT - 50, 10, "room")
        router.send(update([NET], GOOD))
        wait_for(lambda: NET in scene.kernel(), 10, "a new route in the room")
        assert router.read_until(REFRESH) == b"\0\1\0\1", "what was refused is asked for"
        assert node.peer(NAME)["overLimit"] == 0


def str_prefix(number: int) -> str:
    first = int.from_bytes(socket.inet_aton("100.64.0.0"), "big") + 4 * number
    return f"{socket.inet_ntoa(first.to_bytes(4, 'big'))}/30"


def test_a_peer_that_asks_for_everything_and_reads_nothing_harms_itself_only(scene: Scene) -> None:
    router, node = scene.router, scene.node
    scene.meet()
    assert router.sock is not None
    router.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    router.sock.setblocking(False)
    refresh = message(REFRESH, struct.pack("!HBB", 1, 0, 1)) * 400
    with scene.unharmed():
        for _ in range(500):
            if not select.select([], [router.sock], [], 0.05)[1]:
                break
            with suppress(BlockingIOError):
                router.sock.send(refresh)
        assert node.answers()
        assert memory(node.pid) + memory(node.speaker_pid) < 250


def test_a_crowd_of_connections_ends_no_session(scene: Scene) -> None:
    flaps = scene.meet()
    with scene.where.entered():
        strangers = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(100)]
        friends = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(100)]
    scene.where.address("eth0", "192.0.2.67/24")
    with scene.unharmed():
        for number, sock in enumerate(strangers + friends):
            sock.settimeout(5)
            sock.bind(("192.0.2.67" if number < 100 else HOSTILE, 0))
            with suppress(OSError):
                sock.connect((K4, 179))
                if number % 2:
                    sock.sendall(MARKER + b"\0\x1d\1")
        assert scene.node.peer(NAME)["state"] == "established"
        assert scene.node.peer(NAME)["flaps"] == flaps
        scene.router.send(update([NET], GOOD))
        wait_for(lambda: scene.kernel() == {NET}, 15, "a route in spite of the crowd")
        for sock in strangers + friends:
            sock.close()
