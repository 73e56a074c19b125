"""An AS_PATH as text: what people read, and what regular expressions of policies are matched against."""

from __future__ import annotations

from typing import Final

from kroute.model.bgp import AsSegment, SegmentType

_BRACKETS: Final = {
    SegmentType.AS_SEQUENCE: ("", " ", ""),
    SegmentType.AS_SET: ("{", ",", "}"),
    SegmentType.AS_CONFED_SEQUENCE: ("(", " ", ")"),
    SegmentType.AS_CONFED_SET: ("[", ",", "]"),
}


def as_path_text(path: tuple[AsSegment, ...]) -> str:
    """``64512 64513 {1,2}``; confederation segments as ``(1 2)`` and ``[1,2]``; empty for our own AS."""
    return " ".join(_segment(s) for s in path)


def _segment(segment: AsSegment) -> str:
    before, between, after = _BRACKETS[segment.type]
    return before + between.join(map(str, segment.asns)) + after
