"""Several paths that a peer does not grant (RFC 7911): who is told of it, in which words, and when nobody is."""

from __future__ import annotations

from typing import Any

import pytest

from kroute.model.bgp import Capability, PeerKind
from kroute.model.net import Family
from kroute.model.session_keys import AddPath
from kroute.plan.declined import declined, declined_hint, declined_problems, declined_story
from support.routing import BOTH, V4, Listener, attributes, listener, n, peer

CLIENT = PeerKind.CLIENT
ANYCAST = "198.51.100.53/32"


def asked(number: int, receive: tuple[Family, ...] = BOTH, send: tuple[Family, ...] = BOTH) -> Any:
    return peer(number, CLIENT, cluster_id="10.0.0.9", add_path=receive, add_path_send=send)


def session(of: Any, offer: str = "", **agreed: Any) -> Listener:
    """A node whose session with this peer has agreed on that."""
    found = listener(of)
    rows = (Capability("add-path", "ipv4 unicast send and receive", offer, False),)
    found.up(of, capabilities=rows, **agreed)
    return found


def problems(node: Listener) -> list[str]:
    return [p.reason for s in node.routing.peers.values() for p in declined_problems(s)]


def test_who_grants_all_or_was_asked_for_nothing_is_no_problem() -> None:
    assert not problems(session(asked(2), add_path=BOTH, add_path_send=BOTH))
    assert not problems(session(asked(2, (), ())))
    node = session(asked(2))
    node.down(asked(2))
    assert not problems(node)


def test_a_family_that_the_session_does_not_carry_is_another_matter() -> None:
    agreed = {"families": (V4,), "add_path": (V4,), "add_path_send": (V4,)}
    assert not problems(session(asked(2), **agreed))


@pytest.mark.parametrize(
    ("receive", "send", "agreed", "words", "hint"),
    [
        (BOTH, (), {}, "ipv4, ipv6: addPath receive was asked for, nothing is granted", "tell"),
        ((), BOTH, {}, "ipv4, ipv6: addPath send was asked for, nothing is granted", "take"),
        (BOTH, BOTH, {"add_path": BOTH}, "both was asked for, receive is granted", "take"),
        (BOTH, BOTH, {"add_path_send": BOTH}, "both was asked for, send is granted", "tell"),
        (BOTH, BOTH, {"add_path": (V4,), "add_path_send": (V4,)}, "ipv6: addPath both", "tell and take"),
    ],
)  # fmt: skip
def test_each_way_is_granted_by_itself(
    receive: Any, send: Any, agreed: Any, words: str, hint: str
) -> None:
    node = session(asked(2, receive, send), **agreed)
    (told,) = problems(node)
    assert words in told
    assert "the peer offers no add-path" in told
    (state,) = node.routing.peers.values()
    assert f"let the peer {hint} several paths" in declined_hint(state)


def test_families_that_fare_differently_are_told_apart_and_the_offer_is_quoted() -> None:
    node = session(asked(2), "ipv4 unicast receive", add_path_send=(V4,))
    first, second = problems(node)
    assert first == (
        "ipv4: addPath both was asked for, send is granted, for the peer offers ipv4 unicast receive; so it tells us "
        "one path to a prefix and we tell it several paths"
    )
    assert second.startswith("ipv6: addPath both was asked for, nothing is granted")
    (state,) = node.routing.peers.values()
    assert [d.brief() for d in declined(state)] == [
        "addPath both only send granted in ipv4",
        "addPath both declined in ipv6",
    ]
    assert [d.granted for d in declined(state)] == [AddPath.SEND, AddPath.OFF]


def test_the_story_of_a_prefix_says_so_where_it_makes_a_difference() -> None:
    peers = [asked(i) for i in range(2, 8)]
    node = listener(*peers)
    for one in peers:
        node.up(one)
    node.learn(peers[0], attributes("192.0.2.2"), ANYCAST)
    node.flush()

    def story() -> list[str]:
        return list(declined_story(node.routing, V4, n(ANYCAST)))

    assert story() == ["node/n2 was asked for all its paths (addPath) and tells one: it declines"]
    node.learn(peers[1], attributes("192.0.2.3"), ANYCAST)
    node.flush()
    assert story()[2] == (
        "told to node/n2, node/n3, node/n4 and 3 more with the best path alone: several (addPath) are declined there"
    )
