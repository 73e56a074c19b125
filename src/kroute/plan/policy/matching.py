"""What a rule matches, compiled: conditions on the attribute block, asked once for it, and on the prefix.

All values: equal conditions compare equal, so that peers of equal rules share one Adj-RIB-Out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from kroute.model.aspath import as_path_text
from kroute.model.bgp import Attributes, SegmentType
from kroute.model.communities import CommunityPattern
from kroute.model.net import Family, Nlri
from kroute.model.policies import OriginClass, OriginState

Entry = tuple[Family, Nlri, int, int]
"""A prefix, and the shortest and longest length that may be within it."""


@dataclass(frozen=True, slots=True)
class PrefixSet:
    """Prefixes with the lengths that may be within each."""

    entries: tuple[Entry, ...]
    _index: dict[Family, dict[int, dict[bytes, tuple[tuple[int, int], ...]]]] = field(
        init=False, repr=False, compare=False
    )
    """By family and length of the entry: its bits, and the ranges of length."""

    def __post_init__(self) -> None:
        index: dict[Family, dict[int, dict[bytes, tuple[tuple[int, int], ...]]]]
        index = {f: {} for f in Family}
        for family, nlri, least, most in self.entries:
            bits = index[family].setdefault(nlri[0], {})
            bits[nlri[1:]] = (*bits.get(nlri[1:], ()), (least, most))
        object.__setattr__(self, "_index", index)

    def holds(self, family: Family, nlri: Nlri) -> bool:
        """Whether a prefix is in the set. Costs a look for each length that entries have, not for each entry."""
        length = nlri[0]
        for size, bits in self._index[family].items():
            if size > length:
                continue
            for least, most in bits.get(_first(nlri, size), ()):
                if least <= length <= most:
                    return True
        return False


def _first(nlri: Nlri, size: int) -> bytes:
    """The first bits of a prefix that has at least so many, the rest of the last octet zero."""
    whole, rest = size >> 3, size & 7
    if not rest:
        return nlri[1 : 1 + whole]
    return nlri[1 : 1 + whole] + bytes((nlri[1 + whole] & (0xFF00 >> rest) & 0xFF,))


@dataclass(frozen=True, slots=True, kw_only=True)
class AsPathTest:
    """Conditions on the AS path; all must hold."""

    contains: frozenset[int] = frozenset()
    origin: frozenset[int] = frozenset()
    least: int = 0
    most: int | None = None
    regex: re.Pattern[str] | None = None

    def holds(self, attributes: Attributes) -> bool:
        """Whether a block's AS path meets them."""
        length = attributes.as_path_length
        if length < self.least or (self.most is not None and length > self.most):
            return False
        path = attributes.as_path
        if self.contains and not any(self.contains.intersection(s.asns) for s in path):
            return False
        if self.origin and not self.origin.intersection(_originators(attributes)):
            return False
        return self.regex is None or self.regex.search(as_path_text(path)) is not None


def _originators(attributes: Attributes) -> Iterable[int]:
    """The AS that a path ends with; all of them where it ends with an AS_SET."""
    if not attributes.as_path:
        return ()
    last = attributes.as_path[-1]
    ordered = last.type in (SegmentType.AS_SEQUENCE, SegmentType.AS_CONFED_SEQUENCE)
    return last.asns[-1:] if ordered else last.asns


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTest:
    """What is asked once for an attribute block."""

    family: Family | None = None
    communities: tuple[CommunityPattern, ...] = ()
    as_path: AsPathTest | None = None
    nexthops: PrefixSet | None = None

    def holds(self, family: Family, attributes: Attributes) -> bool:
        """Whether a block of prefixes of a family meets all conditions."""
        if self.family is not None and family is not self.family:
            return False
        if self.communities and not self._has_community(attributes):
            return False
        if self.as_path is not None and not self.as_path.holds(attributes):
            return False
        return self.nexthops is None or _holds_address(self.nexthops, attributes.nexthop)

    def _has_community(self, attributes: Attributes) -> bool:
        standard, large = attributes.communities, attributes.large_communities
        extended = attributes.extended_communities
        if not (standard or extended or large):
            return False
        return any(pattern.among(standard, extended, large) for pattern in self.communities)


def _holds_address(prefixes: PrefixSet, address: bytes) -> bool:
    if not address:
        return False
    family = Family.IPV4 if len(address) == 4 else Family.IPV6
    return prefixes.holds(family, bytes((len(address) << 3,)) + address)


class Place(NamedTuple):
    """What is asked for each prefix."""

    family: Family
    nlri: Nlri
    kind: OriginClass
    state: OriginState


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceTest:
    """Conditions on the single prefix."""

    prefixes: PrefixSet | None = None
    kinds: frozenset[OriginClass] = frozenset()
    states: frozenset[OriginState] = frozenset()

    @property
    def is_open(self) -> bool:
        """Whether nothing is asked."""
        return self.prefixes is None and not self.kinds and not self.states

    def holds(self, place: Place) -> bool:
        """Whether a prefix meets all conditions."""
        if self.kinds and place.kind not in self.kinds:
            return False
        if self.states and place.state not in self.states:
            return False
        return self.prefixes is None or self.prefixes.holds(place.family, place.nlri)
