"""Removing all that bears our mark, from every table; for `kroute cleanup`, while no daemon runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kroute.codec.rtnetlink_dump import RouteDump
from kroute.codec.rtnetlink_nexthop import removal_request
from kroute.codec.rtnetlink_route import RTM_F_CLONED, RouteEncoder, RouteForm, patched
from kroute.drivers.fib.ledger import batches
from kroute.drivers.fib.nexthops import in_range
from kroute.drivers.fib.objects import read_objects
from kroute.drivers.fib.table import GONE
from kroute.drivers.netlink import RouteSocket, reason_of
from kroute.model.errors import DriverError
from kroute.model.fib import Nexthops
from kroute.model.net import Family, Nlri, address_of, prefix_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """A route that was removed, as it was."""

    family: Family
    table: int
    nlri: Nlri
    protocol: int
    metric: int
    nexthops: Nexthops

    def __str__(self) -> str:
        """As an operator would write it, interfaces by index."""
        prefix = prefix_of(self.family, self.nlri)
        mark = f"table {self.table} proto {self.protocol} metric {self.metric}"
        legs = [f"{address_of(leg.gateway)} oif {leg.oif}" for leg in self.nexthops if leg.gateway]
        return f"route {prefix} {mark}" + (f" via {', '.join(legs)}" if legs else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedNexthop:
    """A nexthop object that was removed."""

    nhid: int
    protocol: int

    def __str__(self) -> str:
        """As `ip nexthop` names it."""
        return f"nexthop id {self.nhid} proto {self.protocol}"


def cleanup(
    protocols: Iterable[int], *, netns: str | None = None
) -> tuple[Removed | RemovedNexthop, ...]:
    """Remove every route of these protocol ids, of both families and all tables, then the nexthop objects of our
    id range that bear them; tell which.

    Raises:
        Unsupported: no CAP_NET_ADMIN.
        DriverError: the kernel refused; what was removed until then is gone.
    """
    marks = tuple(dict.fromkeys(protocols))
    routes: list[Removed] = []
    writer = RouteSocket(netns=netns)
    try:
        writer.require_admin()
        for protocol in marks:
            for family in Family:
                for form, nlris in _routes(family, protocol, netns).items():
                    _remove(writer, family, form, nlris)
                    routes += [_removed(family, nlri, form) for nlri in nlris]
        objects = _remove_objects(writer, marks, netns)
    finally:
        writer.close()
    routes.sort(key=lambda route: (route.family, route.table, route.nlri))
    return (*routes, *objects)


def _remove_objects(
    writer: RouteSocket, marks: tuple[int, ...], netns: str | None
) -> list[RemovedNexthop]:
    """Groups before their members; a member's removal would change its groups one by one."""
    ours = [each for each in read_objects(netns) if in_range(each.nhid) and each.protocol in marks]
    ours.sort(key=lambda each: (not each.members, each.nhid))
    for each in ours:
        writer.send(removal_request(each.nhid))
        _check(writer)
    return [RemovedNexthop(nhid=each.nhid, protocol=each.protocol) for each in ours]


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
        _check(writer)


def _check(writer: RouteSocket) -> None:
    for refusal in writer.refusals():
        if refusal.errno not in GONE:
            raise DriverError(f"removal: {reason_of(refusal)}")
