"""Hears what others do to our routes, and which links and addresses change. Hints only: the dump is the truth,
as the kernel drops IPv4 routes with a link that goes down without a word."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from socket import htonl, htons
from struct import unpack_from
from typing import NamedTuple

from kroute.codec.rtnetlink import (
    GROUP_IPV4_IFADDR,
    GROUP_IPV4_ROUTE,
    GROUP_IPV6_IFADDR,
    GROUP_IPV6_ROUTE,
    GROUP_LINK,
    GROUP_NEXTHOP,
    NLM_F_REPLACE,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNEXTHOP,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEXTHOP,
    RTM_NEWROUTE,
    MalformedMessage,
    Message,
    messages,
)
from kroute.codec.rtnetlink_nexthop import nexthop_of
from kroute.codec.rtnetlink_route import RT_TABLE_COMPAT, RouteEvent, effective_metric, route_event
from kroute.drivers import bpf
from kroute.drivers.fib.nexthops import in_range
from kroute.drivers.netlink import HEARD_LINKS, RouteSocket

_GROUPS = GROUP_LINK | GROUP_IPV4_IFADDR | GROUP_IPV6_IFADDR | GROUP_IPV4_ROUTE | GROUP_IPV6_ROUTE
_READ_AT_ONCE = 512
"""Datagrams handled before the writer looks at its other work again."""


class LinkTouched(NamedTuple):
    """A link or an address on it changed; routes over it may be gone, or possible again."""

    ifindex: int


class ObjectTouched(NamedTuple):
    """Somebody changed or removed a nexthop object of ours; its routes may be gone without a word."""

    nhid: int


class RouteTouched(Enum):
    """What became of a place that we may hold."""

    LOST = "lost"
    """Our route was removed, or changed under our own mark."""
    TAKEN = "taken"
    """Another protocol's route replaced what was there."""
    VACATED = "vacated"
    """Another protocol's route went."""
    ASIDE = "aside"
    """Something changed at a prefix, but in another table or at another metric than ours."""


Touched = tuple[RouteTouched, RouteEvent]


class Monitor:
    """The events of one table, and of our mark in all, without those that our own writing causes."""

    def __init__(
        self,
        *,
        port: int,
        protocol: int,
        table: int,
        metric: int,
        buffer: int,
        nexthop_objects: bool = False,
        netns: str | None = None,
    ) -> None:
        """Subscribe; ``port`` is that of the socket which writes, ``buffer`` the octets of events to keep."""
        self._protocol, self._table, self._metric = protocol, table, metric
        self._socket = RouteSocket(netns=netns, groups=_GROUPS, buffer=buffer)
        self._socket.filter(_filter(port, protocol, table))
        if nexthop_objects:
            self._socket.join(GROUP_NEXTHOP)

    def fileno(self) -> int:
        """For poll."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def events(self) -> Iterator[LinkTouched | ObjectTouched | Touched]:
        """What waits to be heard, as far as it may concern us; never waits.

        Raises:
            Overrun: events were lost.
            MalformedMessage: as good as lost.
        """
        for _ in range(_READ_AT_ONCE):
            datagram = self._socket.receive()
            if datagram is None:
                return
            for message in messages(datagram):
                yield from self._classified(message)

    def _classified(self, message: Message) -> Iterator[LinkTouched | ObjectTouched | Touched]:
        match message.kind:
            case kind if kind in (RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR):
                if len(message.body) < 8:
                    raise MalformedMessage("rtnetlink: link event cut short")
                yield LinkTouched(unpack_from("=i", message.body, 4)[0])
            case kind if kind in (RTM_NEWROUTE, RTM_DELROUTE):
                event = route_event(message)
                if (touched := self._touched(event)) is not None:
                    yield touched, event
            case kind if kind in (RTM_NEWNEXTHOP, RTM_DELNEXTHOP):
                if in_range(nhid := nexthop_of(message.body).nhid):
                    yield ObjectTouched(nhid)

    def _touched(self, event: RouteEvent) -> RouteTouched | None:
        form = event.form
        if form.table != self._table or form.metric != effective_metric(event.family, self._metric):
            kept = form.protocol != self._protocol and event.added and not event.replaced
            return None if kept else RouteTouched.ASIDE
        if form.protocol == self._protocol:
            return RouteTouched.LOST
        if event.added:
            return RouteTouched.TAKEN if event.replaced else None
        return RouteTouched.VACATED


def _filter(port: int, protocol: int, table: int) -> list[bpf.Step | str]:
    """Drops our own echoes, others' routes that are in other tables or replace nothing, and links of pods.

    Offsets are those of nlmsghdr (type 4, flags 6, port 12) and rtmsg (table 20, protocol 21).
    """
    return [
        bpf.word(12),
        bpf.equal(htonl(port), "drop"),
        bpf.half(4),
        bpf.equal(htons(RTM_NEWLINK), "link"),
        bpf.equal(htons(RTM_DELLINK), "link"),
        bpf.byte(21),
        bpf.equal(protocol, "keep"),
        bpf.half(4),
        bpf.equal(htons(RTM_NEWROUTE), "new"),
        bpf.equal(htons(RTM_DELROUTE), "table", otherwise="keep"),
        "link",
        *HEARD_LINKS,
        "new",
        bpf.half(6),
        bpf.has_bits(htons(NLM_F_REPLACE), otherwise="drop"),
        "table",
        bpf.byte(20),
        bpf.equal(table if table < 256 else RT_TABLE_COMPAT, otherwise="drop"),
        "keep",
        bpf.KEEP,
        "drop",
        bpf.DROP,
    ]
