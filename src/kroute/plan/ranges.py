"""Sets of prefixes, and how a route's prefix stands to them: equal to one, part of one, or around one.

Prefixes are their NLRI bytes (see :mod:`kroute.model.net`). A full table is sieved by the first octets of each prefix,
which the interpreter does at the speed of C; only what is left is looked up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from kroute.model.net import Nlri

HEAD: Final = slice(1, 3)
"""The octets of an NLRI that the sieve looks at: the address' first two, or as many as the prefix has."""
HEAD_BITS: Final = 16


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
    """Prefixes of one family. A value: it never changes."""

    __slots__ = ("_exact", "_heads", "_lengths", "_under")

    def __init__(self, prefixes: Iterable[Nlri]) -> None:
        self._exact = frozenset(prefixes)
        self._lengths = tuple(sorted({p[0] for p in self._exact}, reverse=True))
        self._under: dict[Nlri, Nlri] = {}
        """Every prefix that is around one of these, and the first of those under it."""
        heads: set[bytes] = set()
        for prefix in sorted(self._exact, key=lambda p: (p[1:], p[0])):
            heads.update(_heads_within(prefix))
            for length in range(prefix[0] - 1, -1, -1):
                around = shortened(prefix, length)
                if around in self._under:
                    break  # then all that are around it are known, too
                self._under[around] = prefix
        self._heads = frozenset(heads | {p[HEAD] for p in self._under})

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
        return self._under.get(nlri)

    def related(self, nlris: Iterable[Nlri]) -> list[Nlri]:
        """Those prefixes that are equal to, part of or around one of these."""
        heads = self._heads
        return [
            nlri
            for nlri in nlris
            if nlri[HEAD] in heads and (nlri in self._under or self.holder(nlri) is not None)
        ]


NO_RANGES: Final = Ranges(())


def _heads_within(prefix: Nlri) -> Iterator[bytes]:
    """The heads of a prefix and of all its parts."""
    yield prefix[HEAD]
    length = prefix[0]
    for octets in range((length + 7) >> 3, HEAD_BITS // 8 + 1):
        bits = octets * 8 - length
        if bits <= 0:
            continue
        start = int.from_bytes(prefix[1:].ljust(octets, b"\0")[:octets], "big")
        yield from ((start + i).to_bytes(octets, "big") for i in range(1 << bits))
