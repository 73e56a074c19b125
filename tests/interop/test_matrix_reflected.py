"""The origin check behind reflectors of all kinds: an honest node, and one that announces what is another's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.daemon import Kroute, Site
from support.ledger import Ledger
from support.matrix import tried
from support.netns import wait_for
from support.programs import BirdNeighbour, Cast, Neighbour, Session, start
from support.stage import K4, NUMBER, RETURN

pytestmark = pytest.mark.root

ASN = 64512
REFLECTORS = ("bird", "frr", "gobgp", "openbgpd")
HONEST, LIAR, ABSENT = 21, 22, 23
UNKNOWN_HOP = "192.0.2.121"
"""A second address of the honest node, of which Kubernetes knows nothing."""


def pods4(number: int) -> str:
    return f"10.244.{number}.0/24"


def pods6(number: int) -> str:
    return f"fd00:10:244:{number}::/64"


TRUE = (pods4(HONEST), pods6(HONEST), pods4(LIAR))
LIES = {
    pods4(ABSENT): "origin-hijack",
    "10.244.21.128/25": "origin-more-specific",
    pods6(ABSENT): "origin-hijack",
    "fd00:10:244:21:8000::/65": "origin-more-specific",
}


class Reflected:
    """n1 is the client of four reflectors, and so are BIRDs that stand for the nodes n21 and n22."""

    def __init__(self, site: Site) -> None:
        for number in (HONEST, LIAR, ABSENT):
            ends = [f"192.0.2.{number}", f"2001:db8::{number}"]
            site.join(f"n{number}", [pods4(number), pods6(number)], ends)
        rows = [
            {"name": p, "address": f"192.0.2.{NUMBER[p]}", "asn": ASN, "reflector": True}
            | {"families": ["ipv4", "ipv6"]}
            for p in REFLECTORS
        ]
        self.node: Kroute = site.node(1, {"peering": {"topology": "none", "peers": rows}})
        self.node.launch()
        clients = [K4, f"192.0.2.{HONEST}", f"192.0.2.{LIAR}"]
        self.reflectors: dict[str, Neighbour] = {}
        for program in REFLECTORS:
            own = f"192.0.2.{NUMBER[program]}"
            sessions = [Session(local=own, peer=end, client=True) for end in clients]
            self.reflectors[program] = start(program, self._cast(site, NUMBER[program], sessions))
        self.nodes = {number: self._client(site, number) for number in (HONEST, LIAR)}
        self.nodes[HONEST].where.address("eth0", f"{UNKNOWN_HOP}/24")
        self.nodes[HONEST].announce(pods4(HONEST), pods6(HONEST))
        self.nodes[LIAR].announce(pods4(LIAR), *LIES)
        wait_for(self.node.answers, 15)

    @staticmethod
    def _cast(site: Site, number: int, sessions: list[Session]) -> Cast:
        where = site.host(f"h{number}", number)
        return Cast(site=site, where=where, number=number, asn=ASN, peer_asn=ASN, sessions=sessions)

    def _client(self, site: Site, number: int) -> BirdNeighbour:
        own = f"192.0.2.{number}"
        sessions = [Session(local=own, peer=f"192.0.2.{NUMBER[p]}") for p in REFLECTORS]
        made = BirdNeighbour(self._cast(site, number, sessions))
        if number == HONEST:
            hop = f"ipv4 {{ next hop address {UNKNOWN_HOP}; "
            made.configure(made.sessions.replace("ipv4 { ", hop))
        return made


@pytest.fixture(scope="module")
def scene() -> Iterator[Reflected]:
    with Site("mtxo") as site:
        yield Reflected(site)


@pytest.fixture(scope="module")
def judged(scene: Reflected) -> Ledger:
    ledger = Ledger(REFLECTORS)

    def state(program: str) -> bool:
        return bool(scene.node.peer(f"peer/{program}").get("state") == "established")

    def seen(program: str) -> bool:
        taken = {r["prefix"]: r for r in scene.node.ask("rib-in", peer=program)}
        refused = scene.node.ask("rib-in", peer=program, rejected="1")
        return all(p in taken and taken[p]["origin"] == "valid" for p in TRUE) and (
            LIES.items() <= {r["prefix"]: r["why"] for r in refused}.items()
        )

    ledger.wait(state, "the session", timeout=RETURN)
    ledger.wait(seen, "the verdicts", timeout=RETURN)
    for program in REFLECTORS:
        ledger.wrong[program] += (
            str(scene.node.ask("rib-in", peer=program, rejected="1"))
            if ledger.wrong[program]
            else ""
        )
    return ledger


@tried
def test_a_reflector_passes_on_the_truth_and_lies_and_kroute_tells_them_apart(
    scene: Reflected, judged: Ledger, program: str
) -> None:
    assert not judged.wrong[program]
    rows = {r["prefix"]: r["attributes"] for r in scene.node.ask("rib-in", peer=program)}
    honest = rows[pods4(HONEST)]
    assert honest["originator_id"] == f"192.0.2.{HONEST}"
    assert honest["next_hop"] == UNKNOWN_HOP, "only its ORIGINATOR_ID says whose it is"
    assert not set(LIES) & set(scene.node.kernel())
