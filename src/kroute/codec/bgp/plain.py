"""The quick way through the attribute blocks that nearly all routes have.

A block that begins with ORIGIN, AS_PATH and (for IPv4) NEXT_HOP, as every speaker writes it, is read in four
slices. What follows (MED, LOCAL_PREF, communities, reflection) is the same for most blocks of a peer, so it is
remembered as a whole, by its octets; new ones are read in one pass if their attributes are known, in ascending
order and free of errors. Any other block is left to :class:`~kroute.codec.bgp.attributes.AttributeReader`; a
property test holds that both ways agree.
"""

from __future__ import annotations

from kroute.codec.bgp.aspath import AsPath, MalformedPath, has_confederation, read_as_path
from kroute.codec.bgp.drafts import AttributesDraft, fresh_draft
from kroute.codec.bgp.multiprotocol import HOST
from kroute.codec.bgp.names import FLAGS, OPTIONAL_TRANSITIVE, PARTIAL
from kroute.codec.bgp.values import Handler, handlers_for
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

    __slots__ = ("_handlers", "_internal", "_paths", "_tails")

    def __init__(self, *, internal: bool) -> None:
        self._internal = internal
        self._paths: dict[bytes, AsPath] = {}
        self._tails: dict[bytes, Tail] = {b"": _NO_TAIL}
        self._handlers = _by_header(internal)

    def read(
        self, block: bytes, nexthop: bytes | None = None, link_local: bytes = b""
    ) -> Attributes | None:
        """The attributes of a block, or None if it is not plain.

        ``nexthop`` and ``link_local`` are given for a block whose MP_REACH_NLRI was cut out; then the block has no
        NEXT_HOP.
        """
        head = _HEADS.get(block[:6])
        if head is None or len(block) < 7:
            return None
        origin, start = head
        at = start + block[start - 1]
        path = self._paths.get(block[start:at])
        if path is None:
            path = self._path(block[start:at])
        if path is None or at > len(block) or (start == 8 and block[6]):
            return None
        if nexthop is None:
            nexthop = block[at + 3 : at + 7]
            if block[at : at + 3] != _NEXT_HOP or len(nexthop) != 4 or not HOST[nexthop[0]]:
                return None
            at += 7
        tail = self._tails.get(block[at:])
        if tail is None:
            tail = self._tail(block[at:])
            if tail is None:
                return None
        draft = AttributesDraft()
        draft.origin = origin
        draft.as_path = path
        draft.nexthop = nexthop
        draft.link_local = link_local
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

    def _tail(self, octets: bytes) -> Tail | None:
        """What stands behind NEXT_HOP; None if anything in it is not plain."""
        draft = fresh_draft()
        handlers = self._handlers
        at, last, size = 0, 3, len(octets)
        while at + 2 < size:
            code = octets[at + 1]
            handler = handlers.get(octets[at : at + 2])
            if handler is None or code <= last:
                return None
            last = code
            start = at + 3
            at = start + octets[at + 2]
            if handler(draft, octets[start:at]) is not None:
                return None
        return self._remember(octets, draft) if at == size else None

    def _remember(self, octets: bytes, a: AttributesDraft) -> Tail:
        """Keep a tail that was read."""
        if len(self._tails) >= _REMEMBERED:
            self._tails = {b"": _NO_TAIL}
        tail = self._tails[octets] = (
            a.med,
            a.local_pref,
            a.atomic_aggregate,
            a.aggregator,
            a.communities,
            a.extended_communities,
            a.large_communities,
            a.originator_id,
            a.cluster_list,
            (),
        )
        return tail

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


def _by_header(internal: bool) -> dict[bytes, Handler]:
    """Readers by the first two octets of an attribute: right flags, with or without Partial, and code."""
    found = {}
    for code, handler in handlers_for(asn4=True, internal=internal).items():
        flags = FLAGS[code]
        found[bytes((flags, code))] = handler
        if flags == OPTIONAL_TRANSITIVE:
            found[bytes((flags | PARTIAL, code))] = handler
    return found
