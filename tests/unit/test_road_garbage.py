"""What a flood of routes leaves behind: nothing that only the garbage collector could find.

The road sets the objects of a flood aside from the collector (``gc.freeze``), so they must go by reference count.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address
from struct import pack
from typing import Any

import pytest

from kroute.codec.bgp import announce, attribute_block
from kroute.codec.frames import SessionParameters
from kroute.daemon.road import FLOOD, Road
from kroute.drivers.speaker import Up, Updates
from kroute.model.bgp import (
    Asn,
    AsSegment,
    Attributes,
    Negotiated,
    Peer,
    PeerKind,
    PeerName,
    SegmentType,
)
from kroute.model.kernel import KernelRoute, KernelState, Link
from kroute.model.net import Family
from kroute.plan.paths import Path
from kroute.plan.policy import UNRULED, ImportRules, PeerRules, Self
from kroute.plan.resolve import Resolver
from kroute.plan.routing import Routing
from support.policies import policy

V4 = Family.IPV4
COUNT = 4 * FLOOD
PEER = Peer(
    name=PeerName("peer/tor"),
    kind=PeerKind.EXTERNAL,
    address=IPv4Address("192.0.2.2"),
    local_address=IPv4Address("192.0.2.1"),
    asn=Asn(65001),
    local_asn=Asn(64512),
    router_id="192.0.2.1",
    max_prefixes=COUNT,
)
SESSION = SessionParameters(
    address="192.0.2.2",
    local_address="192.0.2.1",
    asn=65001,
    local_asn=64512,
    router_id="192.0.2.1",
)
UP = Up(
    1,
    Negotiated(
        asn=Asn(65001),
        router_id="192.0.2.2",
        asn4=True,
        message_size=4096,
        hold_time=90,
        families=(V4,),
    ),
)
KERNEL = KernelState(
    links=(Link(index=1, name="eth0", up=True, carrier=True, mtu=1500),),
    routes=(
        KernelRoute(
            family=V4,
            prefix=b"\x18\xc0\x00\x02",
            metric=0,
            oif=1,
            gateway=None,
            protocol=2,
            scope=253,
            kind=1,
        ),
    ),
)


class Nobody:
    """Stands for speaker and kernel: takes everything and does nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_args, **_more: None


def body(number: int) -> bytes:
    """An UPDATE of one prefix with an AS path of its own."""
    path = (AsSegment(SegmentType.AS_SEQUENCE, (65001, 100_000 + number)),)
    block = attribute_block(V4, Attributes(nexthop=PEER.address.packed, as_path=path), asn4=True)
    nlri = b"\x18" + pack(">I", 0x14000000 + (number << 8))[:3]
    (message,) = announce(block, [nlri], message_size=4096)
    return message[19:]


def alive() -> Counter[str]:
    """Paths and attributes in memory that the collector knows or has set aside."""
    gc.unfreeze()
    return Counter(type(o).__name__ for o in gc.get_objects() if type(o) in (Path, Attributes))


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.unfreeze()
    gc.enable()
    gc.collect()


RULES = {
    "taken as they come": UNRULED,
    "changed by a policy": PeerRules(
        imports=ImportRules(
            policy=policy(
                """
{name: a, match: {prefixes: [{prefix: 0.0.0.0/1, le: 32}]}, set: {localPref: 200}, then: next}
{name: b, set: {communities: {add: ["64512:1"]}}, then: accept}
"""
            )
        )
    ),
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
@pytest.mark.usefixtures("_no_collector")
def test_the_paths_of_a_peer_that_is_gone_are_freed_without_the_garbage_collector(
    rules: PeerRules,
) -> None:
    before = alive()
    routing = Routing(now=0.0, legs=8, deferral=60.0)
    road = Road(routing, Nobody(), Nobody(), lambda: 0.0)
    me = Self(router_id=PEER.local_address.packed, cluster_id=b"", addresses=frozenset())
    routing.set_self(me, Resolver(KERNEL), {V4: PEER.local_address.packed})
    routing.set_peers({PEER.name: PEER}, {PEER.name: rules}, 0.0)
    road.set_sessions({PEER.name: SESSION})
    road.on_events([UP])
    bodies = [body(number) for number in range(COUNT)]
    for at in range(0, COUNT, 2 * FLOOD):
        road.on_events([Updates(1, bodies[at : at + 2 * FLOOD])])
    assert len(routing.rib.loc[V4]) == COUNT
    assert alive()["Path"] - before["Path"] >= COUNT

    road.set_sessions({})
    routing.set_peers({}, {}, 1.0)
    road.flush()
    assert not routing.rib.loc[V4]
    left = alive()
    assert left["Path"] - before["Path"] < 10
    assert left["Attributes"] - before["Attributes"] < 10
