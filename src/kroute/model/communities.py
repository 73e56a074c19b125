"""Communities as people write them: ``64512:100``, ``64512:1:2`` or a well-known name (RFC 1997, 8092)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

WELL_KNOWN: Final[dict[str, int]] = {
    "graceful-shutdown": 0xFFFF0000,
    "accept-own": 0xFFFF0001,
    "llgr-stale": 0xFFFF0006,
    "no-llgr": 0xFFFF0007,
    "blackhole": 0xFFFF029A,
    "no-export": 0xFFFFFF01,
    "no-advertise": 0xFFFFFF02,
    "no-export-subconfed": 0xFFFFFF03,
    "nopeer": 0xFFFFFF04,
}
"""Names of IANA's well-known communities (RFC 1997, 3765, 7611, 7999, 8326, 9494)."""

GRACEFUL_SHUTDOWN: Final = WELL_KNOWN["graceful-shutdown"]
"""RFC 8326: receivers that know it prefer any other path."""


class Communities(NamedTuple):
    """Standard and large communities, sorted, each once."""

    standard: tuple[int, ...] = ()
    large: tuple[tuple[int, int, int], ...] = ()

    def __or__(self, other: object) -> Communities:
        """Those of both."""
        if not isinstance(other, Communities):
            return NotImplemented
        return Communities(
            tuple(sorted({*self.standard, *other.standard})),
            tuple(sorted({*self.large, *other.large})),
        )


def read_communities(texts: Iterable[str]) -> Communities:
    """The communities that texts name.

    Raises:
        ValueError: one is none; says which and what is expected.
    """
    standard: set[int] = set()
    large: set[tuple[int, int, int]] = set()
    for text in texts:
        parts = text.strip().split(":")
        known = WELL_KNOWN.get(text.strip().lower())
        if known is not None:
            standard.add(known)
        elif len(parts) == 2 and all(map(_is_16_bit, parts)):
            standard.add(int(parts[0]) << 16 | int(parts[1]))
        elif len(parts) == 3 and all(map(_is_32_bit, parts)):
            large.add((int(parts[0]), int(parts[1]), int(parts[2])))
        else:
            raise ValueError(
                f"expected a community such as 64512:100, 64512:1:2 or no-export, got {text[:60]!r}"
            )
    return Communities(tuple(sorted(standard)), tuple(sorted(large)))


def _is_16_bit(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 6 and int(text) < 1 << 16


def _is_32_bit(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 11 and int(text) < 1 << 32
