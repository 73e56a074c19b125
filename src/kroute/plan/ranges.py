"""Sets of prefixes, and how a route's prefix stands to them: equal to one, part of one, or around one.

Prefixes are their NLRI bytes (see :mod:`kroute.model.net`). A full table is sieved by the first octets of each prefix,
which the interpreter does at the speed of C; only what is left is looked up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from operator import itemgetter
from typing import Final, NamedTuple

from kroute.model.net import Nlri

HEAD: Final = slice(1, 3)
"""The octets of an NLRI that the sieve looks at: the address' first two, or as many as the prefix has."""
HEAD_BITS: Final = 16
_head: Final = itemgetter(HEAD)
_WHOLE: Final = bytes((HEAD_BITS,))
_FEWEST: Final = 8
"""Prefixes from which on it pays to look at their octets column by column."""
_LENGTHS: Final = tuple(
    bytes(bits for bits in range(129) if 1 + ((bits + 7) >> 3) == octets) for octets in range(18)
)
"""Prefix lengths by the octets that an NLRI of that length takes."""


class _Cut(NamedTuple):
    """How NLRI bytes are cut to a length: its first octet, the octets that follow, and the mask of the last."""

    first: bytes
    octets: int
    mask: int


def _cut(length: int) -> _Cut:
    return _Cut(bytes((length,)), (length + 7) >> 3, 0xFF00 >> (length & 7 or 8) & 0xFF)


_CUTS: Final = tuple(_cut(length) for length in range(129))


def shortened(nlri: Nlri, length: int) -> Nlri:
    """The prefix of a length that covers a longer one."""
    first, octets, mask = _CUTS[length]
    if mask == 0xFF:
        return first + nlri[1 : octets + 1]
    return first + nlri[1:octets] + bytes((nlri[octets] & mask,))


class Ranges:
    """Prefixes of one family. A value: it never changes, and is made anew whenever a node comes or goes."""

    __slots__ = ("_exact", "_first", "_heads", "_lengths", "_order", "_second", "_sorted")

    def __init__(self, prefixes: Iterable[Nlri]) -> None:
        self._exact = frozenset(prefixes)
        self._lengths = tuple(sorted({p[0] for p in self._exact}, reverse=True))
        self._sorted = sorted(self._exact, key=lambda p: (p[1:], p[0]))
        """By address, then length: NLRI octets compare like the addresses that they begin."""
        self._order = [p[1:] for p in self._sorted]
        self._heads = frozenset(_heads(self._exact))
        self._first = _marks(head[:1] for head in self._heads)
        self._second = _marks(head[1:] for head in self._heads)

    def __len__(self) -> int:
        return len(self._exact)

    def holder(self, nlri: Nlri) -> Nlri | None:
        """The longest of these that a prefix is equal to or a part of."""
        if nlri in self._exact:
            return nlri
        length = nlri[0]
        for shorter in self._lengths:
            if shorter < length and (found := shortened(nlri, shorter)) in self._exact:
                return found
        return None

    def under(self, nlri: Nlri) -> Nlri | None:
        """The first of these that lie within a prefix and are longer than it."""
        length, place = nlri[0], bisect_left(self._order, nlri[1:])
        for found in islice(self._sorted, place, None):
            if found[0] > length:
                return found if shortened(found, length) == nlri else None
            if shortened(nlri, found[0]) != found:
                return None  # beyond it; else one of its own address that is shorter
        return None

    def related(self, nlris: Collection[Nlri]) -> list[Nlri]:
        """Those prefixes that are equal to, part of or around one of these."""
        heads = self._heads
        if len(nlris) >= _FEWEST and self._are_elsewhere(nlris):
            return []
        if heads.isdisjoint(map(_head, nlris)):
            return []
        return [
            nlri
            for nlri in nlris
            if nlri[HEAD] in heads
            and (self.holder(nlri) is not None or self.under(nlri) is not None)
        ]

    def _are_elsewhere(self, nlris: Collection[Nlri]) -> bool:
        """Whether the first two octets of each prefix, each octet by itself, say that it cannot be related. False where
        that is not certain, or the prefixes do not all take as many octets.
        """
        size = len(next(iter(nlris)))
        octets = b"".join(nlris)
        if size <= HEAD.stop - 1 or octets[::size].translate(None, _LENGTHS[size]):
            return False
        first, second = (
            octets[1::size].translate(self._first),
            octets[2::size].translate(self._second),
        )
        return not int.from_bytes(first, "big") & int.from_bytes(second, "big")


def _marks(octets: Iterable[bytes]) -> bytes:
    """For each octet 1 if it is among these, else 0."""
    among = set(octets)
    return bytes(bytes((octet,)) in among for octet in range(256))


def _heads(prefixes: Iterable[Nlri]) -> Iterator[bytes]:
    """The heads of prefixes, of all their parts, and of all that is around them."""
    # As few as there are different heads, however many prefixes.
    short = {p if p[0] < HEAD_BITS else _WHOLE + p[HEAD] for p in prefixes}
    for prefix in short:
        yield from _heads_within(prefix)
        for length in range(prefix[0]):
            yield shortened(prefix, length)[HEAD]


def _heads_within(prefix: Nlri) -> Iterator[bytes]:
    """The heads of a prefix no longer than a head, and of all its parts."""
    yield prefix[HEAD]
    length = prefix[0]
    for octets in range((length + 7) >> 3, HEAD_BITS // 8 + 1):
        bits = octets * 8 - length
        if bits > 0:
            start = int.from_bytes(prefix[1:].ljust(octets, b"\0")[:octets], "big")
            yield from ((start + i).to_bytes(octets, "big") for i in range(1 << bits))


NO_RANGES: Final = Ranges(())
