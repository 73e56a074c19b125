"""Route messages (linux/rtnetlink.h, struct rtmsg): templates to write with, forms to read with.

A kernel's table has many prefixes and few ways to forward. So a route is written as a *template* of its next
hops with the prefix patched in, and read as its prefix and its *form*, which is decoded once per distinct
bytes. Both cost a fraction of a microsecond per route.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from struct import Struct, pack, unpack_from
from typing import NamedTuple

from kroute.codec.rtnetlink import (
    FAMILY_OF_KERNEL,
    KERNEL_FAMILY,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    RTM_DELROUTE,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    KernelError,
    MalformedMessage,
    Message,
    align,
    attribute,
    attributes,
    message,
    number,
)
from kroute.model.fib import Nexthop, Nexthops, ecmp
from kroute.model.net import Family, Nlri

RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY = 1, 4, 5, 6
RTA_MULTIPATH, RTA_TABLE, RTA_VIA, RTA_NH_ID = 9, 15, 18, 30
RTN_UNSPEC, RTN_UNICAST, RTN_BLACKHOLE = 0, 1, 6
RT_SCOPE_UNIVERSE, RT_SCOPE_NOWHERE = 0, 255
RT_TABLE_COMPAT = 252
"""What rtm_table says of a table beyond 255; RTA_TABLE has the number."""
RTM_F_CLONED = 0x200

_RTMSG = Struct("=BBBBBBBBI")
_RTNEXTHOP = Struct("=HBBi")
_IPV6_DEFAULT_METRIC = 1024
_RTNH_F_DEAD = 1


def effective_metric(family: Family, metric: int) -> int:
    """The metric that the kernel keeps: IPv6 turns 0 into 1024."""
    return metric or (_IPV6_DEFAULT_METRIC if family is Family.IPV6 else 0)


class Template(NamedTuple):
    """A message but for its prefix: ``heads[nlri[0]] + nlri[1:] + tails[len(nlri)]``.

    ``add`` refuses to touch a route that is there (EEXIST), ``replace`` swaps it or creates it. Of a template
    made by :meth:`RouteEncoder.removal` both are the same.
    """

    add: tuple[bytes, ...]
    replace: tuple[bytes, ...]
    tails: tuple[bytes, ...]


class RouteEncoder:
    """Writes the routes of one table, protocol and metric."""

    def __init__(self, *, table: int, protocol: int, metric: int) -> None:
        self.table, self.protocol, self.metric = table, protocol, metric
        self._heads: dict[tuple[int, int, Family, int, int, int, int], tuple[bytes, ...]] = {}

    def template(self, family: Family, nexthops: Nexthops, nhid: int = 0) -> Template:
        """The template of a route: over a nexthop object if ``nhid``, else over these legs.

        No legs at all make a blackhole. One leg is a plain route, several are RTA_MULTIPATH.
        """
        kind = RTN_UNICAST if nexthops or nhid else RTN_BLACKHOLE
        way = attribute(RTA_NH_ID, pack("=I", nhid)) if nhid else _way(family, nexthops)
        tails = self._tails(family, self.metric, way)
        flags = NLM_F_REQUEST | NLM_F_CREATE
        length = len(tails[1])
        return Template(
            self._head(RTM_NEWROUTE, flags | NLM_F_EXCL, family, kind, length),
            self._head(RTM_NEWROUTE, flags | NLM_F_REPLACE, family, kind, length),
            tails,
        )

    def removal(self, family: Family, *, protocol: int = 0, metric: int | None = None) -> Template:
        """The template that removes our route; or that of an earlier protocol id or metric.

        The kernel compares the protocol, so that a foreign route of the same prefix stays (ESRCH).
        """
        tails = self._tails(family, self.metric if metric is None else metric, b"")
        heads = self._head(
            RTM_DELROUTE,
            NLM_F_REQUEST,
            family,
            RTN_UNSPEC,
            len(tails[1]),
            protocol or self.protocol,
        )
        return Template(heads, heads, tails)

    def dump(self, family: Family, protocol: int = 0) -> bytes:
        """The request for the routes of our table (0: of all), if ``protocol`` for its ones only.

        For sockets with strict checking, where the kernel does the sorting out.
        """
        table = self.table if self.table < 256 else RT_TABLE_COMPAT
        body = _RTMSG.pack(KERNEL_FAMILY[family], 0, 0, 0, table, protocol, 0, 0, 0)
        if self.table:
            body += attribute(RTA_TABLE, pack("=I", self.table))
        return message(RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, body, sequence=2)

    def _tails(self, family: Family, metric: int, way: bytes) -> tuple[bytes, ...]:
        rest = attribute(RTA_TABLE, pack("=I", self.table))
        if metric:
            rest += attribute(RTA_PRIORITY, pack("=I", metric))
        size = family.bits >> 3
        padded = tuple(bytes(size - count) + rest + way for count in range(size + 1))
        return (b"", *padded)

    def _head(
        self, kind: int, flags: int, family: Family, route_kind: int, rest: int, protocol: int = 0
    ) -> tuple[bytes, ...]:
        """Heads by prefix length; shared by all templates of the same size."""
        protocol = protocol or self.protocol
        key = (kind, flags, family, route_kind, rest, protocol, self.table)
        if (heads := self._heads.get(key)) is None:
            heads = self._heads[key] = tuple(
                self._one_head(kind, flags, family, route_kind, rest, protocol, plen)
                for plen in range(family.bits + 1)
            )
        return heads

    def _one_head(
        self,
        kind: int,
        flags: int,
        family: Family,
        route_kind: int,
        rest: int,
        protocol: int,
        plen: int,
    ) -> bytes:
        scope = RT_SCOPE_UNIVERSE
        if kind == RTM_DELROUTE and family is Family.IPV4:
            scope = RT_SCOPE_NOWHERE
        table = self.table if self.table < 256 else RT_TABLE_COMPAT
        fixed = (KERNEL_FAMILY[family], plen, 0, 0, table, protocol, scope, route_kind, 0)
        destination = pack("=HH", 4 + (family.bits >> 3), RTA_DST)
        return pack("=IHHII", 32 + rest, kind, flags, 1, 0) + _RTMSG.pack(*fixed) + destination


def patched(heads: tuple[bytes, ...], tails: tuple[bytes, ...], nlris: Iterable[Nlri]) -> bytes:
    """The messages of one template for many prefixes, joined for one send."""
    return b"".join([heads[nlri[0]] + nlri[1:] + tails[len(nlri)] for nlri in nlris])


def _way(family: Family, nexthops: Nexthops) -> bytes:
    if not nexthops:
        return b""
    if len(nexthops) == 1:
        leg = nexthops[0]
        device = attribute(RTA_OIF, pack("=I", leg.oif)) if leg.oif else b""
        return _gateway(family, leg.gateway) + device
    legs = b""
    for leg in nexthops:
        gateway = _gateway(family, leg.gateway)
        legs += _RTNEXTHOP.pack(8 + len(gateway), 0, leg.weight - 1, leg.oif) + gateway
    return attribute(RTA_MULTIPATH, legs)


def _gateway(family: Family, gateway: bytes | None) -> bytes:
    if gateway is None:
        return b""
    if family is Family.IPV4 and len(gateway) == 16:
        return attribute(RTA_VIA, pack("=H", KERNEL_FAMILY[Family.IPV6]) + gateway)
    return attribute(RTA_GATEWAY, gateway)


class RouteForm(NamedTuple):
    """All of a kernel route but its prefix. ``kind`` is rtm_type; ``nhid`` 0 without nexthop object.

    ``nexthops`` is in canonical order (:func:`kroute.model.fib.ecmp`); with a nexthop object it may be empty.
    ``dead`` are those of them that the kernel does not use, as their interface is down or has no address.
    """

    table: int
    protocol: int
    metric: int
    scope: int
    kind: int
    flags: int
    nexthops: Nexthops
    nhid: int
    dead: Nexthops = ()


class RouteEvent(NamedTuple):
    """A route came (``added``) or went; ``replaced`` says that it took the place of another."""

    added: bool
    replaced: bool
    family: Family
    nlri: Nlri
    form: RouteForm


def route_event(event: Message) -> RouteEvent:
    """What an RTM_NEWROUTE or RTM_DELROUTE message says.

    Raises:
        MalformedMessage: it is no route message, or of a family that kroute does not route.
    """
    if event.kind not in (RTM_NEWROUTE, RTM_DELROUTE):
        raise MalformedMessage(f"rtnetlink: message type {event.kind} is not a route")
    family, nlri, form = decode_route(event.body)
    added = event.kind == RTM_NEWROUTE
    return RouteEvent(added, added and bool(event.flags & NLM_F_REPLACE), family, nlri, form)


def decode_route(body: bytes) -> tuple[Family, Nlri, RouteForm]:
    """Family, prefix and form of one route message after its netlink header.

    Raises:
        MalformedMessage: too short, inconsistent, or of another family.
    """
    if len(body) < 12:
        raise MalformedMessage("rtnetlink: route message cut short")
    number_of_family, plen, _, _, table, protocol, scope, kind, flags = _RTMSG.unpack_from(body)
    family = FAMILY_OF_KERNEL.get(number_of_family)
    if family is None or plen > family.bits:
        raise MalformedMessage(f"rtnetlink: family {number_of_family}, prefix length {plen}")
    found = attributes(body, 12)
    destination = found.get(RTA_DST, bytes(family.bits >> 3))
    if len(destination) != family.bits >> 3:
        raise MalformedMessage(f"rtnetlink: destination of {len(destination)} octets")
    nexthops, dead = ((), ()) if kind == RTN_BLACKHOLE else _nexthops(found, flags)
    form = RouteForm(
        number(found[RTA_TABLE]) if RTA_TABLE in found else table,
        protocol,
        number(found.get(RTA_PRIORITY, b"")),
        scope,
        kind,
        flags,
        nexthops,
        number(found.get(RTA_NH_ID, b"")),
        dead,
    )
    return family, bytes((plen,)) + destination[: (plen + 7) >> 3], form


def _nexthops(found: dict[int, bytes], flags: int) -> tuple[Nexthops, Nexthops]:
    """All legs, and the dead ones among them."""
    if (legs := found.get(RTA_MULTIPATH)) is not None:
        return _multipath(legs)
    oif, gateway = number(found.get(RTA_OIF, b"")), _gateway_of(found)
    only = (Nexthop(gateway, oif),) if oif or gateway else ()
    return only, only if flags & _RTNH_F_DEAD else ()


def _multipath(data: bytes) -> tuple[Nexthops, Nexthops]:
    legs: set[Nexthop] = set()
    dead: set[Nexthop] = set()
    position = 0
    while position + 8 <= len(data):
        length, flags, hops, oif = _RTNEXTHOP.unpack_from(data, position)
        if length < 8 or position + length > len(data):
            raise MalformedMessage(f"rtnetlink: leg of length {length}")
        found = attributes(data[position : position + length], 8)
        leg = Nexthop(_gateway_of(found), oif, hops + 1)
        legs.add(leg)
        if flags & _RTNH_F_DEAD:
            dead.add(leg)
        position += align(length)
    return ecmp(legs), ecmp(dead)


def _gateway_of(found: dict[int, bytes]) -> bytes | None:
    if (gateway := found.get(RTA_GATEWAY)) is not None:
        return gateway
    via = found.get(RTA_VIA)
    return via[2:] if via is not None else None


class RouteAction(Enum):
    """What a route message asks of the kernel."""

    ADD = "add"
    REPLACE = "replace"
    REMOVE = "remove"


def refused_route(refusal: KernelError) -> tuple[RouteAction, Family, Nlri] | None:
    """Which of our route messages was refused; None if the kernel echoed too little of it."""
    request = refusal.request
    if len(request) < 32:
        return None
    kind, flags = unpack_from("=HH", request, 4)
    family, plen = FAMILY_OF_KERNEL.get(request[16]), request[17]
    octets = (plen + 7) >> 3
    if family is None or plen > family.bits or len(request) < 32 + octets:
        return None
    put = RouteAction.REPLACE if flags & NLM_F_REPLACE else RouteAction.ADD
    action = RouteAction.REMOVE if kind == RTM_DELROUTE else put
    return action, family, bytes((plen,)) + request[32 : 32 + octets]
