"""What differs between the routes that are desired and those that the kernel holds. No effects."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from kroute.codec.rtnetlink_route import effective_metric
from kroute.drivers.fib.table import OTHER, Reading, Stray
from kroute.model.fib import Nexthop, Nexthops
from kroute.model.net import Family, Nlri


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """``missing`` must be written; ``installed`` is what the kernel holds, with the desired objects where equal."""

    missing: dict[Nlri, Nexthops]
    installed: dict[Nlri, Nexthops]
    adopted: int
    """How many desired routes were found as they should be."""


def difference(
    desired: Mapping[Nlri, Nexthops], reading: Reading, taken: Collection[Nlri] = ()
) -> Difference:
    """Compare, using up ``reading``; ``taken`` are prefixes under a former mark of ours at our metric."""
    own = reading.own
    missing: dict[Nlri, Nexthops] = {}
    installed: dict[Nlri, Nexthops] = {}
    adopted = 0
    for nlri, want in desired.items():
        have = own.pop(nlri, None)
        if have == want or (have is not None and same(want, have)):
            installed[nlri] = want
            adopted += 1
            continue
        missing[nlri] = want
        if have is not None or nlri in taken:
            installed[nlri] = OTHER
    installed.update(own)
    return Difference(missing=missing, installed=installed, adopted=adopted)


def same(want: Nexthops, have: Nexthops) -> bool:
    """Whether the kernel's form fulfils what was asked: order, weight of a single leg and oif 0 are its business."""
    if len(want) != len(have):
        return False
    if len(want) == 1:
        return _leg_same(want[0], have[0], weigh=False)
    rest = list(have)
    for leg in want:
        match = next((other for other in rest if _leg_same(leg, other, weigh=True)), None)
        if match is None:
            return False
        rest.remove(match)
    return True


def _leg_same(want: Nexthop, have: Nexthop, *, weigh: bool) -> bool:
    if want.gateway != have.gateway or (weigh and want.weight != have.weight):
        return False
    return want.oif in (0, have.oif)


def taken_over(family: Family, metric: int, strays: Mapping[Stray, list[Nlri]]) -> set[Nlri]:
    """Prefixes whose place at our metric a former protocol of ours holds."""
    ours = effective_metric(family, metric)
    return {nlri for mark, nlris in strays.items() if mark.metric == ours for nlri in nlris}
