"""What differs between the routes that are desired and those that the kernel holds. No effects."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from kroute.codec.rtnetlink_route import effective_metric
from kroute.drivers.fib.ledger import OTHER, Reading, Stray
from kroute.model.fib import Nexthop, Nexthops, Place, Placed
from kroute.model.net import Family, Nlri


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """``missing`` must be written; ``installed`` is what the kernel holds, with the desired objects where equal."""

    missing: dict[Nlri, Nexthops]
    installed: dict[Nlri, Nexthops]
    adopted: int
    """How many desired routes were found as they should be."""
    aside: dict[Nlri, Placed] = field(default_factory=dict)
    """As ``installed``, of what stands where import policy put it."""
    superseded: dict[Place, list[Nlri]] = field(default_factory=dict)
    """What stands elsewhere and has, or shall have, its route in another place."""


PlaceOf = Callable[[Nexthops], Place | None]
"""Where legs want to stand; None: where our routes stand anyway."""


def _at_home(_: Nexthops) -> Place | None:
    return None


def difference(
    desired: Mapping[Nlri, Nexthops],
    reading: Reading,
    taken: Collection[Nlri] = (),
    place_of: PlaceOf = _at_home,
) -> Difference:
    """Compare, using up ``reading``; ``taken`` are prefixes under a former mark of ours in our own place."""
    own = reading.own
    missing: dict[Nlri, Nexthops] = {}
    installed: dict[Nlri, Nexthops] = {}
    adopted = 0
    for nlri, want in desired.items():
        have = own.pop(nlri, None)
        if have == want or (have is not None and place_of(want) is None and same(want, have)):
            installed[nlri] = want
            adopted += 1
            continue
        missing[nlri] = want
        if have is not None or nlri in taken:
            installed[nlri] = OTHER
    installed.update(own)
    if not reading.aside:
        return Difference(missing=missing, installed=installed, adopted=adopted)
    aside, superseded = _aside(desired, reading, place_of)
    right = [nlri for nlri, have in aside.items() if missing.get(nlri) is have]
    for nlri in right:
        if nlri not in installed:
            del missing[nlri]
    return Difference(
        missing=missing,
        installed=installed,
        adopted=adopted + len(right),
        aside=aside,
        superseded=superseded,
    )


def _aside(
    desired: Mapping[Nlri, Nexthops], reading: Reading, place_of: PlaceOf
) -> tuple[dict[Nlri, Placed], dict[Place, list[Nlri]]]:
    """What stands aside and is desired there, or not at all; and what is desired elsewhere."""
    aside: dict[Nlri, Placed] = {}
    superseded: dict[Place, list[Nlri]] = {}
    for place, routes in reading.aside.items():
        for nlri, have in routes.items():
            want = desired.get(nlri)
            if want is None and nlri not in aside:
                aside[nlri] = Placed(have, place)
            elif isinstance(want, Placed) and place_of(want) == place:
                aside[nlri] = want if same(want, have) else Placed(OTHER, place)
            else:
                superseded.setdefault(place, []).append(nlri)
    return aside, superseded


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


def taken_over(
    family: Family, metric: int, strays: Mapping[Stray, list[Nlri]], table: int = 254
) -> set[Nlri]:
    """Prefixes whose place in our table, at our metric, a former protocol of ours holds."""
    ours = effective_metric(family, metric)
    return {
        nlri
        for mark, nlris in strays.items()
        if (mark.metric, mark.table) == (ours, table)
        for nlri in nlris
    }
