"""What the kernel has, kept up to date by its events; no socket here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from itertools import chain

from kroute.codec.rtnetlink import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    Message,
)
from kroute.codec.rtnetlink_link import address_of, interface_of, link_of
from kroute.codec.rtnetlink_route import RTM_F_CLONED, RouteEvent, RouteForm, route_event
from kroute.model.fib import Nexthop, Nexthops
from kroute.model.kernel import Interface, KernelRoute, KernelState, Link
from kroute.model.net import Family, Nlri

_KINDS = (1, 6, 7, 8)
"""unicast, blackhole, unreachable, prohibit; not local, broadcast, anycast, multicast."""

Destination = tuple[Family, Nlri]
Owner = tuple[int, int]
"""Metric and protocol: who holds a place for a destination."""


class Picture:
    """Links, addresses and others' routes of one table; ``ours`` are the protocols that are left out.

    The links of pods are left out: a node may have hundreds, and no route leads over a bridge's port. Link-local and
    multicast prefixes of IPv6 are left out as well: every link has them. So are routes beyond ``routes_kept``, which
    are only counted.
    """

    def __init__(self, *, table: int, ours: Collection[int], routes_kept: int) -> None:
        """An empty picture."""
        self._table, self._ours, self._routes_kept = table, frozenset(ours), routes_kept
        self._links: dict[int, Link] = {}
        self._addresses: set[tuple[int, Interface]] = set()
        self._routes: dict[Destination, dict[Owner, set[KernelRoute]]] = {}
        self._oifs: Counter[int] = Counter()
        self._dead: set[int] = set()
        """Interfaces of dead legs, which come back to life without a word."""
        self._count = self._left_out = 0
        self._sorted: tuple[KernelRoute, ...] | None = ()

    def state(self) -> KernelState:
        """The picture as a value."""
        if self._sorted is None:
            owners = (legs for places in self._routes.values() for legs in places.values())
            self._sorted = tuple(sorted(chain.from_iterable(owners), key=_route_order))
        return KernelState(
            links=tuple(link for _, link in sorted(self._links.items())),
            addresses=tuple(sorted(self._addresses, key=_address_order)),
            routes=self._sorted,
            routes_left_out=self._left_out,
        )

    def hear(self, message: Message) -> bool:
        """Take an event, or a message of a dump. True if routes may have changed that nobody tells of.

        Raises:
            MalformedMessage: the message is no good; the picture is as before.
        """
        match message.kind:
            case kind if kind in (RTM_NEWLINK, RTM_DELLINK):
                return self._hear_link(message)
            case kind if kind in (RTM_NEWADDR, RTM_DELADDR):
                return self._hear_address(message)
            case kind if kind in (RTM_NEWROUTE, RTM_DELROUTE):
                self._hear_route(route_event(message))
        return False

    def add_routes(self, family: Family, form: RouteForm, nlris: Iterable[Nlri]) -> None:
        """Take routes of a dump."""
        if self.concerns(form):
            for nlri in nlris:
                self._put(family, nlri, form)

    def _hear_link(self, message: Message) -> bool:
        link = link_of(message.body)
        if link is None:
            return False
        if message.kind == RTM_NEWLINK and not link.of_pod:
            before = self._links.get(link.index)
            self._links[link.index] = link
            if before is None or before.up == link.up:
                return False
            return link.index in self._dead if link.up else self._leads(link.index)
        self._links.pop(link.index, None)
        self._addresses = {pair for pair in self._addresses if pair[0] != link.index}
        return self._leads(link.index)

    def _hear_address(self, message: Message) -> bool:
        # A link is told before its addresses; one that is not in the picture is a pod's.
        if interface_of(message.body) not in self._links:
            return False
        address = address_of(message.body)
        if address is None:
            return False
        pair = (address.ifindex, address.interface)
        if message.kind == RTM_NEWADDR and address.usable:
            self._addresses.add(pair)
            return address.ifindex in self._dead
        self._addresses.discard(pair)
        return message.kind == RTM_DELADDR and self._leads(address.ifindex)

    def _hear_route(self, event: RouteEvent) -> None:
        form, destination = event.form, (event.family, event.nlri)
        if event.replaced and form.table == self._table:
            for owner in [
                each for each in self._routes.get(destination, ()) if each[0] == form.metric
            ]:
                self._set(destination, owner, set())
        if not self.concerns(form):
            return
        if event.added:
            self._put(event.family, event.nlri, form)
            return
        owner = (form.metric, form.protocol)
        held = self._routes.get(destination, {}).get(owner)
        if held is not None:
            self._set(destination, owner, held - _legs(event.family, event.nlri, form))
        elif self._left_out:
            self._left_out -= 1

    def _put(self, family: Family, nlri: Nlri, form: RouteForm) -> None:
        if family is Family.IPV6 and _is_noise(nlri):
            return
        self._dead.update(leg.oif for leg in form.dead)
        destination, owner = (family, nlri), (form.metric, form.protocol)
        held = self._routes.get(destination, {}).get(owner)
        if held is None and self._count >= self._routes_kept:
            self._left_out += 1
            return
        self._set(destination, owner, (held or set()) | _legs(family, nlri, form, form.dead))

    def _set(self, destination: Destination, owner: Owner, legs: set[KernelRoute]) -> None:
        """Put these legs in the place of what an owner had; none at all: the owner's route is gone."""
        self._sorted = None
        places = self._routes.setdefault(destination, {})
        before = places.pop(owner, None)
        if legs:
            places[owner] = legs
        elif not places:
            del self._routes[destination]
        self._count += bool(legs) - (before is not None)
        self._oifs.subtract(leg.oif for leg in before or ())
        self._oifs.update(leg.oif for leg in legs)

    def concerns(self, form: RouteForm) -> bool:
        """Whether routes of this form belong into the picture."""
        return (
            form.table == self._table
            and form.protocol not in self._ours
            and form.kind in _KINDS
            and not form.flags & RTM_F_CLONED
        )

    def _leads(self, index: int) -> bool:
        """Whether a known route leaves by that interface."""
        return self._oifs[index] > 0


def _legs(family: Family, nlri: Nlri, form: RouteForm, dead: Nexthops = ()) -> set[KernelRoute]:
    """One route per leg that is not ``dead``; a blackhole and the like has one without a way out."""
    return {
        KernelRoute(
            family=family,
            prefix=nlri,
            metric=form.metric,
            oif=leg.oif,
            gateway=leg.gateway,
            protocol=form.protocol,
            scope=form.scope,
            kind=form.kind,
        )
        for leg in form.nexthops or (Nexthop(None, 0),)
        if leg not in dead
    }


def _is_noise(nlri: Nlri) -> bool:
    """fe80::/10 and what is in it, or ff00::/8."""
    return nlri[0] >= 8 and (
        nlri[1] == 0xFF or (nlri[0] >= 10 and nlri[1] == 0xFE and nlri[2] & 0xC0 == 0x80)
    )


def _address_order(pair: tuple[int, Interface]) -> tuple[int, int, bytes, int]:
    index, interface = pair
    return index, interface.version, interface.packed, interface.network.prefixlen


def _route_order(route: KernelRoute) -> tuple[int, Nlri, int, int, bytes, int]:
    gateway = route.gateway or b""
    return route.family, route.prefix, route.metric, route.oif, gateway, route.protocol
