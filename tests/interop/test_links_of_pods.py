"""The node's ends of pods' veths wake nobody: neither the observer of the kernel nor the monitor of our routes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from kroute.codec.rtnetlink import (
    GROUP_OF_LEAVING_PODS,
    GROUP_OF_PODS,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    Message,
)
from kroute.codec.rtnetlink_link import link_of
from kroute.codec.rtnetlink_route import route_event
from kroute.drivers.fib.monitor import LinkTouched, Monitor
from kroute.drivers.kernel import KernelWatcher
from kroute.drivers.kernel.picture import Picture
from kroute.model.kernel import KernelState
from kroute.model.net import prefix_of
from support.fib import Router, eventually
from support.netns import Lab

pytestmark = pytest.mark.root


@pytest.fixture
def router() -> Iterator[Router]:
    with Lab("podlink") as lab:
        yield Router(lab)


def make(router: Router, name: str, group: int = 0) -> int:
    router.ns.ip(f"link add {name} group {group} type veth peer name p{name}")
    return router.ns.ifindex(name)


def names(state: KernelState) -> set[str]:
    return {link.name for link in state.links}


async def test_the_observer_never_hears_of_a_pod_s_link_and_does_not_dump_it(
    router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(router, "before", GROUP_OF_PODS)
    told: list[KernelState] = []
    heard: list[str] = []
    watcher = KernelWatcher(on_change=told.append, netns=router.ns.path)
    await watcher.start()
    hear = Picture.hear

    def listen(picture: Picture, message: Message) -> bool:
        link = link_of(message.body) if message.kind == RTM_NEWLINK else None
        heard.append(link.name if link else "")
        return hear(picture, message)

    monkeypatch.setattr(Picture, "hear", listen)
    with closing(watcher):
        make(router, "alone", GROUP_OF_PODS)
        make(router, "together", GROUP_OF_PODS)
        for change in ("mtu 1400", "up", "down", f"group {GROUP_OF_LEAVING_PODS}"):
            router.ns.ip(f"link set together {change}")
        router.ns.ip(f"link del group {GROUP_OF_LEAVING_PODS}")
        router.ns.ip("link del alone")
        make(router, "other")
        await eventually(lambda: "other" in names(told[-1]), "the link that is no pod's")
        pods = {"before", "alone", "together"}
        assert not any(names(state) & pods for state in told)
        assert "other" in heard
        assert not pods & set(heard)


async def test_link_local_prefixes_which_every_link_brings_wake_nobody(
    router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[KernelState] = []
    heard: list[str] = []
    watcher = KernelWatcher(on_change=told.append, netns=router.ns.path)
    await watcher.start()
    hear = Picture.hear

    def listen(picture: Picture, message: Message) -> bool:
        if message.kind == RTM_NEWROUTE:
            event = route_event(message)
            heard.append(str(prefix_of(event.family, event.nlri)))
        return hear(picture, message)

    monkeypatch.setattr(Picture, "hear", listen)
    with closing(watcher):
        wanted = ["2001:db8::/32", "::/0", "fe00::/9", "0.0.0.0/0", "254.128.0.0/10"]
        for prefix in ["fe80:1::/64", "febf::/16", *wanted]:
            family = "-4" if "." in prefix else "-6"
            router.ns.ip(f"{family} route add {prefix} dev v0")
        await eventually(lambda: wanted[-1] in heard, "the last route")
    assert heard == wanted


async def test_a_link_that_plugins_made_for_a_pod_is_forgotten_with_it(router: Router) -> None:
    told: list[KernelState] = []
    watcher = KernelWatcher(on_change=told.append, netns=router.ns.path)
    await watcher.start()
    with closing(watcher):
        make(router, "plugin")
        await eventually(lambda: "plugin" in names(told[-1]), "not marked yet")
        router.ns.ip(f"link set plugin group {GROUP_OF_PODS}")
        router.ns.ip("link del plugin")
        await eventually(lambda: "plugin" not in names(told[-1]), "gone")


def test_the_monitor_of_routes_hears_of_other_links_only(router: Router) -> None:
    with closing(
        Monitor(port=1, protocol=201, table=254, metric=20, buffer=1 << 20, netns=router.ns.path)
    ) as monitor:
        pod = make(router, "pod", GROUP_OF_PODS)
        router.ns.ip("link set pod mtu 1400")
        router.ns.ip(f"link set pod group {GROUP_OF_LEAVING_PODS}")
        router.ns.ip(f"link del group {GROUP_OF_LEAVING_PODS}")
        other = make(router, "other")
        heard = {event.ifindex for event in monitor.events() if isinstance(event, LinkTouched)}
        assert other in heard
        assert pod not in heard
