"""A review of stored announcements in the daemon: in turns, told to people, and nothing is ended before it is over."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from kroute.daemon.review import SLICE, TURN, review, turn
from kroute.model.bgp import PeerKind
from kroute.plan.policy import ImportRules, PeerRules
from kroute.plan.review import MOST_JOBS
from support.policies import policy
from support.routing import SELF, V4, attributes, connected, kernel, listener, peer

N2, N3 = peer(2), peer(3)
MANY = [f"10.{i // 256}.{i % 256}.0/24" for i in range(1000)]
SOME = policy("{name: a, match: {prefixes: [{prefix: 10.0.0.0/9, ge: 24}]}, then: reject}")


class Road:
    """As much of a road as a review looks at. Each flush takes a millisecond."""

    def __init__(self) -> None:
        self.node = listener(N2, N3)
        self.routing = self.node.routing
        self.unfinished = asyncio.Event()
        self.now, self.flushed = 0.0, 0
        self.node.up(N2)
        self.node.learn(N2, attributes("192.0.2.2"), *MANY)
        self.node.flush()

    def govern(self, rules: ImportRules) -> None:
        found = {N2.name: PeerRules(imports=rules), N3.name: PeerRules()}
        self.routing.set_peers({N2.name: N2, N3.name: N3}, found, 0.0)

    def flush(self) -> None:
        self.now += 0.001
        self.flushed += 1
        self.node.flush(SLICE)
        if self.routing.rib.review.going_on:
            self.unfinished.set()


def test_a_turn_ends_when_its_time_is_over() -> None:
    road: Any = Road()
    road.govern(ImportRules(policy=SOME))
    assert road.routing.rib.review.left == len(MANY)
    turn(road, lambda: road.now)
    assert road.flushed == round(TURN / 0.001)
    assert road.routing.rib.review.left == len(MANY) - road.flushed * SLICE
    assert len(road.node.fib[V4]) == len(MANY) - road.flushed * SLICE


async def test_all_else_has_its_turn_between_two_of_a_review() -> None:
    road: Any = Road()
    road.govern(ImportRules(policy=SOME))
    road.flush()
    task, turns = asyncio.create_task(review(road, lambda: road.now)), 0
    while road.routing.rib.review.going_on:
        await asyncio.sleep(0)
        turns += 1
    task.cancel()
    assert turns > 1
    assert not road.node.fib[V4]
    assert not road.routing.rib.loc[V4]


def test_nobody_is_told_that_our_table_is_whole_before_a_review_is_over() -> None:
    road = Road()
    road.govern(ImportRules(policy=SOME))
    road.node.up(N3)
    road.flush()
    assert road.node.ends.get(N3.name) is None
    assert any("judged again" in words for words in road.routing.waiting_for(0.0))
    road.node.flush()
    assert sorted(road.node.ends[N3.name]) == sorted(N3.families)
    assert not any("judged again" in words for words in road.routing.waiting_for(0.0))


def test_who_joins_during_a_review_is_not_told_what_cannot_be_reached_any_more() -> None:
    road = Road()
    client = peer(3, PeerKind.CLIENT, cluster_id="10.0.0.9")
    road.node.want(N2, client)
    road.node.flush()
    road.node.world(kernel(connected("198.51.100.0/24")))
    road.node.up(client)
    road.node.flush(SLICE)
    assert road.routing.rib.review.left == len(MANY) - SLICE
    assert len(road.routing.rib.loc[V4]) == len(MANY) - SLICE
    assert not road.node.heard(client.name)


def test_many_changes_of_one_table_become_one() -> None:
    road = Road()
    states = [kernel(connected("192.0.2.0/24", oif=1 + number % 2)) for number in range(12)]
    for number, state in enumerate(states):
        road.node.world(state, replace(SELF, cluster_id=bytes((10, 0, 0, number))))
        road.node.world(state, SELF)
        road.govern(ImportRules(policy=SOME if number % 2 else None))
        road.node.world(states[number - 1], SELF)
        road.node.world(state, SELF)
    assert road.routing.rib.review.left <= MOST_JOBS * len(MANY)
    road.govern(ImportRules())
    road.node.flush()
    assert {legs[0].oif for legs in road.node.fib[V4].values()} == {2}
    assert len(road.node.fib[V4]) == len(MANY)
