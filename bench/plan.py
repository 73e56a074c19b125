"""How long decisions take, with no I/O: the whole plan of a cluster, and learning routes prefix by prefix.

``python bench/plan.py [id]`` prints the rows; the benches' common runner calls :func:`rows`.
"""

from __future__ import annotations

import gc
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from struct import pack

from harness.figures import measured
from kroute.codec.config import parse_config
from kroute.daemon.review import SLICE
from kroute.model.bgp import Asn, AsSegment, Attributes, Peer, PeerKind, PeerName, SegmentType
from kroute.model.config import Config
from kroute.model.config_peering import Peering, RouteReflector, Topology
from kroute.model.kernel import KernelRoute, KernelState, Link
from kroute.model.net import Family, Nlri
from kroute.model.node import Node
from kroute.model.state import Observed
from kroute.plan import plan
from kroute.plan.adj_in import AdjRibIn
from kroute.plan.policy import ImportRules, Self
from kroute.plan.policy.compile import Bound, compiled
from kroute.plan.resolve import Resolver
from kroute.plan.rib import Rib

NODES = (10, 100, 1_000, 5_000)
ROUTES = 100_000
RUN = 200
"""Distinct blocks handed over between two decisions, as runs of UPDATEs come from the speaker."""
PACKED = 1_000
"""Prefixes of one UPDATE with extended messages off, about."""

KERNEL = KernelState(
    links=(Link(index=1, name="eth0", up=True, carrier=True, mtu=1500),),
    routes=(
        KernelRoute(
            family=Family.IPV4,
            prefix=b"\x08\x0a",
            metric=0,
            oif=1,
            gateway=None,
            protocol=2,
            scope=253,
            kind=1,
        ),
    ),
)
ME = Self(router_id=bytes(4), cluster_id=b"", addresses=frozenset())


def node(number: int) -> Node:
    """A dual-stack node with a podCIDR of each family."""
    return Node(
        name=f"node-{number:05d}",
        addresses=(
            IPv4Address(0x0A000000 + number + 1),
            IPv6Address(0x20010DB8 << 96 | number + 1),
        ),
        pod_cidrs=(
            IPv4Network((0x14000000 + (number << 8), 24)),
            IPv6Network((0xFD00 << 112 | number << 64, 64)),
        ),
        created=f"2026-01-01T{number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z",
    )


def cluster(count: int, config: Config | None = None) -> Observed:
    """All that is known in a cluster of so many nodes."""
    nodes = {n.name: n for n in map(node, range(count))}
    return Observed(
        me=node(0).name, config=config or Config(), nodes=nodes, listed=True, kernel=KERNEL
    )


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call, with garbage collected as seldom as the daemon does."""
    before = gc.get_threshold()
    gc.collect()
    gc.set_threshold(50_000, 20, 100)
    begin = time.perf_counter()
    work()
    took = time.perf_counter() - begin
    gc.set_threshold(*before)
    return took


def planned(observed: Observed) -> Callable[[], float]:
    """The whole plan, in ms."""
    return lambda: timed(lambda: plan(observed)) * 1e3


def nlri(number: int) -> Nlri:
    return b"\x18" + pack(">I", 0x14000000 + (number << 8))[:3]


def attributes(number: int) -> Attributes:
    """A path of its own: next hop and last AS differ."""
    path = (AsSegment(SegmentType.AS_SEQUENCE, (65001, 100_000 + number)),)
    return Attributes(nexthop=pack(">I", 0x0A000001 + number % 1000), as_path=path, local_pref=100)


def source(number: int) -> AdjRibIn:
    """The table of an internal peer with room for all."""
    return AdjRibIn(
        Peer(
            name=PeerName(f"node/{number}"),
            kind=PeerKind.MESH,
            address=IPv4Address(0x0A000001 + number),
            local_address=IPv4Address(0x0A00FFFF),
            asn=Asn(64512),
            local_asn=Asn(64512),
            router_id="10.0.255.255",
            max_prefixes=1 << 24,
        )
    )


def learned(prefixes: list[Nlri], per_block: int, peers: int = 1) -> float:
    """Routes per second through judging, learning and deciding; each peer announces all."""
    rib = Rib(ME, Resolver(KERNEL), legs=8)
    tables = [source(i) for i in range(peers)]
    blocks = [attributes(start) for start in range(0, len(prefixes), per_block)]

    def learn() -> None:
        for table in tables:
            for position, block in enumerate(blocks):
                start = position * per_block
                path = rib.judge(table, block)
                rib.learn(table, Family.IPV4, path, prefixes[start : start + per_block])
                if position % RUN == RUN - 1:
                    rib.decide()
            rib.decide()

    took = timed(learn)
    assert len(rib.loc[Family.IPV4]) == len(prefixes)
    return len(prefixes) * peers / took


POLICY = """
policies:
- name: p
  rules:
  - {name: drained, match: {communities: ["64512:666"]}, then: reject}
  - {name: far, match: {asPath: {minLength: 3}}, set: {localPref: 50}, then: next}
  - {name: half, match: {prefixes: [{prefix: 20.0.0.0/8, ge: 24, le: 24}]}, set: {localPref: 200}, then: accept}
  - {name: rest, match: {prefixes: [{prefix: 21.0.0.0/9, le: 24}]}, then: reject}
