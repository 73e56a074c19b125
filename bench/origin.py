"""What the origin check costs: on prefixes that it knows nothing of, on a leak, and when the inventory changes.

``python bench/origin.py [id]`` prints the rows; the benches' common runner calls :func:`rows`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from struct import pack

from harness.figures import measured
from kroute.model.bgp import Attributes
from kroute.model.net import Family, Nlri
from kroute.plan import plan
from kroute.plan.adj_in import AdjRibIn
from kroute.plan.origin import origin_check
from kroute.plan.policy import UNCHECKED, OriginCheck
from kroute.plan.resolve import Resolver
from kroute.plan.rib import Rib
from plan import KERNEL, ME, PACKED, ROUTES, RUN, attributes, cluster, source, timed

NODES = 5_000


def check_of(nodes: int, before: OriginCheck = UNCHECKED) -> OriginCheck:
    """The check of a cluster of so many nodes."""
    observed = cluster(nodes)
    return origin_check(observed, plan(observed).owners, before)


def foreign(number: int) -> Nlri:
    """A /24 that is nobody's."""
    return b"\x18" + pack(">I", 0x64000000 + (number << 8))[:3]


def leaked(number: int) -> Nlri:
    """One address of the cluster's podCIDRs."""
    return b"\x20" + pack(">I", 0x14000000 + number)


def checked(check: OriginCheck) -> tuple[Rib, AdjRibIn]:
    """Empty tables with a check in force."""
    rib, table = Rib(ME, Resolver(KERNEL), legs=8), source(1)
    rib.origin_check = check
    rib.take_over(table)
    return rib, table


def learned(check: OriginCheck, prefixes: list[Nlri]) -> float:
    """Routes per second through judging, learning and deciding."""
    rib, table = checked(check)
    blocks = [attributes(start) for start in range(0, len(prefixes), PACKED)]

    def learn() -> None:
        for position, block in enumerate(blocks):
            start = position * PACKED
            path = rib.judge(table, block)
            rib.learn(table, Family.IPV4, path, prefixes[start : start + PACKED])
            if position % RUN == RUN - 1:
                rib.decide()
        rib.decide()

    return len(prefixes) / timed(learn)


def joined() -> float:
    """Milliseconds until a reflector's client has put the check in force that follows from one node more."""
    before, observed = check_of(NODES), cluster(NODES + 1)
    owners = plan(observed).owners
    rib, table = checked(before)
    for number in range(NODES):
        hop = pack(">I", 0x0A000001 + number)
        path = rib.judge(table, Attributes(nexthop=hop, local_pref=100))
        rib.learn(table, Family.IPV4, path, [b"\x18" + pack(">I", 0x14000000 + (number << 8))[:3]])
    rib.decide()

    def join() -> None:
        rib.review.check_origins([table], origin_check(observed, owners, before))
        rib.decide()

    return timed(join) * 1e3


def rows(only: str = "", runs: int = 5) -> Iterator[dict[str, object]]:
    """One row for each measurement whose id contains ``only``: the median of ``runs``, and the spread."""
    check = check_of(NODES)
    unknown, leak = [foreign(i) for i in range(ROUTES)], [leaked(i) for i in range(ROUTES)]
    wanted: dict[str, tuple[str, Callable[[], float]]] = {
        "origin/unknown/unchecked/100k": ("routes/s", lambda: learned(UNCHECKED, unknown)),
        "origin/unknown/100k": ("routes/s", lambda: learned(check, unknown)),
        "origin/leak/100k": ("routes/s", lambda: learned(check, leak)),
        "origin/node-joins/5000": ("ms", joined),
    }
    yield from measured(wanted, only, runs)


if __name__ == "__main__":
    for found in rows(sys.argv[1] if len(sys.argv) > 1 else ""):
        print(f"{found['id']:32} {found['value']:>12} {found['unit']:9} {found['spread']}")
