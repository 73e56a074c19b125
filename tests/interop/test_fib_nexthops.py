"""Routes over nexthop objects, against the real kernel."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from kroute.drivers.fib import cleanup
from kroute.drivers.fib.nexthops import FIRST_ID
from kroute.model.fib import Nexthop
from kroute.model.net import Family
from support.fib import Router, eventually, many, rests, to
from support.netns import Lab

pytestmark = pytest.mark.root

V4, V6 = Family.IPV4, Family.IPV6


@pytest.fixture
def router():
    with Lab("fibnh") as lab:
        yield Router(lab)


def objects(router: Router) -> list[dict[str, Any]]:
    return json.loads(router.ns.run(["ip", "-j", "nexthop"]) or "[]")


async def test_routes_point_at_objects_of_our_mark(router: Router) -> None:
    async with router.fib(nexthop_objects=True) as fib:
        both = router.via("192.0.0.2", "192.0.1.2")
        fib.update(V4, many(100, router.via("192.0.0.2")) | to("10.2.0.0/24", via=both))
        fib.update(V4, to("10.3.0.0/24", via=()))
        fib.update(V6, to("2001:db8::/64", via=router.via("fd00::2", "fd00:1::2")))
        await rests(fib)
        assert {each["id"] - FIRST_ID for each in objects(router)} == set(range(1, 7))
        assert {each["protocol"] for each in objects(router)} == {"201"}
        assert all("nhid" in route for route in router.routes() if "blackhole" not in route)
        assert await fib.installed(V4) == dict(fib.desired(V4))
        assert await fib.installed(V6) == dict(fib.desired(V6))
        assert fib.state().nexthop_objects == 6
        written = fib.state().written
        fib.resync()
        await rests(fib)
        assert fib.state().written == written


async def test_objects_that_no_route_needs_go_once_in_sync(router: Router) -> None:
    async with router.fib(nexthop_objects=True) as fib:
        fib.update(V4, to("10.2.0.0/24", via=router.via("192.0.0.2", "192.0.1.2")))
        await rests(fib)
        fib.update(V4, to("10.2.0.0/24", via=router.via("192.0.1.2")))
        fib.resync()
        await rests(fib)
        assert len(objects(router)) == 3
        fib.complete(True)
        await rests(fib)
        fib.resync()
        await rests(fib)
        (left,) = objects(router)
        assert left["gateway"] == "192.0.1.2"
        fib.update(V4, to("10.2.0.0/24", via=router.via("192.0.0.2", "192.0.1.2")))
        await rests(fib)
        assert len(objects(router)) == 3
        assert fib.state().failed == 0


async def test_objects_of_an_earlier_life_are_adopted_with_their_routes(router: Router) -> None:
    ways = many(50, router.via("192.0.0.2")) | to(
        "10.2.0.0/24", via=router.via("192.0.0.2", "192.0.1.2")
    )
    async with router.fib(nexthop_objects=True) as first:
        first.update(V4, ways)
        await rests(first)
    before = objects(router)
    async with router.fib(nexthop_objects=True) as second:
        second.update(V4, ways)
        second.complete(True)
        await rests(second)
        assert second.state().written == 0
        assert objects(router) == before
        second.update(V4, to("10.3.0.0/24", via=router.via("fd00::2")))
        await rests(second)
        assert len(objects(router)) == len(before) + 1


async def test_turning_objects_on_and_off_again_rewrites_the_routes(router: Router) -> None:
    ways = to("10.1.0.0/24", via=router.via("192.0.0.2"))
    shown = []
    for option in (False, True, False):
        async with router.fib(nexthop_objects=option) as fib:
            fib.update(V4, ways)
            fib.complete(True)
            await rests(fib)
            shown += router.routes()
    assert ["nhid" in route for route in shown] == [False, True, False]


async def test_one_message_moves_all_routes_of_a_failed_next_hop_and_one_moves_them_back(
    router: Router,
) -> None:
    one, other = router.leg("192.0.0.2"), router.leg("192.0.1.2")
    async with router.fib(nexthop_objects=True) as fib:
        fib.update(
            V4, many(1000, (one,)) | to("10.2.0.0/24", via=router.via("192.0.0.2", "192.0.1.2"))
        )
        await rests(fib)
        batches = fib.state().batches
        fib.divert(V4, one, other)
        await rests(fib)
        assert fib.state().batches == batches, "no route was written"
        assert "dev v1" in router.ns.ip("route get 20.0.7.1")
        assert all("dev v0" not in route for route in router.routes())
        fib.resync()
        await rests(fib)
        assert "dev v1" in router.ns.ip("route get 20.0.7.1"), "a comparison does not undo it"
        fib.divert(V4, one, None)
        await rests(fib)
        assert "dev v0" in router.ns.ip("route get 20.0.7.1")


async def test_routes_over_objects_return_after_a_link_flap(router: Router) -> None:
    async with router.fib(nexthop_objects=True) as fib:
        fib.update(
            V4,
            many(300, router.via("192.0.0.2"))
            | to("10.2.0.0/24", via=router.via("192.0.0.2", "192.0.1.2")),
        )
        await rests(fib)
        router.ns.ip("link set v0 down")
        await eventually(lambda: fib.state().failed == 300, "noticed")
        why = "ENETDOWN: Nexthop device is not up"
        await eventually(lambda: why in {each.reason for each in fib.state().failures}, "said why")
        assert any(route.startswith("10.2.0.0/24") for route in router.routes()), "one leg is left"
        router.ns.ip("link set v0 up")
        await eventually(lambda: len(router.routes()) == 301, "routes are back")
        await eventually(lambda: fib.state().failed == 0, "nothing is left failed")
        await eventually(
            lambda: any(len(each.get("group", ())) == 2 for each in objects(router)),
            "the group too",
        )


async def test_an_object_removed_by_hand_comes_back_with_its_routes(router: Router) -> None:
    async with router.fib(nexthop_objects=True) as fib:
        fib.update(V4, many(100, router.via("192.0.0.2")))
        await rests(fib)
        (only,) = objects(router)
        router.ns.ip(f"nexthop del id {only['id']}")
        await eventually(lambda: len(router.routes()) == 100, "routes are back")


async def test_foreign_objects_are_never_touched_not_even_in_our_range(router: Router) -> None:
    router.ns.ip(f"nexthop add id {FIRST_ID + 1} via 192.0.1.2 dev v1 protocol static")
    router.ns.ip("nexthop add id 7 via 192.0.1.2 dev v1 protocol 201")
    async with router.fib(nexthop_objects=True) as fib:
        fib.update(V4, to("10.1.0.0/24", via=router.via("192.0.0.2")))
        fib.complete(True)
        await rests(fib)
        fib.update(V4, to("10.1.0.0/24", via=None))
        fib.resync()
        await rests(fib)
    await asyncio.to_thread(cleanup, [201], netns=router.ns.path)
    assert sorted(each["id"] for each in objects(router)) == [7, FIRST_ID + 1]


async def test_cleanup_removes_our_objects_after_our_routes(router: Router) -> None:
    async with router.fib(nexthop_objects=True) as fib:
        fib.update(V4, to("10.2.0.0/24", via=router.via("192.0.0.2", "192.0.1.2")))
        await rests(fib)
    removed = cleanup([201], netns=router.ns.path)
    assert len(removed) == 4
    assert str(removed[1]) == f"nexthop id {FIRST_ID + 3} proto 201"
    assert objects(router) == router.routes() == []


async def test_a_leg_without_interface_or_of_a_blackhole_needs_no_object(router: Router) -> None:
    async with router.fib(nexthop_objects=True) as fib:
        leg = router.leg("192.0.0.2")
        fib.update(
            V4, to("10.1.0.0/24", via=(Nexthop(leg.gateway, 0),)) | to("10.2.0.0/24", via=())
        )
        await rests(fib)
        assert objects(router) == []
        assert len(router.routes()) == 2
