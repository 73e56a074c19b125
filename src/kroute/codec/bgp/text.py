"""Path attributes as an operator reads them.

The forms are those that BIRD, FRR and the RFCs have in common: an AS_PATH ``64512 {1,2}``, a community ``64512:100`` or
``no-export``, an extended community ``rt:64512:100``, a large one ``64512:1:2``.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from struct import unpack

from kroute.codec.bgp.names import Code, attribute_name
from kroute.model.bgp import AsSegment, Attributes, SegmentType
from kroute.model.net import address_of

WELL_KNOWN_COMMUNITIES = {
    0xFFFF0000: "graceful-shutdown",
    0xFFFF0001: "accept-own",
    0xFFFF0006: "llgr-stale",
    0xFFFF0007: "no-llgr",
    0xFFFF029A: "blackhole",
    0xFFFFFF01: "no-export",
    0xFFFFFF02: "no-advertise",
    0xFFFFFF03: "no-export-subconfed",
    0xFFFFFF04: "nopeer",
}
"""Names of IANA's well-known communities (RFC 1997, 3765, 7611, 7999, 8326, 9494)."""

_BRACKETS = {
    SegmentType.AS_SEQUENCE: ("", " ", ""),
    SegmentType.AS_SET: ("{", ",", "}"),
    SegmentType.AS_CONFED_SEQUENCE: ("(", " ", ")"),
    SegmentType.AS_CONFED_SET: ("[", ",", "]"),
}
_ROLES = {0x02: "rt", 0x03: "ro"}


def as_path_text(path: tuple[AsSegment, ...]) -> str:
    """``64512 64513 {1,2}``; confederation segments as ``(1 2)`` and ``[1,2]``; empty for our own AS."""
    return " ".join(_segment(s) for s in path)


def _segment(segment: AsSegment) -> str:
    before, between, after = _BRACKETS[segment.type]
    return before + between.join(map(str, segment.asns)) + after


def community_text(community: int) -> str:
    """``64512:100``, or the well-known name."""
    return WELL_KNOWN_COMMUNITIES.get(community, f"{community >> 16}:{community & 0xFFFF}")


def large_community_text(community: tuple[int, int, int]) -> str:
    """``64512:1:2`` (RFC 8092 §4)."""
    return ":".join(map(str, community))


def extended_community_text(community: bytes) -> str:
    """``rt:64512:100``, ``ro:192.0.2.1:5``, or the octets in hexadecimal (RFC 4360, 5668)."""
    kind, role = community[0] & 0x3F, _ROLES.get(community[1])
    if role is None or kind > 2:
        return f"0x{community.hex()}"
    if kind == 0:
        who, what = unpack(">HI", community[2:])
        return f"{role}:{who}:{what}"
    who, what = unpack(">IH", community[2:])
    return f"{role}:{IPv4Address(who) if kind == 1 else who}:{what}"


def router_id_text(value: bytes) -> str:
    """A 4-octet identifier (ORIGINATOR_ID, CLUSTER_LIST, AGGREGATOR) as dotted quad."""
    return str(IPv4Address(value))


def nexthop_text(attributes: Attributes) -> str:
    """The next hop, with the link-local one behind it if there is one; ``-`` for none."""
    both = (attributes.nexthop, attributes.link_local)
    return " ".join(str(address_of(a)) for a in both if a) or "-"


def render(attributes: Attributes) -> dict[str, str]:
    """The attributes that are there, by the name RFC 4271 gives them in lower case, in order of their codes."""
    a = attributes
    aggregator = (
        "" if a.aggregator is None else f"{a.aggregator[0]} {router_id_text(a.aggregator[1])}"
    )
    originator = "" if a.originator_id is None else router_id_text(a.originator_id)
    words = {
        Code.ORIGIN: a.origin.name.lower(),
        Code.AS_PATH: as_path_text(a.as_path),
        Code.NEXT_HOP: nexthop_text(a),
        Code.MULTI_EXIT_DISC: "" if a.med is None else str(a.med),
        Code.LOCAL_PREF: "" if a.local_pref is None else str(a.local_pref),
        Code.ATOMIC_AGGREGATE: "yes" if a.atomic_aggregate else "",
        Code.AGGREGATOR: aggregator,
        Code.COMMUNITIES: " ".join(map(community_text, a.communities)),
        Code.ORIGINATOR_ID: originator,
        Code.CLUSTER_LIST: " ".join(map(router_id_text, a.cluster_list)),
        Code.EXTENDED_COMMUNITIES: " ".join(map(extended_community_text, a.extended_communities)),
        Code.LARGE_COMMUNITY: " ".join(map(large_community_text, a.large_communities)),
    }
    always = (Code.ORIGIN, Code.AS_PATH, Code.NEXT_HOP)
    out = {code.name.lower(): text for code, text in words.items() if text or code in always}
    out.update((attribute_name(u.code), f"0x{u.value.hex()}") for u in a.unknown)
    return out
