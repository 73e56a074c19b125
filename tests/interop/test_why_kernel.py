"""`kroute why` against a kernel that does something else than our routes say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.daemon import Kroute, Site
from support.netns import wait_for

pytestmark = pytest.mark.root

POD4, POD6 = "10.244.2.7", "fd00:10:244:2::7"


@pytest.fixture
def node() -> Iterator[Kroute]:
    with Site("why") as site:
        one, two = site.node(1), site.node(2)
        for each in (one, two):
            each.start()
        one.has("10.244.2.0/24", "fd00:10:244:2::/64")
        wait_for(lambda: not one.missing(), 15, "readiness")
        yield one


def story(node: Kroute, target: str) -> list[str]:
    """What it tells, without what it tells of BGP."""
    told = node.run("why", target, "--socket", str(node.socket)).stdout.splitlines()
    return [line.strip() for line in told if "kernel" in line or "but " in line or "own" in line]


@pytest.mark.parametrize(
    ("target", "command", "route"),
    [
        (
            POD4,
            "route {} 10.244.2.0/24 via 192.0.2.9",
            "10.244.2.0/24 via 192.0.2.9 dev {} proto boot",
        ),
        (
            POD4,
            "route {} 10.244.2.0/25 via 192.0.2.9 proto static metric 900",
            "10.244.2.0/25 via 192.0.2.9 dev {} proto static metric 900",
        ),
        (
            POD6,
            "-6 route {} fd00:10:244:2::/64 via 2001:db8::9 proto bird metric 32",
            "fd00:10:244:2::/64 via 2001:db8::9 dev {} proto bird metric 32",
        ),
    ],
    ids=["better metric", "more specific", "IPv6"],
)
def test_a_route_that_the_kernel_prefers_to_ours_is_named(
    node: Kroute, target: str, command: str, route: str
) -> None:
    assert story(node, target)[-1] == "the kernel has it"
    node.where.ip(command.format("add"))
    *_, has, instead = story(node, target)
    interface = instead.partition(" dev ")[2].split()[0]
    assert has == "the kernel has it"
    said = f"but it forwards {target} by a route of others: {route.format(interface)}"
    assert instead == said
    node.where.ip(command.format("del"))
    assert story(node, target)[-1] == "the kernel has it"


@pytest.mark.parametrize(
    ("target", "command", "what"),
    [
        (POD4, "rule add to 10.244.2.0/24 blackhole", "blackhole"),
        (POD4, "route add unreachable 10.244.2.0/25", "unreachable"),
        (POD4, "route add prohibit 10.244.2.7", "prohibit"),
        (POD6, "-6 route add blackhole fd00:10:244:2::/65", "blackhole"),
    ],
)
def test_what_drops_the_packets_is_told(node: Kroute, target: str, command: str, what: str) -> None:
    node.where.ip(command)
    *_, has, instead = story(node, target)
    assert has == "the kernel has it"
    assert f"but the kernel drops packets to {target}: {what}" in instead


def test_where_we_have_no_route_the_kernels_own_is_told(node: Kroute) -> None:
    assert "the kernel forwards 192.0.2.2 by a route of others: 192.0.2.0/24 dev" in str(
        story(node, "192.0.2.2")
    )
    assert story(node, "192.0.2.1")[-1] == "192.0.2.1 is this node's own"
    assert story(node, "203.0.113.1")[-1] == "the kernel has no route to 203.0.113.1"


def test_what_is_no_matter_of_routes_alone_is_not_asked(node: Kroute) -> None:
    for target in ("0.0.0.0/0", "::/0", "fe80::1", "224.0.0.5", "10.9.0.0/16"):
        assert "the kernel" not in str(story(node, target)), target
