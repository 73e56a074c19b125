"""Reading a dump of routes: grouped by form, because a table has many prefixes and few ways to forward.

The kernel fills a datagram with hundreds of messages of one layout that differ in a few octets. Such a
datagram is cut into columns by :mod:`struct` at C speed; any other goes message by message.
"""

from __future__ import annotations

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

_LENGTHS = tuple(bytes((length,)) for length in range(129))
_OCTETS = tuple((length + 7) >> 3 for length in range(129))


class RouteDump:
    """Collects the datagrams that answer one dump request.

    ``routes`` holds the prefixes of each form; ``interrupted`` says that the table changed in between so that
    the dump must be repeated; ``refusal`` what the kernel had against the request.
    """

    def __init__(self, family: Family) -> None:
        self.routes: dict[RouteForm, list[Nlri]] = {}
        self.interrupted = False
        self.refusal: KernelError | None = None
        self._family = family
        self._size = family.bits >> 3
        self._destination = pack("=HH", 4 + self._size, RTA_DST)
        self._groups: dict[bytes, list[Nlri]] = {}

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
        if family is self._family:
            self.routes.setdefault(form, []).append(nlri)

    def _feed_columns(self, datagram: bytes) -> bool:
        """Take a datagram whose messages all have the layout of the first; false if they have not."""
        size = self._size
        if len(datagram) < 40 + size or datagram[36:40] != self._destination:
            return False
        length, kind, flags, _, _ = HEADER.unpack_from(datagram)
        if kind != RTM_NEWROUTE or length & 3 or length < 40 + size or len(datagram) % length:
            return False
        layout = Struct(f"=17sB22s{size}s{length - 40 - size}s")
        heads, lengths, fixed, addresses, tails = zip(*layout.iter_unpack(datagram), strict=True)
        if len(set(heads)) > 1 or len(set(fixed)) > 1 or max(lengths) > self._family.bits:
            return False
        if flags & NLM_F_DUMP_INTR:
            self.interrupted = True
        self._file(datagram, length, fixed[0], tails, self._nlris(lengths, addresses))
        return True

    @staticmethod
    def _nlris(lengths: tuple[int, ...], addresses: tuple[bytes, ...]) -> list[Nlri]:
        first = lengths[0]
        if lengths.count(first) == len(lengths):
            length, octets = _LENGTHS[first], _OCTETS[first]
            return [length + address[:octets] for address in addresses]
        pairs = zip(lengths, addresses, strict=True)
        return [_LENGTHS[length] + address[: _OCTETS[length]] for length, address in pairs]

    def _file(
        self,
        datagram: bytes,
        length: int,
        fixed: bytes,
        tails: tuple[bytes, ...],
        nlris: list[Nlri],
    ) -> None:
        """Append each prefix to the group of its tail, decoding only tails that are new."""
        groups = self._groups
        for index, tail in (
            enumerate(dict.fromkeys(tails)) if len(set(tails)) > 1 else ((0, tails[0]),)
        ):
            if fixed + tail not in groups:
                place = tails.index(tail) * length if index else 0
                _, _, form = decode_route(datagram[place + 16 : place + length])
                groups[fixed + tail] = self.routes.setdefault(form, [])
        if tails.count(tails[0]) == len(tails):
            groups[fixed + tails[0]].extend(nlris)
            return
        for tail, nlri in zip(tails, nlris, strict=True):
            groups[fixed + tail].append(nlri)
