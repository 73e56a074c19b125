"""AS_PATH and AS4_PATH: octets ↔ segments, and how a 2-octet session carries 4-octet AS numbers.

RFC 4271 §4.3 b, RFC 5065 (confederations), RFC 6793 (four-octet AS numbers), RFC 7607 (AS 0).
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct, pack, unpack_from

from kroute.codec.bgp.drafts import make_segment
from kroute.model.bgp import AsSegment, SegmentType

AS_TRANS = 23456
"""Stands for an AS number that two octets cannot hold (RFC 6793 §9)."""

AsPath = tuple[AsSegment, ...]

_SEQUENCE = SegmentType.AS_SEQUENCE
_TYPES: dict[int, SegmentType] = {int(t): t for t in SegmentType}
_CONFEDERATION = (SegmentType.AS_CONFED_SEQUENCE, SegmentType.AS_CONFED_SET)
_SHORT = 16
_READ4: tuple[Callable[[bytes, int], tuple[int, ...]], ...] = tuple(
    Struct(f">{count}I").unpack_from for count in range(_SHORT)
)


class MalformedPath(ValueError):
    """The octets are no AS_PATH (RFC 7606 §7.2); the text says why."""


def read_as_path(value: bytes, asn_size: int) -> AsPath:
    """The segments of an AS_PATH whose AS numbers have ``asn_size`` octets (2 or 4).

    Raises:
        MalformedPath: unknown or empty segment, overrun, or AS 0 (RFC 7606 §7.2, RFC 7607 §2).
    """
    size = len(value)
    if asn_size == 4 and size > 2 and value[0] == 2:
        count = value[1]
        if (
            size == 2 + 4 * count and count < _SHORT
        ):  # one short sequence: nearly every path there is
            asns = _READ4[count](value, 2)
            if 0 in asns:
                raise MalformedPath("AS 0")
            return (make_segment(_SEQUENCE, asns),)
    return tuple(_segments(value, asn_size))


def _segments(value: bytes, asn_size: int) -> list[AsSegment]:
    """Read segment by segment."""
    at, size, segments = 0, len(value), []
    letter = "I" if asn_size == 4 else "H"
    while at < size:
        if at + 2 > size:
            raise MalformedPath("ends inside a segment header")
        kind, count = _TYPES.get(value[at]), value[at + 1]
        if kind is None:
            raise MalformedPath(f"segment type {value[at]}")
        if not count:
            raise MalformedPath("empty segment")
        if at + 2 + asn_size * count > size:
            raise MalformedPath(f"ends inside a segment of {count} AS numbers")
        asns = unpack_from(f">{count}{letter}", value, at + 2)
        if 0 in asns:
            raise MalformedPath("AS 0")
        segments.append(AsSegment(kind, asns))
        at += 2 + asn_size * count
    return segments


def has_confederation(path: AsPath) -> bool:
    """Whether the path has segments of a confederation (RFC 5065)."""
    for segment in path:  # noqa: SIM110  a generator costs four times as much, and this is asked of every new path
        if segment.type in _CONFEDERATION:
            return True
    return False


def write_as_path(path: AsPath, asn_size: int) -> bytes:
    """The octets of a path; numbers too great for 2 octets become AS_TRANS, segments above 255 are split."""
    letter = "I" if asn_size == 4 else "H"
    out = []
    for segment in path:
        asns = segment.asns
        if asn_size == 2:
            asns = tuple(a if a <= 0xFFFF else AS_TRANS for a in asns)
        for start in range(0, len(asns), 255):
            part = asns[start : start + 255]
            out.append(pack(f">BB{len(part)}{letter}", segment.type, len(part), *part))
    return b"".join(out)


def needs_as4_path(path: AsPath) -> bool:
    """Whether a 2-octet session needs AS4_PATH beside AS_PATH (RFC 6793 §4.2.2)."""
    return any(a > 0xFFFF for s in path for a in s.asns)


def without_confederation(path: AsPath) -> AsPath:
    """The path as AS4_PATH may carry it (RFC 6793 §3: no confederation segments)."""
    return tuple(s for s in path if s.type not in _CONFEDERATION)


def merge_as4_path(path: AsPath, as4_path: AsPath) -> AsPath:
    """The true path from AS_PATH and AS4_PATH of a 2-octet session (RFC 6793 §4.2.3).

    The leading part that AS4_PATH lacks (added by 2-octet speakers) comes from AS_PATH. An AS4_PATH that is
    longer than AS_PATH is ignored.
    """
    missing = _length(path) - _length(as4_path)
    if missing < 0:
        return path
    return _join(_leading(path, missing), as4_path)


def _length(path: AsPath) -> int:
    """Number of AS numbers as RFC 4271 §9.1.2.2 a and RFC 5065 §5.3 count them."""
    return sum(_weight(s) for s in path)


def _weight(segment: AsSegment) -> int:
    """What a segment counts: a sequence its numbers, a set 1, a confederation's segment 0."""
    if segment.type is _SEQUENCE:
        return len(segment.asns)
    return 1 if segment.type is SegmentType.AS_SET else 0


def _leading(path: AsPath, count: int) -> AsPath:
    """The first ``count`` numbers of a path, and the confederation segments before and between them."""
    out: list[AsSegment] = []
    for segment in path:
        weight = _weight(segment)
        if weight and not count:
            break
        if weight > count:
            out.append(AsSegment(segment.type, segment.asns[:count]))
            break
        out.append(segment)
        count -= weight
    return tuple(out)


def _join(head: AsPath, tail: AsPath) -> AsPath:
    """Both parts in one path; two sequences that meet become one if one segment can hold them."""
    if head and tail and head[-1].type is _SEQUENCE and tail[0].type is _SEQUENCE:
        asns = head[-1].asns + tail[0].asns
        if len(asns) <= 255:
            return (*head[:-1], AsSegment(_SEQUENCE, asns), *tail[1:])
    return head + tail
