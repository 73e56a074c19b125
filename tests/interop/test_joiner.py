"""A peer joins a daemon with a full table, which goes on changing: it ends with the table as it is, told in slices."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable, Iterator

import pytest

from kroute.model.bgp import Attributes
from kroute.model.net import Nlri
from support.bgp_bytes import decoder
from support.bgp_speaker import Identity, Speaker
from support.daemon import Kroute, Site
from support.daemon_hostile import attribute, update
from support.netns import wait_for

pytestmark = pytest.mark.root

K4, FEEDER, JOINER = "192.0.2.1", "192.0.2.66", "192.0.2.67"
COUNT, SOME = 20_000, 1000
END_OF_RIB = bytes(4)
PEERS = [
    {"name": "feeder", "address": FEEDER, "asn": 65066, "accept": "all", "maxPrefixes": 2 * COUNT},
    {"name": "joiner", "address": JOINER, "asn": 65067, "announce": ["external"]},
]
CONFIG = {
    "fib": {"enabled": False},
    "peering": {"peers": [p | {"families": ["ipv4"], "passive": True} for p in PEERS]},
}


def prefix(number: int) -> str:
    return f"20.{number >> 8}.{number & 255}.0/24"


def nlri(number: int) -> Nlri:
    return bytes((24, 20, number >> 8, number & 255))


def told(number: int, origin: int) -> bytes:
    """An UPDATE with words that no other prefix has."""
    path = struct.pack("!BBII", 2, 2, 65066, origin + number)
    hop = attribute(0x40, 3, socket.inet_aton(FEEDER))
    return update([prefix(number)], attribute(0x40, 1, b"\0") + attribute(0x40, 2, path) + hop)


class Listening:
    """The joiner's table, word by word."""

    def __init__(self, speaker: Speaker) -> None:
        self.speaker = speaker
        self.table: dict[Nlri, Attributes] = {}
        self.ends = 0
        self.at_end: dict[Nlri, Attributes] = {}
        """What it knew at End-of-RIB."""
        self._decoder = decoder(internal=False)
        self._read = 0

    def until(self, holds: Callable[[], object], what: str) -> None:
        def heard() -> object:
            bodies = self.speaker.updates[self._read :]
            self._read += len(bodies)
            for body in bodies:
                self._hear(body)
            return holds()

        self.speaker.pump(heard, timeout=60, what=what)

    def _hear(self, body: bytes) -> None:
        if body == END_OF_RIB:
            self.ends += 1
            self.at_end = dict(self.table)
        for _, found, nlris in self._decoder.decode(body).steps:
            for each in nlris:
                if found is None:
                    assert self.table.pop(each, None) is not None, "withdrawn, but not announced"
                else:
                    assert self.table.get(each) != found, "announced again"
                    self.table[each] = found

    def origins(self) -> dict[Nlri, int]:
        """The AS that each prefix comes from, by which its words are known."""
        return {each: a.as_path[-1].asns[-1] for each, a in self.table.items()}


@pytest.fixture
def site() -> Iterator[Site]:
    with Site("join") as site:
        yield site


def speaker(site: Site, name: str, host: int, asn: int) -> Speaker:
    address = f"192.0.2.{host}"
    identity = Identity(asn=asn, router_id=address, families=(1,))
    made = Speaker(site.host(name, host), address, K4, identity)
    made.pump(lambda: made.established, what="a session")
    return made


def knows(node: Kroute, feeder: Speaker, count: int) -> None:
    def has() -> bool:
        feeder.pump(lambda: True)
        return bool(node.peer("peer/feeder")["received"] == count)

    wait_for(has, 30, f"{count} prefixes of the feeder")


def said(feeder: Speaker, parts: Iterable[bytes]) -> None:
    feeder.send([b"".join(parts)])


def test_who_joins_while_the_table_changes_has_it_as_it_is_and_hears_of_nothing_twice(
    site: Site,
) -> None:
    node = site.node(1, CONFIG)
    node.start()
    feeder = speaker(site, "f", 66, 65066)
    try:
        said(feeder, (told(i, 1_000_000) for i in range(COUNT)))
        said(feeder, [update([], b"")])  # End-of-RIB, without which it would be waited for
        knows(node, feeder, COUNT)
        joiner = speaker(site, "j", 67, 65067)
        try:
            heard = Listening(joiner)
            heard.until(lambda: heard.table, "the first slice")
            # The end of the table changes, most likely before its slice.
            gone = range(COUNT - SOME, COUNT)
            changed = range(COUNT - 2 * SOME, COUNT - SOME)
            parts = (gone[at : at + 200] for at in range(0, SOME, 200))
            said(feeder, (update([], b"", map(prefix, part)) for part in parts))
            said(feeder, (told(i, 2_000_000) for i in changed))
            expected = {nlri(i): 1_000_000 + i for i in range(COUNT - 2 * SOME)}
            expected |= {nlri(i): 2_000_000 + i for i in changed}
            heard.until(lambda: heard.ends, "End-of-RIB")
            assert len(heard.at_end) >= COUNT - SOME, "End-of-RIB before the last slice"
            heard.until(lambda: heard.origins() == expected, "the table as it is")
            assert heard.ends == 1
            assert node.ask("status")["telling"] == 0
        finally:
            joiner.close()
    finally:
        feeder.close()
