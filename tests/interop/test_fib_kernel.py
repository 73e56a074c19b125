"""The FIB driver against the real kernel, each test in network namespaces of its own."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterator
from ipaddress import ip_network
from subprocess import Popen

import pytest

from kroute.drivers.fib import Fib, Removed, cleanup, problems_of
from kroute.drivers.fib.table import KernelTable
from kroute.model.errors import Unsupported
from kroute.model.fib import Nexthop, Nexthops, ecmp
from kroute.model.net import Family, nlri_of
from support.fib import Router, eventually, many, rests, to
from support.netns import Lab

pytestmark = pytest.mark.root

V4, V6 = Family.IPV4, Family.IPV6


@pytest.fixture
def router() -> Iterator[Router]:
    with Lab("fib") as lab:
        yield Router(lab)


async def test_every_kind_of_route_is_installed_replaced_and_removed(router: Router) -> None:
    legs = {
        "10.1.0.0/24": router.via("192.0.0.2"),
        "10.2.0.0/24": router.via("192.0.0.2", "192.0.1.2"),
        "10.3.0.0/24": router.via("fd00:0::2"),
        "10.4.0.0/24": (),
        "10.5.0.0/24": (Nexthop(None, router.index["v1"]),),
        "0.0.0.0/0": router.via("192.0.1.2"),
        "10.6.0.1/32": ecmp({router.leg("192.0.0.2", weight=3), router.leg("fd00:1::2")}),
    }
    async with router.fib() as fib:
        fib.update(V4, {nlri_of(ip_network(prefix)): way for prefix, way in legs.items()})
        await rests(fib)
        assert router.routes() == [
            "10.1.0.0/24 via 192.0.0.2 dev v0 metric 201",
            "10.2.0.0/24 metric 201 nexthop via 192.0.0.2 dev v0 weight 1 "
            "nexthop via 192.0.1.2 dev v1 weight 1",
            "10.3.0.0/24 via inet6 fd00::2 dev v0 metric 201",
            "10.5.0.0/24 dev v1 metric 201",
            "10.6.0.1 metric 201 nexthop via 192.0.0.2 dev v0 weight 3 "
            "nexthop via inet6 fd00:1::2 dev v1 weight 1",
            "blackhole 10.4.0.0/24 metric 201",
            "default via 192.0.1.2 dev v1 metric 201",
        ]
        assert await fib.installed(V4) == dict(fib.desired(V4))
        before = fib.state().written
        fib.resync()
        await rests(fib)
        assert fib.state().written == before, "what the kernel shows equals what was asked"
        fib.update(V4, to(*legs, via=router.via("192.0.1.2")))
        await rests(fib)
        assert set((await fib.installed(V4)).values()) == {router.via("192.0.1.2")}
        fib.update(V4, to(*legs, via=None))
        await rests(fib)
        assert router.routes() == []
        assert fib.state().failed == 0


async def test_every_kind_of_ipv6_route_is_installed_replaced_and_removed(router: Router) -> None:
    legs = {
        "2001:db8:1::/64": router.via("fd00::2"),
        "2001:db8:2::/61": router.via("fd00::2", "fd00:1::2"),
        "2001:db8:3::/64": (),
        "2001:db8:4::1/128": (Nexthop(None, router.index["v1"]),),
        "::/0": router.via("fd00:1::2"),
        "2001:db8:6::/64": ecmp({router.leg("fd00::2", weight=3), router.leg("fd00:1::2")}),
    }
    async with router.fib() as fib:
        fib.update(V6, {nlri_of(ip_network(prefix)): way for prefix, way in legs.items()})
        await rests(fib)
        assert len(router.routes(V6)) == len(legs)
        assert await fib.installed(V6) == dict(fib.desired(V6))
        before = fib.state().written
        fib.resync()
        await rests(fib)
        assert fib.state().written == before
        gatewayed = [prefix for prefix in legs if legs[prefix] and legs[prefix][0].gateway]
        fib.update(V6, to(*gatewayed, via=router.via("fd00:1::2")))
        await rests(fib)
        changed = to(*gatewayed, via=None).keys()
        installed = await fib.installed(V6)
        assert {installed[nlri] for nlri in changed} == {router.via("fd00:1::2")}
        fib.update(V6, to(*legs, via=None))
        await rests(fib)
        assert router.routes(V6) == []


async def test_metric_0_and_a_table_of_its_own_work_too(router: Router) -> None:
    async with router.fib(metric=0, table=1000) as fib:
        fib.update(V4, to("10.1.0.0/24", via=router.via("192.0.0.2")))
        fib.update(V6, to("2001:db8:1::/64", via=router.via("fd00::2")))
        await rests(fib)
        assert router.routes() == ["10.1.0.0/24 via 192.0.0.2 dev v0 table 1000"]
        assert router.routes(V6)[0].startswith(
            "2001:db8:1::/64 via fd00::2 dev v0 table 1000 metric 1024"
        )
        written = fib.state().written
        fib.resync()
        await rests(fib)
        assert fib.state().written == written
        router.ns.ip("route del 10.1.0.0/24 table 1000")
        router.ns.ip("-6 route del 2001:db8:1::/64 table 1000")
        await eventually(lambda: fib.state().heals == 2, "both are written again")


async def test_routes_of_an_earlier_life_are_adopted_and_not_written_again(router: Router) -> None:
    ways = many(500, router.via("192.0.0.2")) | to(
        "10.2.0.0/24", via=router.via("192.0.0.2", "192.0.1.2")
    )
    async with router.fib() as first:
        first.update(V4, ways)
        first.update(V6, to("2001:db8:2::/61", via=router.via("fd00::2", "fd00:1::2")))
        await rests(first)
    assert len(router.routes()) == 501, "closing removes nothing"
    async with router.fib() as second:
        second.update(V4, ways)
        second.update(V6, to("2001:db8:2::/61", via=router.via("fd00::2", "fd00:1::2")))
        second.complete(True)
        await rests(second)
        assert second.state().written == 0
        assert second.state().installed == {V4: 501, V6: 1}


async def test_nothing_is_removed_before_in_sync(router: Router) -> None:
    async with router.fib() as first:
        first.update(V4, many(20, router.via("192.0.0.2")))
        await rests(first)
    async with router.fib() as second:
        second.update(V4, many(5, router.via("192.0.1.2")))
        second.resync()
        await rests(second)
        assert len(router.routes()) == 20
        assert not second.state().complete
        second.complete(True)
        await rests(second)
        assert len(router.routes()) == 5
        assert second.state().synced


async def test_routes_of_an_earlier_life_may_be_released_one_by_one(router: Router) -> None:
    prefixes = ("10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24")
    async with router.fib() as first:
        first.update(V4, to(*prefixes, via=router.via("192.0.0.2")))
        await rests(first)
    async with router.fib() as second:
        second.update(V4, to("10.1.0.0/24", via=router.via("192.0.0.2")))
        await rests(second)
        left = to("10.2.0.0/24", "10.3.0.0/24", via=router.via("192.0.0.2"))
        assert second.leftovers(V4) == left
        second.release(V4, to("10.1.0.0/24", "10.2.0.0/24", via=None))
        await rests(second)
        assert [line.split()[0] for line in router.routes()] == ["10.1.0.0/24", "10.3.0.0/24"]
        assert list(second.leftovers(V4)) == list(to("10.3.0.0/24", via=None))


async def test_a_withdrawal_is_carried_out_before_in_sync_if_the_route_was_desired_in_this_life(
    router: Router,
) -> None:
    async with router.fib() as first:
        first.update(V4, to("10.1.0.0/24", "10.2.0.0/24", via=router.via("192.0.0.2")))
        await rests(first)
    async with router.fib() as second:
        second.update(V4, to("10.1.0.0/24", "10.3.0.0/24", via=router.via("192.0.0.2")))
        await rests(second)
        second.update(V4, to("10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24", via=None))
        await rests(second)
        assert router.routes() == ["10.2.0.0/24 via 192.0.0.2 dev v0 metric 201"]


async def test_an_upgrade_to_another_metric_and_protocol_never_leaves_a_prefix_without_route(
    router: Router,
) -> None:
    async with router.fib(protocol=200, metric=77) as first:
        first.update(V4, many(300, router.via("192.0.0.2")))
        await rests(first)
    monitor = router.ns.popen(["ip", "-4", "-o", "monitor", "route"], stdout=-1)
    await hears(router, monitor)
    async with router.fib(former_protocols=(200,)) as second:
        second.update(V4, many(200, router.via("192.0.0.2")))
        await rests(second)
        assert len(router.routes(protocol=200)) == 300
        second.complete(True)
        await rests(second)
        assert router.routes(protocol=200) == []
        assert len(router.routes()) == 200
    router.ns.ip("route add 10.98.0.0/16 dev v0")
    have = {f"20.{number >> 8}.{number & 255}.0/24": 1 for number in range(300)}
    wanted = list(have)[:200]
    assert monitor.stdout is not None
    while "10.98." not in (line := (await asyncio.to_thread(monitor.stdout.readline)).decode()):
        prefix = next(word for word in line.split() if "/" in word)
        if prefix in have:
            have[prefix] += -1 if line.startswith("Deleted") else 1
            assert have[prefix] >= 1 or prefix not in wanted, f"{prefix} was without route"
    assert [have[prefix] for prefix in wanted] == [1] * 200


async def hears(router: Router, monitor: Popen[bytes]) -> None:
    """Return once `ip monitor` has printed something, so that it misses nothing from now on."""
    assert monitor.stdout is not None
    line = asyncio.create_task(asyncio.to_thread(monitor.stdout.readline))
    while not line.done():
        router.ns.ip("route add 10.99.0.0/16 dev v0")
        router.ns.ip("route del 10.99.0.0/16 dev v0")
        await asyncio.wait([line], timeout=0.05)


async def test_routes_of_a_former_protocol_with_our_metric_are_taken_over_in_place(
    router: Router,
) -> None:
    async with router.fib(protocol=200) as first:
        first.update(V4, to("10.1.0.0/24", "10.2.0.0/24", via=router.via("192.0.0.2")))
        first.update(V6, to("2001:db8::/64", "2001:db8:1::/64", via=router.via("fd00::2")))
        await rests(first)
    async with router.fib(former_protocols=(200,)) as second:
        second.update(V4, to("10.1.0.0/24", via=router.via("192.0.0.2")))
        second.update(V6, to("2001:db8::/64", via=router.via("fd00::2")))
        await rests(second)
        assert router.routes() == ["10.1.0.0/24 via 192.0.0.2 dev v0 metric 201"]
        assert len(router.routes(protocol=200)) == len(router.routes(V6, protocol=200)) == 1
        second.complete(True)
        await rests(second)
        assert router.routes(protocol=200) == router.routes(V6, protocol=200) == []
        assert second.state().foreign == 0


async def test_foreign_routes_are_never_touched(router: Router) -> None:
    foreign = [
        "10.1.0.0/24 via 192.0.1.2 dev v1 proto bird metric 201",
        "10.2.0.0/24 via 192.0.1.2 dev v1 proto bird metric 5",
        "10.3.0.0/24 via 192.0.1.2 dev v1 proto static",
    ]
    for route in foreign:
        router.ns.ip(f"route add {route}")
    router.ns.ip("-6 route add 2001:db8::/64 via fd00:1::2 proto bird metric 201")
    async with router.fib() as fib:
        fib.complete(True)
        fib.update(V4, to("10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24", via=router.via("192.0.0.2")))
        fib.update(V6, to("2001:db8::/64", via=router.via("fd00::2")))
        await rests(fib)
        shown = router.ns.ip("route show")
        assert all(" ".join(route.split()) in shown for route in foreign)
        assert len(router.routes()) == 2
        state = fib.state()
        assert (state.foreign, state.failed) == (2, 0)
        assert {failure.owner for failure in state.failures} == {12}
        assert "protocol 12 holds this prefix" in problems_of(state)[0].reason
        fib.update(V4, to("10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24", via=None))
        await rests(fib)
        shown = router.ns.ip("route show")
        assert all(" ".join(route.split()) in shown for route in foreign)


async def test_a_place_that_others_vacate_becomes_ours(router: Router) -> None:
    router.ns.ip("route add 10.1.0.0/24 via 192.0.1.2 proto bird metric 201")
    async with router.fib() as fib:
        fib.update(V4, to("10.1.0.0/24", via=router.via("192.0.0.2")))
        await rests(fib)
        assert router.routes() == []
        router.ns.ip("route del 10.1.0.0/24 proto bird")
        await eventually(router.routes, "our route is installed")
        await rests(fib)
        assert (fib.state().foreign, problems_of(fib.state())) == (0, ())


async def test_a_route_deleted_by_hand_is_installed_again(router: Router) -> None:
    async with router.fib() as fib:
        fib.update(V4, many(50, router.via("192.0.0.2")))
        fib.update(V6, to("2001:db8::/64", via=router.via("fd00::2", "fd00:1::2")))
        await rests(fib)
        router.ns.ip("route del 20.0.7.0/24")
        router.ns.ip("-6 route del 2001:db8::/64")
        await eventually(lambda: len(router.routes()) == 50, "IPv4 healed")
        await eventually(lambda: len(router.routes(V6)) == 1, "IPv6 healed")
        assert fib.state().heals >= 2
        assert fib.state().syncs == 1, "by the event, not by a comparison"


async def test_a_route_changed_under_our_own_mark_is_set_right(router: Router) -> None:
    async with router.fib() as fib:
        fib.update(V4, to("10.1.0.0/24", via=router.via("192.0.0.2")))
        fib.complete(True)
        await rests(fib)
        router.ns.ip("route replace 10.1.0.0/24 via 192.0.1.2 proto 201 metric 201")
        right = ["10.1.0.0/24 via 192.0.0.2 dev v0 metric 201"]
        await eventually(lambda: router.routes() == right, "set right")
        router.ns.ip("route add 10.2.0.0/24 via 192.0.1.2 proto 201 metric 201")
        await eventually(lambda: router.routes() == right, "the stranger under our mark is gone")


async def test_a_route_overwritten_by_another_protocol_is_left_to_it_and_reported(
    router: Router,
) -> None:
    async with router.fib() as fib:
        fib.update(V4, to("10.1.0.0/24", via=router.via("192.0.0.2")))
        await rests(fib)
        router.ns.ip("route replace 10.1.0.0/24 via 192.0.1.2 proto bird metric 201")
        await eventually(lambda: fib.state().foreign == 1, "noticed")
        fib.resync()
        await rests(fib)
        assert router.routes() == []
        assert "holds this prefix" in problems_of(fib.state())[0].reason
        router.ns.ip("route del 10.1.0.0/24 proto bird")
        await eventually(router.routes, "ours again")


async def test_routes_return_after_a_link_flap(router: Router) -> None:
    async with router.fib() as fib:
        fib.update(
            V4,
            many(500, router.via("192.0.0.2"))
            | to("10.2.0.0/24", via=router.via("192.0.0.2", "192.0.1.2")),
        )
        fib.update(V6, to("2001:db8::/64", via=router.via("fd00::2")))
        await rests(fib)
        router.ns.ip("link set v0 down")
        await eventually(lambda: fib.state().failed >= 500, "noticed")
        await eventually(
            lambda: any("ENET" in each.reason for each in fib.state().failures), "said why"
        )
        router.ns.ip("link set v0 up")
        router.ns.address("v0", "fd00::1/64")
        await eventually(lambda: len(router.routes()) == 501, "IPv4 routes are back")
        await eventually(lambda: len(router.routes(V6)) == 1, "IPv6 route is back")
        await eventually(lambda: fib.state().failed == 0, "nothing is left failed")


async def test_routes_that_need_an_address_are_retried_when_it_comes(router: Router) -> None:
    async with router.fib() as fib:
        fib.update(V4, to("10.1.0.0/24", via=(router.leg("198.51.100.2", "v0"),)))
        await rests(fib)
        failure = fib.failure(V4, nlri_of(ip_network("10.1.0.0/24")))
        assert failure is not None
        assert failure.reason == "ENETUNREACH: Nexthop has invalid gateway"
        router.ns.address("v1", "198.51.101.1/24")
        router.ns.address("v0", "198.51.100.1/24")
        await eventually(router.routes, "installed")
        await rests(fib)
        assert fib.failure(V4, nlri_of(ip_network("10.1.0.0/24"))) is None


async def test_lost_events_lead_to_a_comparison(router: Router) -> None:
    async with router.fib(event_buffer=4096) as fib:
        fib.update(V4, many(2000, router.via("192.0.0.2")))
        await rests(fib)
        removals = "\n".join(f"route del 20.{n >> 8}.{n & 255}.0/24" for n in range(2000))

        async def burst() -> bool:
            await asyncio.to_thread(
                router.ns.run, ["ip", "-force", "-batch", "-"], text=removals, check=False
            )
            return fib.state().overruns > 0

        await eventually(burst, "events are lost")
        await eventually(lambda: len(router.routes()) == 2000, "all are back")


async def test_an_audit_finds_what_no_event_told(router: Router) -> None:
    async with router.fib(audit_interval=0.2) as fib:
        fib.update(V4, to("10.1.0.0/24", via=router.via("192.0.0.2")))
        await rests(fib)
        syncs = fib.state().syncs
        await eventually(lambda: fib.state().syncs > syncs + 1, "audits")
        assert fib.state().written == 1


async def test_the_last_word_on_a_prefix_counts(router: Router) -> None:
    async with router.fib() as fib:
        for gateway in ("192.0.0.2", "192.0.1.2") * 20:
            fib.update(V4, many(300, router.via(gateway)))
        fib.update(V4, dict.fromkeys(list(many(100, None))))
        await rests(fib)
        installed = await fib.installed(V4)
        assert len(installed) == 200
        assert set(installed.values()) == {router.via("192.0.1.2")}


async def test_one_bad_route_does_not_keep_out_its_neighbours(router: Router) -> None:
    async with router.fib() as fib:
        good, bad = router.via("192.0.0.2"), (router.leg("203.0.113.1", "v0"),)
        fib.update(
            V4,
            {
                nlri: bad if number % 3 == 0 else good
                for number, nlri in enumerate(many(3000, None))
            },
        )
        await rests(fib)
        state = fib.state()
        assert (state.failed, state.installed[V4], state.overruns) == (1000, 2000, 0)
        assert "1000 routes refused by the kernel" in problems_of(state)[0].reason
        fib.update(V4, dict.fromkeys(list(many(3000, None))))
        await rests(fib)
        assert (fib.state().failed, router.routes()) == (0, [])


async def test_cleanup_removes_our_mark_from_every_table_and_nothing_else(router: Router) -> None:
    async with router.fib() as one, router.fib(table=1000, metric=7) as other:
        one.update(V4, many(600, router.via("192.0.0.2")))
        one.update(V6, to("2001:db8::/64", via=router.via("fd00::2", "fd00:1::2")))
        other.update(V4, to("10.2.0.0/24", via=router.via("192.0.0.2", "192.0.1.2")))
        await rests(one)
        await rests(other)
    before = router.ns.ip("route show")
    removed = cleanup([201], netns=router.ns.path)
    assert len(removed) == 602
    tables = {route.table for route in removed if isinstance(route, Removed)}
    assert tables == {254, 1000}
    assert (
        f"route 10.2.0.0/24 table 1000 proto 201 metric 7 via 192.0.0.2 oif {router.index['v0']}"
        in "\n".join(map(str, removed))
    )
    assert router.routes() == router.routes(V6) == []
    after = router.ns.ip("route show")
    assert after == "".join(line for line in before.splitlines(True) if "20." not in line)
    assert cleanup([201], netns=router.ns.path) == ()


async def test_without_the_right_to_change_routes_there_is_one_clear_error(router: Router) -> None:
    code = (
        "from kroute.drivers.fib import Fib\n"
        "from kroute.model.errors import Unsupported\n"
        "try: Fib()\n"
        "except Unsupported as e: print(e)\n"
    )
    said = router.ns.run(["setpriv", "--bounding-set=-net_admin", sys.executable, "-c", code])
    assert said == "routes cannot be changed: CAP_NET_ADMIN is missing\n"
    with pytest.raises(Unsupported, match="no/such/namespace"):
        Fib(netns="/no/such/namespace")


async def test_state_is_told_in_the_event_loop_and_the_writer_ends_with_its_task(
    router: Router,
) -> None:
    told: list[bool] = []
    fib = Fib(netns=router.ns.path, on_state=lambda state: told.append(state.synced))
    task = asyncio.create_task(fib.run())
    await eventually(lambda: told and told[-1], "synced")
    fib.update(V4, to("10.1.0.0/24", via=router.via("192.0.0.2")))
    await rests(fib)
    assert fib.believed(V4, nlri_of(ip_network("10.1.0.0/24"))) == router.via("192.0.0.2")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert router.routes() == ["10.1.0.0/24 via 192.0.0.2 dev v0 metric 201"]


async def test_a_bug_in_the_writer_ends_the_task_that_runs_it(
    router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    fib = Fib(netns=router.ns.path)
    task = asyncio.create_task(fib.run())
    await asyncio.sleep(0)
    await rests(fib)
    monkeypatch.setattr(KernelTable, "write", broken)
    fib.update(V4, to("10.1.0.0/24", via=router.via("192.0.0.2")))
    with pytest.raises(RuntimeError, match="writer ended") as ended:
        await asyncio.wait_for(task, 10)
    assert isinstance(ended.value.__cause__, ZeroDivisionError)
    with pytest.raises(RuntimeError):
        await fib.quiesced()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("nexthop_objects", [False, True])
async def test_whatever_happens_the_kernel_ends_as_desired(
    router: Router, seed: int, nexthop_objects: bool
) -> None:
    """Random updates, and an operator who deletes, replaces and adds under our mark, flaps links, restarts us."""
    dice = random.Random(seed)
    ways = [
        router.via("192.0.0.2"),
        router.via("192.0.1.2"),
        router.via("192.0.0.2", "192.0.1.2"),
        router.via("fd00:1::2"),
        (),
    ]
    prefixes = [nlri_of(ip_network(f"10.{each}.0.0/16")) for each in range(40)]
    want: dict[bytes, Nexthops] = {}
    for _ in range(3):
        async with router.fib(nexthop_objects=nexthop_objects) as fib:
            fib.update(V4, dict(want))
            for _ in range(25):
                some = dice.sample(prefixes, dice.randrange(1, 10))
                changes = {nlri: dice.choice([*ways, None]) for nlri in some}
                for nlri, way in changes.items():
                    want.pop(nlri, None)
                    if way is not None:
                        want[nlri] = way
                fib.update(V4, changes)
                await meddle(router, fib, dice)
            router.ns.ip("link set v0 up")
            fib.complete(True)
            fib.resync()
            await eventually(lambda: not fib.state().failed, "nothing is left failed")
            await rests(fib)
            assert await fib.installed(V4) == want


async def meddle(router: Router, fib: Fib, dice: random.Random) -> None:
    prefix = f"10.{dice.randrange(40)}.0.0/16"
    match dice.randrange(7):
        case 0:
            router.ns.ip(f"route del {prefix} proto 201", check=False)
        case 1:
            router.ns.ip(f"route replace {prefix} via 192.0.1.2 proto 201 metric 201")
        case 2:
            state = "down" if dice.randrange(2) else "up"
            router.ns.ip(f"link set v0 {state}")
        case 3:
            fib.complete(bool(dice.randrange(2)))
        case 4:
            await rests(fib)
        case 5:
            router.ns.ip(f"route add {prefix} via 192.0.1.2 proto 201 metric 7", check=False)
        case _:
            await asyncio.sleep(0)
