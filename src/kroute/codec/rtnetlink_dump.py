"""Reading a dump of routes: grouped by form, because a table has many prefixes and few ways to forward.

The kernel fills a datagram with hundreds of messages of one layout that differ in a few octets. Such a
datagram is cut into columns by :mod:`struct` at C speed; any other goes message by message.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct, pack

from kroute.codec.rtnetlink import (
    HEADER,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    RTM_NEWROUTE,
    KernelError,
    error_of,
    messages,
)
from kroute.codec.rtnetlink_route import RTA_DST, RouteForm, decode_route
from kroute.model.net import Family, Nlri

_FRONT = 40
"""Octets before the address: nlmsghdr 16, rtmsg 12, RTA_TABLE 8, the header of RTA_DST 4."""


class RouteDump:
    """Collects the datagrams that answer one dump request.

    ``routes`` holds the prefixes of each form; ``interrupted`` says that the table changed in between so that
    the dump must be repeated; ``refusal`` what the kernel had against the request. Routes of forms that are
    not ``wanted`` are passed over.
    """

    def __init__(
        self, family: Family, wanted: Callable[[RouteForm], bool] = lambda _form: True
    ) -> None:
        self.routes: dict[RouteForm, list[Nlri]] = {}
        self.interrupted = False
        self.refusal: KernelError | None = None
        self._family, self._wanted = family, wanted
        self._size = family.bits >> 3
        self._destination = pack("=HH", 4 + self._size, RTA_DST)
        self._groups: dict[bytes, tuple[list[Nlri] | None, int]] = {}

    def feed(self, datagram: bytes) -> bool:
        """Take one datagram; true when the dump has ended.

        Raises:
            MalformedMessage: a message is not what linux/rtnetlink.h promises; the dump is then worthless.
        """
        if self._feed_columns(datagram):
            return False
        for message in messages(datagram):
            if message.flags & NLM_F_DUMP_INTR:
                self.interrupted = True
            if message.kind == RTM_NEWROUTE:
                self._add(message.body)
            elif message.kind in (NLMSG_DONE, NLMSG_ERROR):
                said = error_of(message)
                self.refusal = said if said.errno else None
                return True
        return False

    def _add(self, body: bytes) -> None:
        family, nlri, form = decode_route(body)
        if family is self._family and self._wanted(form):
            self.routes.setdefault(form, []).append(nlri)

    def _feed_columns(self, datagram: bytes) -> bool:
        """Take a datagram whose messages all have the layout of the first; false if they have not.

        A message is its front (headers, RTA_TABLE, header of RTA_DST), the address, and the other attributes.
        """
        size = self._size
        if len(datagram) < _FRONT + size or datagram[_FRONT - 4 : _FRONT] != self._destination:
            return False
        length, kind, flags, _, _ = HEADER.unpack_from(datagram)
        rest = length - _FRONT - size
        if kind != RTM_NEWROUTE or length & 3 or rest < 0 or len(datagram) % length:
            return False
        layout = Struct(f"={_FRONT}s{size}s{rest}s")
        fronts, addresses, tails = zip(*layout.iter_unpack(datagram), strict=True)
        # Equal netlink headers prove that every message begins where the columns say.
        if len({front[:17] + front[_FRONT - 4 :] for front in set(fronts)}) > 1:
            return False
        if flags & NLM_F_DUMP_INTR:
            self.interrupted = True
        if len(set(fronts)) == 1 and len(set(tails)) == 1:
            group, octets = self._group(fronts[0], addresses[0], tails[0])
            plen = fronts[0][17:18]
            if group is not None:
                group += [plen + address[:octets] for address in addresses]
            return True
        for front, address, tail in zip(fronts, addresses, tails, strict=True):
            group, octets = self._groups.get(front + tail) or self._group(front, address, tail)
            if group is not None:
                group.append(front[17:18] + address[:octets])
        return True

    def _group(self, front: bytes, address: bytes, tail: bytes) -> tuple[list[Nlri] | None, int]:
        """Where prefixes of messages with this front and tail go, and how many octets they have."""
        if (found := self._groups.get(front + tail)) is None:
            _, nlri, form = decode_route(front[16:] + address + tail)
            group = self.routes.setdefault(form, []) if self._wanted(form) else None
            found = self._groups[front + tail] = group, len(nlri) - 1
        return found
