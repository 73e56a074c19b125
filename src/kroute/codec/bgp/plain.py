"""The quick way through the attribute blocks that nearly all routes have.

A block that begins with ORIGIN, AS_PATH and NEXT_HOP, as every speaker writes it for IPv4, is read in four
slices. What follows (MED, LOCAL_PREF, communities, reflection) is the same for most blocks of a peer, so it
is remembered as a whole, by its octets, once a block that ends in it was read the careful way and was found
free of errors. Any other block is left to :class:`~kroute.codec.bgp.attributes.AttributeReader`; a property
test holds that both ways agree.
"""

from __future__ import annotations

from kroute.codec.bgp.aspath import AsPath, MalformedPath, has_confederation, read_as_path
from kroute.codec.bgp.drafts import AttributesDraft
from kroute.codec.bgp.multiprotocol import HOST
from kroute.model.bgp import Attributes, Origin, Unknown

_HEADS = {
    bytes((0x40, 1, 1, origin, flags, 2)): (origin, start)
    for origin in Origin
    for flags, start in ((0x40, 7), (0x50, 8))
}
"""ORIGIN and the first two octets of AS_PATH, with one or two octets of length: origin, and where its value starts."""

_NEXT_HOP = b"\x40\x03\x04"
_REMEMBERED = 1024

Tail = tuple[
    int | None,
    int | None,
    bool,
    tuple[int, bytes] | None,
    tuple[int, ...],
    tuple[bytes, ...],
    tuple[tuple[int, int, int], ...],
    bytes | None,
    tuple[bytes, ...],
    tuple[Unknown, ...],
]
"""All fields of :class:`Attributes` that can stand behind NEXT_HOP, in their order."""

_NO_TAIL: Tail = (None, None, False, None, (), (), (), None, (), ())


class PlainReader:
    """Reads plain blocks of one session with 4-octet AS numbers; ``internal``: the peer is in our own AS."""

    __slots__ = ("_internal", "_paths", "_tails")

    def __init__(self, *, internal: bool) -> None:
        self._internal = internal
        self._paths: dict[bytes, AsPath] = {}
        self._tails: dict[bytes, Tail] = {b"": _NO_TAIL}

    def read(self, block: bytes) -> Attributes | None:
        """The attributes of a block, or None if it is not plain or its tail is not known yet."""
        head = _HEADS.get(block[:6])
        if head is None or len(block) < 14:
            return None
        origin, start = head
        end = start + block[start - 1]
        at = end + 7
        path = self._paths.get(block[start:end])
        if path is None:
            path = self._path(block[start:end])
        nexthop = block[end + 3 : at]
        tail = self._tails.get(block[at:])
        if tail is None or path is None or block[end : end + 3] != _NEXT_HOP:
            return None
        if len(nexthop) != 4 or not HOST[nexthop[0]] or (start == 8 and block[6]):
            return None
        draft = AttributesDraft()
        draft.origin = origin
        draft.as_path = path
        draft.nexthop = nexthop
        draft.link_local = b""
        (
            draft.med,
            draft.local_pref,
            draft.atomic_aggregate,
            draft.aggregator,
            draft.communities,
            draft.extended_communities,
            draft.large_communities,
            draft.originator_id,
            draft.cluster_list,
            draft.unknown,
        ) = tail
        return draft.freeze()

    def remember(self, block: bytes, a: Attributes) -> None:
        """Keep the tail of a block that the careful way has read as ``a`` without finding any error."""
        head = _HEADS.get(block[:6])
        if head is None:
            return
        start = head[1]
        end = start + block[start - 1]
        if (start == 8 and block[6]) or block[end : end + 3] != _NEXT_HOP:
            return
        if len(self._tails) >= _REMEMBERED:
            self._tails = {b"": _NO_TAIL}
        self._tails[block[end + 7 :]] = (
            a.med,
            a.local_pref,
            a.atomic_aggregate,
            a.aggregator,
            a.communities,
            a.extended_communities,
            a.large_communities,
            a.originator_id,
            a.cluster_list,
            a.unknown,
        )

    def _path(self, value: bytes) -> AsPath | None:
        """An AS_PATH that was not met lately; None if it is malformed."""
        try:
            path = read_as_path(value, 4)
        except MalformedPath:
            return None
        if not self._internal and has_confederation(path):
            return None
        if len(self._paths) >= _REMEMBERED:
            self._paths.clear()
        self._paths[value] = path
        return path