"""


def changed_policy(prefixes: list[Nlri], per_block: int, *, hold: bool = False) -> float:
    """Milliseconds until a new import policy holds for all stored paths, and every prefix is decided anew. With
    ``hold`` those of the longest slice, as the daemon goes about it.
    """
    rib = Rib(ME, Resolver(KERNEL), legs=8)
    table = source(1)
    for position in range(0, len(prefixes), per_block):
        path = rib.judge(table, attributes(position))
        rib.learn(table, Family.IPV4, path, prefixes[position : position + per_block])
    rib.decide()
    policy = compiled(
        parse_config(POLICY).policies[0], {}, Bound(names=frozenset(), prepend=Asn(64512))
    )

    def change() -> None:
        rib.review.accept(table, ImportRules(policy=policy))
        rib.decide()

    if hold:
        gc.collect()
        gc.freeze()  # as the daemon does with routes
        moments = [time.perf_counter()]
        rib.review.accept(table, ImportRules(policy=policy))
        while rib.review.going_on:
            rib.decide(SLICE)
            gc.freeze()
            moments.append(time.perf_counter())
        took = max(b - a for a, b in itertools.pairwise(moments))
    else:
        took = timed(change)
    assert 0 < len(rib.loc[Family.IPV4]) < len(prefixes)
    return took * 1e3


def rows(only: str = "", runs: int = 5) -> Iterator[dict[str, object]]:
    """One row for each measurement whose id contains ``only``: the median of ``runs``, and the spread."""
    reflecting = Config(
        peering=Peering(
            topology=Topology.ROUTE_REFLECTOR,
            route_reflector=RouteReflector(nodes=(node(0).name, node(1).name)),
        )
    )
    prefixes = [nlri(i) for i in range(ROUTES)]
    wanted: dict[str, tuple[str, Callable[[], float]]] = {
        **{f"plan/{n}": ("ms", planned(cluster(n))) for n in NODES},
        "plan/reflector/5000": ("ms", planned(cluster(5_000, reflecting))),
        "rib/learn/packed/100k": ("routes/s", lambda: learned(prefixes, PACKED)),
        "rib/learn/distinct/100k": ("routes/s", lambda: learned(prefixes, 1)),
        "rib/learn/two-peers/100k": ("routes/s", lambda: learned(prefixes, PACKED, peers=2)),
        "policy/import-change/100k": ("ms", lambda: changed_policy(prefixes, PACKED)),
        "policy/import-change/distinct/100k": ("ms", lambda: changed_policy(prefixes, 1)),
        "policy/longest-slice/distinct/100k": (
            "ms",
            lambda: changed_policy(prefixes, 1, hold=True),
        ),
    }
    yield from measured(wanted, only, runs)


if __name__ == "__main__":
    for found in rows(sys.argv[1] if len(sys.argv) > 1 else ""):
        print(f"{found['id']:26} {found['value']:>12} {found['unit']:9} {found['spread']}")
