"""NLRI fields: many prefixes in one run of octets (RFC 4271 §4.3), read and packed at the speed of C.

A prefix is its own key (:data:`kroute.model.net.Nlri`): the octet of length and then only as many octets as
it needs, unused bits zero. RFC 4271 calls the unused bits irrelevant, so they are zeroed here and two
spellings are one key.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from struct import unpack

from kroute.codec.bgp.problems import Subcode, UpdateError
from kroute.model.net import Family, Nlri

UNUSED = bytes((0xFF >> (bits & 7)) if bits & 7 else 0 for bits in range(256))
"""For each prefix length the mask of unused bits in the last octet."""

_PATH_ID = 4
"""Octets of a path identifier (RFC 7911 §3)."""

IPV4_SIZE = bytes(1 + ((bits + 7) >> 3) if bits <= 32 else 0 for bits in range(256))
"""Octets of an IPv4 NLRI by its prefix length; 0 where the length is not valid."""

IPV6_SIZE = bytes(1 + ((bits + 7) >> 3) if bits <= 128 else 0 for bits in range(256))
"""Octets of an IPv6 NLRI by its prefix length; 0 where the length is not valid."""


def _pattern(octets: Sequence[int]) -> re.Pattern[bytes]:
    """A pattern that matches one NLRI; sizes are tried in the order of ``octets``."""
    alternatives = [rb"[\x%02x-\x%02x].{%d}" % (8 * n - 7, 8 * n, n) for n in octets]
    return re.compile(b"|".join([*alternatives, rb"\x00"]), re.DOTALL)


_FIELDS = {
    Family.IPV4: (IPV4_SIZE, _pattern((3, 4, 2, 1))),
    Family.IPV6: (IPV6_SIZE, _pattern((8, 6, 16, 7, 5, 4, *range(9, 16), 3, 2, 1))),
}


def read_nlri(family: Family, field: bytes) -> list[Nlri]:
    """All prefixes of an NLRI field as canonical keys, in order.

    Raises:
        UpdateError: a length is above the family's bits, or the field ends inside a prefix (RFC 7606 §5.3).
    """
    if not field:
        return []
    sizes, pattern = _FIELDS[family]
    bits = field[0]
    size = sizes[bits]
    if len(field) == size and not field[-1] & UNUSED[bits]:
        return [field]
    if size and not UNUSED[bits]:
        count, rest = divmod(len(field), size)
        if not rest and field[::size] == field[:1] * count:  # all of one length, as podCIDRs are
            return list(unpack(b"%ds" % size * count, field))
    found: list[Nlri] = pattern.findall(field)
    if b"".join(found) != field:
        raise _unreadable(family, field, sizes)
    unused = UNUSED
    for position, nlri in enumerate(found):
        if nlri[-1] & unused[nlri[0]]:
            found[position] = canonical(nlri)
    return found


def read_path_nlri(family: Family, field: bytes) -> list[bytes]:
    """All prefixes of an NLRI field with path identifiers (RFC 7911 §3), each as 4 octets and a canonical key.

    Raises:
        UpdateError: a length is above the family's bits, or the field ends inside an identifier or prefix.
    """
    sizes, _ = _FIELDS[family]
    found: list[bytes] = []
    at, end = 0, len(field)
    while at < end:
        start = at + _PATH_ID
        size = sizes[field[start]] if start < end else 0
        if not size or start + size > end:
            words = f"{family.label} NLRI field with path identifiers cannot be read at octet {at}"
            raise UpdateError(Subcode.INVALID_NETWORK, words, "RFC 7911 §3, RFC 7606 §5.3")
        found.append(field[at:start] + canonical(field[start : start + size]))
        at = start + size
    return found


def canonical(nlri: bytes) -> Nlri:
    """The NLRI with its unused bits zero."""
    last = nlri[-1] & ~UNUSED[nlri[0]]
    return nlri[:-1] + bytes((last,)) if len(nlri) > 1 else nlri


def _unreadable(family: Family, field: bytes, sizes: bytes) -> UpdateError:
    """Say where a field that cannot be read goes wrong."""
    at = 0
    while at < len(field) and sizes[field[at]] and at + sizes[field[at]] <= len(field):
        at += sizes[field[at]]
    bits = field[at]
    reason = (
        f"{family.label} prefix of length /{bits}"
        if not sizes[bits]
        else f"NLRI field ends inside a prefix of length /{bits}"
    )
    return UpdateError(Subcode.INVALID_NETWORK, reason, "RFC 7606 §5.3")


def pack_nlri(nlris: Sequence[Nlri], room: int) -> list[bytes]:
    """The prefixes joined into as few fields as fit, each of at most ``room`` octets.

    Raises:
        ValueError: ``room`` is less than the longest prefix needs.
    """
    ends = list(accumulate(map(len, nlris)))
    if not ends:
        return []
    if ends[-1] <= room:
        return [b"".join(nlris)]
    return _split(nlris, ends, room)


def _split(nlris: Sequence[Nlri], ends: list[int], room: int) -> list[bytes]:
    """Cut greedily: ``ends`` are the running sums of the prefixes' sizes."""
    fields = []
    start = done = 0
    while start < len(ends):
        stop = bisect_right(ends, done + room, start)
        if stop == start:
            raise ValueError(f"no room for a prefix in {room} octets")
        fields.append(b"".join(nlris[start:stop]))
        start, done = stop, ends[stop - 1]
    return fields
