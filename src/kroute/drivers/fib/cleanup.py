"""Removing all that bears our mark, from every table; for `kroute cleanup`, while no daemon runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kroute.codec.rtnetlink_dump import RouteDump
from kroute.codec.rtnetlink_route import RTM_F_CLONED, RouteEncoder, RouteForm, patched
from kroute.drivers.fib.table import GONE, batches, reason_of
from kroute.drivers.netlink import RouteSocket
from kroute.model.errors import DriverError
from kroute.model.fib import Nexthops
from kroute.model.net import Family, Nlri


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """A route that was removed, as it was."""

    family: Family
    table: int
    nlri: Nlri
    protocol: int
    metric: int
    nexthops: Nexthops


def cleanup(protocols: Iterable[int], *, netns: str | None = None) -> tuple[Removed, ...]:
    """Remove every route of these protocol ids, of both families and all tables; tell which.

    Raises:
        Unsupported: no CAP_NET_ADMIN.
        DriverError: the kernel refused; what was removed until then is gone.
    """
    removed: list[Removed] = []
    writer = RouteSocket(netns=netns)
    try:
        writer.require_admin()
        for protocol in dict.fromkeys(protocols):
            for family in Family:
                for form, nlris in _routes(family, protocol, netns).items():
                    _remove(writer, family, form, nlris)
                    removed += [_removed(family, nlri, form) for nlri in nlris]
    finally:
        writer.close()
    return tuple(sorted(removed, key=lambda route: (route.family, route.table, route.nlri)))


def _removed(family: Family, nlri: Nlri, form: RouteForm) -> Removed:
    return Removed(
        family=family,
        table=form.table,
        nlri=nlri,
        protocol=form.protocol,
        metric=form.metric,
        nexthops=form.nexthops,
    )


def _routes(family: Family, protocol: int, netns: str | None) -> dict[RouteForm, list[Nlri]]:
    if not protocol:
        raise ValueError("protocol 0 is every protocol")
    request = RouteEncoder(table=0, protocol=protocol, metric=0).dump(family, protocol)
    dump = RouteDump(family)
    reader = RouteSocket(netns=netns)
    try:
        for datagram in reader.dump(request):
            if dump.feed(datagram):
                break
    finally:
        reader.close()
    if dump.refusal is not None:
        raise DriverError(f"route dump: {reason_of(dump.refusal)}")
    return {
        form: nlris
        for form, nlris in dump.routes.items()
        if form.protocol == protocol and not form.flags & RTM_F_CLONED
    }


def _remove(writer: RouteSocket, family: Family, form: RouteForm, nlris: list[Nlri]) -> None:
    encoder = RouteEncoder(table=form.table, protocol=form.protocol, metric=form.metric)
    template = encoder.removal(family)
    for batch in batches(nlris):
        writer.send(patched(template.add, template.tails, batch))
        for refusal in writer.refusals():
            if refusal.errno not in GONE:
                raise DriverError(f"route removal: {reason_of(refusal)}")
