"""The kernel observer against the real kernel, each test in network namespaces of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_interface
from typing import Any

import pytest

from kroute.drivers.kernel import KernelWatcher
from kroute.model.kernel import KernelState
from kroute.model.net import Family, prefix_of
from support.fib import Router, eventually
from support.netns import Lab

pytestmark = pytest.mark.root


class Watched:
    """A running watcher and all that it told."""

    def __init__(self, router: Router, **options: Any) -> None:
        self.told: list[KernelState] = []
        self.watcher = KernelWatcher(on_change=self.told.append, netns=router.ns.path, **options)

    @property
    def state(self) -> KernelState:
        return self.told[-1]

    def routes(self) -> list[tuple[str, str, int]]:
        """(prefix, gateway, interface) of every leg but those of connected routes."""
        return [
            (
                str(prefix_of(each.family, each.prefix)),
                str(ip_address(each.gateway)) if each.gateway else "",
                each.oif,
            )
            for each in self.state.routes
            if each.protocol != 2
        ]


@pytest.fixture
def router() -> Iterator[Router]:
    with Lab("watch") as lab:
        yield Router(lab)


@asynccontextmanager
async def watching(router: Router, **options: Any) -> AsyncIterator[Watched]:
    watched = Watched(router, **options)
    await watched.watcher.start()
    try:
        yield watched
    finally:
        watched.watcher.close()


async def test_the_first_look_shows_links_addresses_and_connected_routes(router: Router) -> None:
    async with watching(router) as watched:
        assert watched.told == [watched.watcher.state]
        state = watched.state
        assert [(link.name, link.up, link.carrier) for link in state.links] == [
            ("lo", True, True),
            ("v0", True, True),
            ("v1", True, True),
        ]
        v0 = router.index["v0"]
        assert (v0, ip_interface("192.0.0.1/24")) in state.addresses
        assert (v0, ip_interface("fd00::1/64")) in state.addresses
        connected = {str(prefix_of(each.family, each.prefix)) for each in state.routes}
        assert connected == {"192.0.0.0/24", "192.0.1.0/24", "fd00::/64", "fd00:1::/64"}
        assert {each.gateway for each in state.routes} == {None}


async def test_every_change_is_told(router: Router) -> None:
    v0, v1 = router.index["v0"], router.index["v1"]
    async with watching(router) as watched:
        router.ns.ip("route add default via 192.0.0.2")
        await eventually(lambda: ("0.0.0.0/0", "192.0.0.2", v0) in watched.routes(), "default")
        router.ns.ip("route replace default via 192.0.1.2")
        await eventually(lambda: watched.routes() == [("0.0.0.0/0", "192.0.1.2", v1)], "moved")
        router.ns.ip("-6 route add 2001:db8::/32 nexthop via fd00::2 nexthop via fd00:1::2")
        await eventually(lambda: len(watched.routes()) == 3, "two legs")
        router.ns.ip("route del default")
        router.ns.ip("-6 route del 2001:db8::/32")
        await eventually(lambda: watched.routes() == [], "gone")
        router.ns.ip("link set v0 mtu 1400")
        await eventually(lambda: watched.state.link(v0).mtu == 1400, "mtu")
        router.ns.address("v1", "198.51.100.7/24")
        pair = (v1, ip_interface("198.51.100.7/24"))
        await eventually(lambda: pair in watched.state.addresses, "address")
        router.ns.ip("address del 198.51.100.7/24 dev v1")
        await eventually(lambda: pair not in watched.state.addresses, "no address")


async def test_routes_that_the_kernel_drops_silently_with_a_link_are_missed(router: Router) -> None:
    router.ns.ip("route add 10.1.0.0/16 via 192.0.0.2")
    router.ns.ip("route add 10.2.0.0/16 nexthop via 192.0.0.2 nexthop via 192.0.1.2")
    async with watching(router) as watched:
        assert len(watched.routes()) == 3
        router.ns.ip("link set v0 down")
        left = [("10.2.0.0/16", "192.0.1.2", router.index["v1"])]
        await eventually(lambda: watched.routes() == left, "the dead leg is gone too")
        assert not watched.state.link(router.index["v0"]).up
        router.ns.ip("link set v0 up")
        await eventually(lambda: len(watched.routes()) == 2, "the leg is back")


async def test_carrier_and_removal_of_a_link_are_told(router: Router) -> None:
    async with watching(router) as watched:
        v1 = router.index["v1"]
        router.peer.ip("link set v1 down")
        await eventually(lambda: not watched.state.link(v1).carrier, "carrier is lost")
        assert watched.state.link(v1).up
        router.peer.ip("link del v1")
        await eventually(lambda: watched.state.link(v1) is None, "link is gone")
        assert all(index != v1 for index, _ in watched.state.addresses)
        assert all(each.oif != v1 for each in watched.state.routes)


async def test_our_own_routes_are_not_told_and_wake_nobody(router: Router) -> None:
    async with watching(router) as watched, router.fib() as fib:
        fib.update(
            Family.IPV4, {bytes((24, 20, 0, each)): router.via("192.0.0.2") for each in range(200)}
        )
        await fib.quiesced()
        router.ns.ip("route add 10.1.0.0/16 via 192.0.0.2")
        await eventually(lambda: len(watched.routes()) == 1, "the stranger's")
        assert len(watched.told) == 2


async def test_of_very_many_routes_of_others_a_limited_number_is_kept(router: Router) -> None:
    lines = [f"route add 20.{each >> 8}.{each & 255}.0/24 via 192.0.0.2" for each in range(3000)]
    router.ns.run(["ip", "-batch", "-"], text="\n".join(lines))
    async with watching(router, routes_kept=100) as watched:
        assert len(watched.state.routes) == 100
        assert watched.state.routes_left_out == 2904


async def test_lost_events_lead_to_a_new_look(router: Router) -> None:
    lines = [f"route add 20.{each >> 8}.{each & 255}.0/24 via 192.0.0.2" for each in range(2000)]
    async with watching(router, event_buffer=4096) as watched:
        router.ns.run(
            ["ip", "-batch", "-"], text="\n".join(lines)
        )  # the event loop waits meanwhile
        await eventually(lambda: watched.watcher.overruns > 0, "the overrun is noticed")
        await eventually(lambda: len(watched.routes()) == 2000, "all are seen")
        assert watched.watcher.error == ""


async def test_many_changes_make_few_calls(router: Router) -> None:
    async with watching(router, settle=0.2) as watched:
        for each in range(10):
            router.ns.ip(f"route add 10.{each}.0.0/16 via 192.0.0.2")
        await eventually(lambda: len(watched.routes()) == 10, "all")
        assert len(watched.told) <= 4


async def test_a_closed_watcher_is_silent(router: Router) -> None:
    async with watching(router) as closed, watching(router) as open_one:
        closed.watcher.close()
        router.ns.ip("route add 10.0.0.0/8 via 192.0.0.2")
        await eventually(lambda: len(open_one.routes()) == 1, "the other one sees it")
        assert len(closed.told) == 1
