"""Whole tables for peers that join: in turns with all else, in fair shares, and dropped where the peer goes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kroute.daemon.review import SLICE, review
from kroute.model.bgp import Peer, PeerKind
from kroute.plan.adj_out import Tell
from kroute.plan.joining import SWITCH
from support.routing import BOTH, V4, Listener, attributes, listener, n, peer

CLUSTER = "10.0.0.9"
A, B, C, D = (
    peer(i, PeerKind.CLIENT, cluster_id=CLUSTER, max_prefixes=100_000) for i in range(2, 6)
)
MANY = [f"10.{i // 256}.{i % 256}.0/24" for i in range(2000)]


def reflector(*peers: Peer) -> Listener:
    """One that its first client has told 2000 prefixes, each in words of its own."""
    found = listener(*peers)
    found.up(A)
    found.end(A)
    for number, prefix in enumerate(MANY):
        found.learn(A, attributes("192.0.2.2", 65001, 100_000 + number), prefix)
    found.flush()
    return found


@pytest.fixture
def node() -> Listener:
    return reflector(A, B, C, D)


def shares(node: Listener, *names: str) -> list[int]:
    return [len(node.heard(name)) for name in names]


def told(tells: list[Tell]) -> int:
    return sum(len(nlris) for tell in tells for _, nlris in tell.announced)


def test_a_new_table_is_filled_and_told_in_slices_and_end_of_rib_comes_last() -> None:
    node = reflector(A, B)
    node.up(B)
    flushes = 0
    while node.routing.is_busy or not flushes:
        assert not node.ends.get(B.name)
        before = len(node.heard(B.name))
        node.flush(SLICE)
        assert len(node.heard(B.name)) - before <= SLICE
        flushes += 1
        assert flushes <= 2 * len(MANY) / SLICE + 2
    assert shares(node, B.name) == [len(MANY)]
    assert sorted(node.ends[B.name]) == sorted(BOTH)


def test_prefixes_in_the_same_words_come_in_greater_slices_and_few_messages() -> None:
    node = listener(A, B)
    node.up(A)
    node.learn(A, attributes("192.0.2.2"), *MANY)
    node.up(B)
    while not (tells := node.flush(SLICE)):
        assert node.routing.is_busy
    tells = node.flush(SLICE)
    assert told(tells) > (SWITCH - 1) * SLICE
    assert [len(tell.announced) for tell in tells] == [1]


def test_what_has_its_turn_next_to_a_joiner_is_not_held_up(node: Listener) -> None:
    node.up(B)
    node.flush(SLICE)
    node.learn(A, attributes("192.0.2.2"), "172.16.0.0/12")
    node.flush(SLICE)
    assert n("172.16.0.0/12") in node.fib[V4]
    assert node.routing.is_busy


def test_joiners_of_one_moment_share_what_is_told(node: Listener) -> None:
    node.up(B)
    node.up(C)
    node.flush(SLICE)
    for tell in (tell for _ in range(40) for tell in node.flush(SLICE) if tell.announced):
        assert tell.peers == (B.name, C.name)
    assert shares(node, B.name, C.name) == [len(MANY)] * 2


def test_joiners_of_different_rules_take_turns(node: Listener) -> None:
    node.up(B, message_size=65535)
    node.up(C, add_path_send=BOTH)
    while node.routing.is_busy or not node.heard(B.name):
        few, many = sorted(shares(node, B.name, C.name))
        assert many - few <= SLICE
        node.flush(SLICE)
    assert shares(node, B.name, C.name) == [len(MANY)] * 2


def test_who_goes_in_the_middle_is_told_nothing_more(node: Listener) -> None:
    node.up(B)
    node.up(C)
    while not node.heard(B.name):
        node.flush(SLICE)
    node.down(B)
    rest = [tell.peers for _ in range(40) for tell in node.flush(SLICE)]
    assert set(rest) == {(C.name,)}
    node.up(B)
    node.flush(SLICE)
    node.down(B)
    assert node.routing.announcer.joinings.left == 0
    assert not node.flush(SLICE)


def test_a_table_that_nobody_follows_any_more_is_thrown_away_in_slices(node: Listener) -> None:
    node.up(B, message_size=65535)
    node.flush()
    out = node.routing.peers[B.name].out
    assert out is not None
    node.down(B)
    slices = 0
    while node.routing.is_busy:
        before = len(out.tables[V4])
        node.flush(SLICE)
        assert before - len(out.tables[V4]) <= SWITCH * SLICE
        slices += 1
    assert slices > 2
    assert not out.tables[V4]


def test_who_asks_again_while_it_is_being_told_gets_the_rest_and_then_all_again(
    node: Listener,
) -> None:
    node.up(B)
    while not node.heard(B.name):
        node.flush(SLICE)
    before = len(node.heard(B.name))
    for _ in range(5):
        node.routing.refresh(B.name)
        node.flush(1)
    count = before
    while node.routing.is_busy:
        count += told(node.flush(SLICE))
    assert 2 * len(MANY) - SLICE < count <= 2 * len(MANY) + SLICE


async def test_the_daemon_goes_on_with_it_in_its_own_turns(node: Listener) -> None:
    class Road:
        routing, unfinished, now = node.routing, asyncio.Event(), 0.0

        def flush(self) -> None:
            self.now += 0.001
            node.flush(SLICE)
            if self.routing.is_busy:
                self.unfinished.set()

    road: Any = Road()
    node.up(B)
    road.flush()
    task, turns = asyncio.create_task(review(road, lambda: road.now)), 0
    while node.routing.is_busy:
        await asyncio.sleep(0)
        turns += 1
    task.cancel()
    assert turns > 1
    assert shares(node, B.name) == [len(MANY)]
