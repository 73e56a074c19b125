"""What we encode is understood by BIRD, FRR and GoBGP: they show the routes with the attributes we gave them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from kroute.codec.bgp import announce, attribute_block, withdraw
from kroute.codec.bgp.text import as_path_text, community_text, large_community_text
from kroute.model.bgp import Attributes
from support.bgp_bytes import V4
from support.bgp_cases import GONE, HOP4, Case, announcements, withdrawals
from support.bgp_peers import ASN, INJECTOR, PEERS, Peer, Setup, blank
from support.bgp_speaker import Identity, Speaker
from support.netns import Lab
from support.record_bgp import cases_for, sessions, speak

pytestmark = pytest.mark.root

SETUPS = {"over IPv4": Setup(), "over IPv6": Setup(version=6, extended_nexthop=True)}


@dataclass(frozen=True, kw_only=True)
class Running:
    """A daemon that has our session."""

    peer: Peer
    speaker: Speaker
    cases: dict[str, Case]

    def shows(self, prefix: str, wanted: Any) -> None:
        """Wait until the daemon's view of a prefix is the wanted one.

        Raises:
            AssertionError: it never was; says what the view was last.
        """
        seen: list[Any] = []

        def same() -> bool:
            seen[:] = [self.peer.path(prefix)]
            return seen[0] == wanted

        try:
            self.speaker.pump(same)
        except AssertionError as error:
            raise AssertionError(f"{prefix}: {seen} instead of {wanted}") from error


@pytest.fixture(params=PEERS, ids=lambda make: make.name)
def make(request) -> type:
    return request.param


@pytest.fixture(params=SETUPS.values(), ids=SETUPS.keys())
def running(request, make) -> Iterator[Running]:
    setup = request.param
    with Lab("codec") as lab, TemporaryDirectory() as folder:
        here, peer = sessions(lab, make, setup, Path(folder))
        who = Identity(asn=ASN, router_id="192.0.2.11", extended_nexthop=setup.extended_nexthop)
        speaker = speak(here, INJECTOR, setup, who)
        yield Running(peer=peer, speaker=speaker, cases=cases_for(setup))
        speaker.close()


def expected(attributes: Attributes, peer: Peer) -> dict[str, Any]:
    """What the daemon shall show of these attributes."""
    view = blank() | {
        "as_path": as_path_text(attributes.as_path),
        "next_hop": str(ip_address(attributes.nexthop)),
        "origin": attributes.origin.name.lower(),
        "med": attributes.med,
        "local_pref": attributes.local_pref,
        "communities": {community_text(c) for c in attributes.communities},
        "large": {large_community_text(c) for c in attributes.large_communities},
        "extended": len(attributes.extended_communities),
        "unknown": {u.code for u in attributes.unknown},
    }
    if peer.name == "frr":  # has unknown attributes and passes them on, but does not show them
        view["unknown"] = set()
    else:
        view["as_path"] = view["as_path"].replace(",", " ")
    return view


def test_every_attribute_is_understood_and_withdrawn_routes_go(running):
    running.speaker.send(announcements(running.cases))
    for case in running.cases.values():
        running.shows(case.prefix, expected(case.attributes, running.peer))
    running.speaker.send(withdrawals(running.cases))
    for name in GONE:
        running.shows(running.cases[name].prefix, {})
    left = next(c for name, c in running.cases.items() if name not in GONE)
    running.shows(left.prefix, expected(left.attributes, running.peer))


def test_full_messages_are_understood_and_withdrawn_again(make):
    keys = [bytes((24, 10, i >> 8, i & 0xFF)) for i in range(3000)]
    attributes = Attributes(nexthop=HOP4, local_pref=100)
    block = attribute_block(V4, attributes, asn4=True)
    with Lab("codec") as lab, TemporaryDirectory() as folder:
        here, peer = sessions(lab, make, Setup(), Path(folder))
        speaker = speak(here, INJECTOR, Setup(), Identity(asn=ASN, router_id="192.0.2.11"))
        run = Running(peer=peer, speaker=speaker, cases={})
        messages = announce(block, keys, message_size=4096)
        assert max(map(len, messages)) > 4090
        speaker.send(messages)
        run.shows("10.11.183.0/24", expected(attributes, peer))
        run.shows("10.0.0.0/24", expected(attributes, peer))
        speaker.send(withdraw(V4, keys, message_size=4096))
        run.shows("10.11.183.0/24", {})
        run.shows("10.0.0.0/24", {})
        speaker.close()
