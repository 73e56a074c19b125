"""Routes with every kind of attribute, given to real daemons: live in interop, recorded in contract tests."""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack

from kroute.codec.bgp import encode_updates, end_of_rib
from kroute.model.bgp import AsSegment, Attributes, Origin, SegmentType, Unknown
from kroute.model.net import Family
from support.bgp_bytes import V4, V6, address, nlri
from support.bgp_peers import INJECTOR

SEQ, SET = SegmentType.AS_SEQUENCE, SegmentType.AS_SET
HOP4, HOP6 = address(INJECTOR[4]), address(INJECTOR[6])
OUTSIDE = AsSegment(SEQ, (65001, 70001))


@dataclass(frozen=True, kw_only=True)
class Case:
    """A route as it is announced to the daemon."""

    prefix: str
    attributes: Attributes

    @property
    def family(self) -> Family:
        """The family of the prefix."""
        return V6 if ":" in self.prefix else V4


def _route(prefix: str, **attributes) -> Case:
    hop = HOP6 if ":" in prefix else HOP4
    given = {"nexthop": hop, "local_pref": 100, **attributes}
    return Case(prefix=prefix, attributes=Attributes(**given))


CASES = {
    "plain": _route("10.1.0.0/24"),
    "path": _route("10.1.1.0/24", as_path=(OUTSIDE,), origin=Origin.EGP),
    "set": _route("10.1.2.0/23", as_path=(OUTSIDE, AsSegment(SET, (65010, 70011)))),
    "preference": _route("10.1.4.0/24", med=50, local_pref=250, origin=Origin.INCOMPLETE),
    "communities": _route("10.1.5.0/24", communities=(64512 << 16 | 7, 64512 << 16 | 300)),
    "large": _route("10.1.6.0/25", large_communities=((64512, 1, 2), (70001, 4294967295, 0))),
    "extended": _route(
        "10.1.7.0/24",
        extended_communities=(
            bytes((0, 2)) + pack(">HI", 64512, 100),
            bytes((1, 2)) + address("192.0.2.9") + b"\0\5",
            bytes((2, 2)) + pack(">IH", 70001, 9),
        ),
    ),
    "aggregate": _route(
        "10.0.0.0/8",
        as_path=(OUTSIDE,),
        atomic_aggregate=True,
        aggregator=(70001, address("192.0.2.9")),
    ),
    "unknown": _route("10.1.8.7/32", unknown=(Unknown(flags=0xE0, code=99, value=b"hello"),)),
    "ipv6": _route("2001:db8:100::/48", as_path=(OUTSIDE,), med=7),
    "ipv6 default": _route("::/0"),
    "ipv6 communities": _route(
        "2001:db8:101::/56", communities=(64512 << 16 | 7,), large_communities=((64512, 1, 2),)
    ),
}
"""By name; IPv4 with an IPv4 next hop."""

OVER_IPV6 = {"ipv4 over ipv6": _route("10.2.0.0/16", nexthop=HOP6, as_path=(OUTSIDE,))}
"""Routes for sessions that have negotiated RFC 8950."""

GONE = ("path", "ipv6")
"""Cases that are withdrawn again at the end."""


def announcements(cases: dict[str, Case]) -> list[bytes]:
    """Messages that announce the cases, one for each, and end the tables."""
    out = []
    for case in cases.values():
        routes = [nlri(case.prefix)]
        out += encode_updates(case.family, case.attributes, routes, asn4=True, message_size=4096)
    return [*out, end_of_rib(V4), end_of_rib(V6)]


def withdrawals(cases: dict[str, Case]) -> list[bytes]:
    """Messages that withdraw the cases of :data:`GONE`."""
    out = []
    for case in (cases[name] for name in GONE):
        out += encode_updates(
            case.family, None, [], [nlri(case.prefix)], asn4=True, message_size=4096
        )
    return out
