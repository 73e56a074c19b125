"""`kroute show peer`: the page, the hints, and what is never on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kroute.codec.show_peer import page
from kroute.model.bgp import Capability, Initiate, Peer, PeerName, SessionDown
from kroute.model.session_keys import SecretKey
from kroute.plan.hints import hint
from kroute.plan.peer_page import find, peer_page
from support.daemon_road import Street, state
from support.routing import LOST, V4, attributes, peer

N2 = replace(peer(2), graceful_restart=None)
ROWS = (
    Capability("ipv4 unicast", "yes", "yes", True),
    Capability("extended message", "yes", "", False),
)
COUNTED = {
    "received": {"open": 1, "update": 7, "keepalive": 3, "notification": 0},
    "sent": {"open": 1, "keepalive": 4},
    "octetsIn": 900,
    "octetsOut": 300,
    "silence": 2.5,
    "queued": 0,
    "openedBy": "us",
    "localPort": 40001,
    "peerPort": 179,
}


def street(of: Peer = N2) -> Street:
    return Street(of)


def show(street: Street, counted: dict[str, Any] | None = None) -> dict[str, Any]:
    return peer_page(state(street, N2), street.now, counted or {})


def test_the_page_of_a_session_that_is_up_tells_everything() -> None:
    found = street()
    found.up(N2, capabilities=ROWS)
    found.happens(found.announces(N2, attributes(), "198.51.100.0/24"))
    found.now = 75.0
    told = show(found, COUNTED)
    assert told["state"] == "established"
    assert told["prefixes"]["received"] == {"ipv4": 1, "ipv6": 0}
    assert told["negotiated"]["capabilities"][1] == {
        "name": "extended message",
        "ours": "yes",
        "theirs": "",
        "holds": False,
    }
    assert told["timers"] == {"up": 75.0, "down": None, "silence": 2.5, "retryIn": None}
    assert told["lastError"] is None
    text = page(told)
    assert text.splitlines()[0] == f"{N2.name}: established for 1m15s"
    assert "  extended message  yes   -       no" in text
    assert "messages received   1 open, 7 update, 3 keepalive" in text
    assert "received            1 ipv4, 0 ipv6" in text


def test_the_page_of_a_session_that_was_lost_says_why_who_and_when() -> None:
    found = street()
    found.up(N2)
    found.now = 10.0
    down = SessionDown(
        reason='received NOTIFICATION 6/2 cease, administrative shutdown "power work"',
        received=(6, 2),
    )
    found.routing.session_down(PeerName(N2.name), down, found.now)
    found.now = 40.0
    told = show(found, {"retryIn": 1.5})
    assert told["lastError"] == {
        "words": down.reason,
        "by": "peer",
        "code": [6, 2],
        "ago": 30.0,
    }
    assert told["negotiated"] is None
    text = page(told)
    assert '"power work" (the peer said so, 30s ago)' in text
    assert "next attempt in     1.5 s" in text
    assert "shut down by its operator" in text


def test_an_attempt_that_failed_is_the_last_error() -> None:
    found = street()
    state(found, N2).attempt = "sent NOTIFICATION 2/2 OPEN message error, bad peer AS (65009)"
    told = show(found)
    assert (told["lastError"]["by"], told["lastError"]["code"]) == ("us", [2, 2])
    assert told["hint"].startswith("set `asn`")


def test_a_key_is_named_by_its_place_and_never_shown() -> None:
    secret = SecretKey(namespace="kube-system", name="bgp", key="tor")
    for with_key, expected in (
        (replace(N2, password_secret=secret), "secret kube-system/bgp, key tor"),
        (replace(N2, password_file="/etc/key"), "file /etc/key"),
        (N2, "none"),
    ):
        assert peer_page(state(street(with_key), N2), 0.0, {})["configured"]["password"] == expected


def test_a_peer_is_found_by_the_last_part_of_its_name() -> None:
    routing = street().routing
    assert find(routing, N2.name) == N2.name
    assert find(routing, N2.name.partition("/")[2]) == N2.name
    assert find(routing, "nobody") is None
    assert find(routing, "") is None


HINTS = [
    ("connection refused", {}, "nothing listens there"),
    ("no route to host", {}, "ping it"),
    ("network is unreachable", {}, "no route to the peer"),
    ("cannot assign requested address", {}, "no address of this node"),
    (
        "cannot listen on 192.0.2.1 port 179: address already in use",
        {},
        "our source port or address",
    ),
    ("connection timed out", {"password_file": "/key"}, "TCP MD5 keys differ"),
    ("connection timed out", {}, "expects a TCP MD5 key and we have none"),
    ("knocking: no answer", {}, "firewall"),
    ("connected, but the peer sends no OPEN", {}, "speaks no BGP to us"),
    ("closed by the peer", {}, "is our address configured there"),
    ("password file /key cannot be read; the session stays down", {}, "provide the key"),
    ("sent NOTIFICATION 2/7 OPEN message error, unsupported capability", {}, "no family is common"),
    ("received NOTIFICATION 2/2 OPEN message error, bad peer AS", {}, "another AS of us"),
    ("received NOTIFICATION 6/7 cease, connection collision resolution", {}, "two connections"),
    ("received NOTIFICATION 6/1 cease, maximum number of prefixes reached", {}, "raise its limit"),
    ("received NOTIFICATION 99/1 unknown error", {}, "look at the peer's log"),
]


@pytest.mark.parametrize(("said", "changes", "expected"), HINTS)
def test_each_common_failure_has_a_hint(said: str, changes: dict[str, Any], expected: str) -> None:
    found = state(street(replace(N2, **changes)), N2)
    found.attempt = said
    assert expected in hint(found)


def test_hints_for_what_is_not_a_failure_of_the_network() -> None:
    quiet = state(street(), N2)
    quiet.peer = replace(N2, initiate=Initiate.PASSIVE)
    assert "we wait for the peer to connect" in hint(quiet)
    quiet.peer = replace(N2, shutdown="x")
    assert "remove `shutdown`" in hint(quiet)
    quiet.peer, quiet.down_until = N2, 9.0
    assert "raise `maxPrefixes`" in hint(quiet)
    found = street()
    found.up(N2)
    assert hint(state(found, N2)) == ""
    state(found, N2).adj_in.over[V4] = 3
    assert "over its limit" in hint(state(found, N2))
    state(found, N2).adj_in.over.clear()
    state(found, N2).backlog = 5
    assert "reads slowly" in hint(state(found, N2))


def test_a_family_that_the_peer_does_not_carry_is_named() -> None:
    found = street()
    found.up(N2, families=(V4,))
    wanted = state(found, N2)
    assert "does not carry ipv6" in hint(wanted) or wanted.peer.families == (V4,)


def test_a_lost_session_without_words_has_no_hint_made_up() -> None:
    found = street()
    found.up(N2)
    found.routing.session_down(PeerName(N2.name), LOST, 1.0)
    assert isinstance(hint(state(found, N2)), str)
