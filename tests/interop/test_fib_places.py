"""Routes that import policy puts into another table or at another metric, against the real kernel."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator
from typing import IO

import pytest

from kroute.drivers.fib import Fib, cleanup
from kroute.model.fib import Nexthops, Place, placed
from kroute.model.net import Family
from support.fib import Router, eventually, many, rests, to
from support.netns import Lab

pytestmark = pytest.mark.root

V4, V6 = Family.IPV4, Family.IPV6
PREFIX, PREFIX6 = "10.1.0.0/24", "2001:db8::/64"
OWN = Place()
COUNT = 40
"""Routes that move: what `ip monitor` says of them fits into a pipe."""
PLACES = (Place(300), Place(0, 7), Place(300, 7), Place(300, 9), Place(70000), OWN)
"""Every kind of step from one to the next: table, metric, both, and back home."""


@pytest.fixture
def router() -> Iterator[Router]:
    with Lab("fibpl") as lab:
        yield Router(lab)


def text(place: Place) -> str:
    """The end of the line in which `ip route` shows a route at a place."""
    table = f"table {place.table} " if place.table else ""
    return f"{table}metric {place.metric or 201}"


@pytest.mark.parametrize("nexthop_objects", [False, True])
async def test_a_route_that_moves_is_in_its_new_place_before_it_leaves_the_old_one(
    router: Router, nexthop_objects: bool
) -> None:
    command = ["ip", "-4", "-o", "monitor", "route"]
    async with router.fib(nexthop_objects=nexthop_objects) as fib:
        legs, legs6 = router.via("192.0.0.2", "192.0.1.2"), router.via("fd00::2")
        fib.update(V4, many(COUNT, legs))
        await rests(fib)
        monitor = router.ns.popen(command, stdout=-1)
        assert monitor.stdout is not None
        line = asyncio.create_task(asyncio.to_thread(monitor.stdout.readline))
        while not line.done():
            router.ns.ip("route add 10.99.0.0/16 dev v0")
            router.ns.ip("route del 10.99.0.0/16 dev v0")
            await asyncio.wait([line], timeout=0.02)
        for place in PLACES:
            fib.update(V4, many(COUNT, placed(legs, place)))
            fib.update(V6, to(PREFIX6, via=placed(legs6, place)))
            await rests(fib)
            assert len(router.routes()) == COUNT
            assert all(text(place) in route for route in router.routes())
            (route,) = router.routes(V6)
            assert text(place) in route
            assert await fib.installed(V4) == dict(fib.desired(V4))
            assert await fib.installed(V6) == dict(fib.desired(V6))
            written = fib.state().written
            fib.resync()
            await rests(fib)
            assert fib.state().written == written, "what the kernel shows equals what was asked"
        assert (fib.state().failed, fib.state().foreign) == (0, 0)
        router.ns.ip("route add 10.98.0.0/16 dev v0")
        held = {f"20.{number >> 8}.{number & 255}.0/24": 1 for number in range(COUNT)}
        while "10.98." not in (said := (await asyncio.to_thread(monitor.stdout.readline)).decode()):
            prefix = next((word for word in said.split() if word in held), "")
            if prefix:
                held[prefix] += -1 if said.startswith("Deleted") else 1
                assert held[prefix] >= 1, f"{prefix} was without route"
        assert set(held.values()) == {1}
        fib.update(V4, many(COUNT, placed(legs, Place(300, 7))))
        fib.update(V4, many(COUNT, None))
        fib.update(V6, to(PREFIX6, via=None))
        await rests(fib)
        assert router.routes() == router.routes(V6) == []


async def test_an_earlier_life_is_adopted_where_it_stands_and_the_rest_goes_once_in_sync(
    router: Router,
) -> None:
    def told(*places: Place) -> dict[bytes, Nexthops | None]:
        prefixes = ("10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24")
        ways = zip(prefixes, places, strict=False)
        return {
            nlri: want
            for prefix, place in ways
            for nlri, want in to(prefix, via=placed(router.via("192.0.0.2"), place)).items()
        }

    async with router.fib() as first:
        first.update(V4, told(Place(300, 7), Place(300, 7), Place(400)))
        await rests(first)
    second = Fib(netns=router.ns.path)
    try:
        second.update(V4, told(Place(300, 7), OWN))
        second.start()
        await rests(second)
        assert (second.state().adopted, second.state().written) == (1, 1)
        assert set(second.leftovers(V4)) == set(to("10.3.0.0/24", via=None))
        assert len(router.routes()) == 4, "the successor of one, and nothing removed yet"
        second.complete(True)
        await rests(second)
        assert router.routes() == [
            "10.1.0.0/24 via 192.0.0.2 dev v0 table 300 metric 7",
            "10.2.0.0/24 via 192.0.0.2 dev v0 metric 201",
        ]
    finally:
        second.close()
    assert len(cleanup([201], netns=router.ns.path)) == 2
    assert router.routes() == []


async def test_a_place_that_others_hold_is_left_to_them_and_the_old_route_stays(
    router: Router,
) -> None:
    router.ns.ip(f"route add {PREFIX} via 192.0.1.2 dev v1 proto bird table 300 metric 201")
    legs = router.via("192.0.0.2")
    async with router.fib() as fib:
        fib.complete(True)
        fib.update(V4, to(PREFIX, via=legs))
        await rests(fib)
        fib.update(V4, to(PREFIX, via=placed(legs, Place(300))))
        await rests(fib)
        assert router.routes() == [f"{PREFIX} via 192.0.0.2 dev v0 metric 201"]
        assert "proto bird" in router.ns.ip("route show table 300")
        assert [each.owner for each in fib.state().failures] == [12]
        router.ns.ip(f"route del {PREFIX} table 300 proto bird")
        fib.resync()
        await eventually(
            lambda: router.routes() == [f"{PREFIX} via 192.0.0.2 dev v0 table 300 metric 201"],
            "it has moved",
        )
        assert fib.state().foreign == 0


async def test_a_route_in_another_table_that_somebody_deletes_or_changes_is_set_right(
    router: Router,
) -> None:
    legs = router.via("192.0.0.2")
    async with router.fib() as fib:
        fib.update(V4, to(PREFIX, via=placed(legs, Place(300, 7))))
        fib.update(V6, to(PREFIX6, via=placed(router.via("fd00::2"), Place(300))))
        await rests(fib)
        before = router.routes(), router.routes(V6)
        router.ns.ip(f"route del {PREFIX} table 300")
        router.ns.ip(f"-6 route del {PREFIX6} table 300")
        await eventually(lambda: (router.routes(), router.routes(V6)) == before, "both are back")
        router.ns.ip(f"route replace {PREFIX} via 192.0.1.2 proto 201 table 300 metric 7")
        await eventually(lambda: (router.routes(), router.routes(V6)) == before, "it is as it was")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("nexthop_objects", [False, True])
async def test_whatever_way_routes_wander_between_tables_and_metrics_they_are_never_without_a_place(
    router: Router, nexthop_objects: bool, seed: int
) -> None:
    """The kernel's own rules of replacing and removing, with changes that overtake each other; both families."""
    chance = random.Random(seed)
    stay, leave = many(COUNT, None).keys(), to("10.1.0.0/24", "10.2.0.0/24", via=None).keys()
    ways = [router.via("192.0.0.2"), router.via("192.0.1.2"), router.via("192.0.0.2", "192.0.1.2")]
    ways6 = [router.via("fd00::2"), router.via("fd00:1::2")]
    places = (*PLACES, Place(0, 7), OWN)
    six = to(PREFIX6, "2001:db8:1::/64", via=None).keys()
    async with router.fib(nexthop_objects=nexthop_objects) as fib:
        fib.update(V4, many(COUNT, ways[0]))
        await rests(fib)
        monitor = router.ns.popen(["ip", "-4", "-o", "monitor", "route"], stdout=-1)
        assert monitor.stdout is not None
        said: list[str] = []
        hearing = asyncio.create_task(asyncio.to_thread(_until_the_last, monitor.stdout, said))
        while not said:
            router.ns.ip("route add 10.99.0.0/16 dev v0")
            router.ns.ip("route del 10.99.0.0/16 dev v0")
            await asyncio.sleep(0.02)
        for _ in range(25):
            some = chance.sample(list(stay), chance.randint(1, COUNT))
            where = placed(chance.choice(ways), chance.choice(places))
            fib.update(V4, dict.fromkeys(some, where))
            for family, nlris, legs in ((V4, leave, ways), (V6, six, ways6)):
                there = placed(chance.choice(legs), chance.choice(places))
                changes = {n: there if chance.random() < 0.7 else None for n in nlris}
                fib.update(family, changes)
            if chance.random() < 0.6:
                await rests(fib)
        await rests(fib)
        for family in (V4, V6):
            assert await fib.installed(family) == dict(fib.desired(family))
            assert len(router.routes(family)) == len(fib.desired(family))
        assert (fib.state().failed, fib.state().foreign) == (0, 0)
        router.ns.ip("route add 10.98.0.0/16 dev v0")
        await asyncio.wait_for(hearing, 20)
    held = {f"20.{n >> 8}.{n & 255}.0/24": {("main", "201")} for n in range(COUNT)}
    moves = 0
    for line in said:
        words = line.split()
        prefix = next((word for word in words if word in held), "")
        if not prefix:
            continue
        after = dict(itertools.pairwise(words))
        place = after.get("table", "main"), after["metric"]
        if words[0] == "Deleted":
            held[prefix].remove(place)
            assert held[prefix], f"{prefix} was without route"
            moves += 1
        else:
            held[prefix].add(place)
    assert moves > COUNT
    assert {len(there) for there in held.values()} == {1}


def _until_the_last(stream: IO[bytes], said: list[str]) -> None:
    """Hear what `ip monitor` says, up to the route that marks the end."""
    for line in stream:
        said.append(line.decode())
        if "10.98." in said[-1]:
            return
