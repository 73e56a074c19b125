"""Attribute codes and flags, and which flags each code must have (RFC 4271 §4.3, IANA "BGP Path Attributes")."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """Attribute type codes that kroute interprets."""

    ORIGIN = 1
    AS_PATH = 2
    NEXT_HOP = 3
    MULTI_EXIT_DISC = 4
    LOCAL_PREF = 5
    ATOMIC_AGGREGATE = 6
    AGGREGATOR = 7
    COMMUNITIES = 8
    ORIGINATOR_ID = 9
    CLUSTER_LIST = 10
    MP_REACH_NLRI = 14
    MP_UNREACH_NLRI = 15
    EXTENDED_COMMUNITIES = 16
    AS4_PATH = 17
    AS4_AGGREGATOR = 18
    LARGE_COMMUNITY = 32


OPTIONAL = 0x80
TRANSITIVE = 0x40
PARTIAL = 0x20
EXTENDED_LENGTH = 0x10

WELL_KNOWN = TRANSITIVE
OPTIONAL_TRANSITIVE = OPTIONAL | TRANSITIVE
OPTIONAL_NON_TRANSITIVE = OPTIONAL

FLAGS: dict[int, int] = {
    Code.ORIGIN: WELL_KNOWN,
    Code.AS_PATH: WELL_KNOWN,
    Code.NEXT_HOP: WELL_KNOWN,
    Code.MULTI_EXIT_DISC: OPTIONAL_NON_TRANSITIVE,
    Code.LOCAL_PREF: WELL_KNOWN,
    Code.ATOMIC_AGGREGATE: WELL_KNOWN,
    Code.AGGREGATOR: OPTIONAL_TRANSITIVE,
    Code.COMMUNITIES: OPTIONAL_TRANSITIVE,
    Code.ORIGINATOR_ID: OPTIONAL_NON_TRANSITIVE,
    Code.CLUSTER_LIST: OPTIONAL_NON_TRANSITIVE,
    Code.MP_REACH_NLRI: OPTIONAL_NON_TRANSITIVE,
    Code.MP_UNREACH_NLRI: OPTIONAL_NON_TRANSITIVE,
    Code.EXTENDED_COMMUNITIES: OPTIONAL_TRANSITIVE,
    Code.AS4_PATH: OPTIONAL_TRANSITIVE,
    Code.AS4_AGGREGATOR: OPTIONAL_TRANSITIVE,
    Code.LARGE_COMMUNITY: OPTIONAL_TRANSITIVE,
}
"""The Optional and Transitive bits that each known attribute must have."""


def attribute_name(code: int) -> str:
    """The attribute's name as the RFCs write it, or ``attribute 99``."""
    return Code(code).name if code in FLAGS else f"attribute {code}"
