"""Import and export: which paths are taken from a peer, which are told to one, and how they are changed.

Every refusal carries its reason (law 6). Safe by default: an external peer is told the node's own prefixes and
nothing else, and nothing is taken from it unless configured (RFC 8212).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from kroute.model.bgp import Asn, AsSegment, Attributes, Peer, PeerKind, SegmentType
from kroute.model.config import Accept
from kroute.model.net import Family, Nlri, address_of
from kroute.model.reason import Reason, Why
from kroute.plan.paths import Path

DEFAULT_ROUTE: Nlri = b"\0"

_IPV4_SIZE, _IPV6_SIZE = 4, 16
_UNSPECIFIED6, _LOOPBACK6 = bytes(16), bytes(15) + b"\1"
NO_ADVERTISE = 0xFFFFFF02
"""RFC 1997: not to be passed on to anybody. NO_EXPORT needs no rule, for nothing learned goes to external peers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Self:
    """What the node is called in BGP: needed to see its own paths come back."""

    router_id: bytes
    cluster_id: bytes
    addresses: frozenset[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """Which prefixes of a peer are taken; ``exact`` None takes all."""

    exact: frozenset[tuple[Family, Nlri]] | None
    words: str

    def refusal(self) -> Reason | None:
        """The reason that a prefix outside ``exact`` is refused with."""
        return None if self.exact is None else Reason(Why.NOT_ACCEPTED, self.words)


EVERYTHING = Acceptance(exact=None, words="")


def acceptance(
    kind: PeerKind,
    internal: bool,
    accept: Accept,
    named: frozenset[tuple[Family, Nlri]],
    owners: Mapping[tuple[Family, Nlri], str],
) -> Acceptance:
    """What is taken from a peer: all from internal ones, the configured preset from external ones."""
    if accept is Accept.ALL or (internal and kind is not PeerKind.EXTERNAL):
        return EVERYTHING
    preset: frozenset[tuple[Family, Nlri]] = frozenset()
    if accept is Accept.DEFAULT_ROUTE:
        preset = frozenset((f, DEFAULT_ROUTE) for f in Family)
    elif accept is Accept.POD_CIDRS:
        preset = frozenset(owners)
    words = f"accept: {accept.value} of this external peer does not name the prefix (RFC 8212)"
    return Acceptance(exact=preset | named, words=words)


def import_refusal(peer: Peer, attributes: Attributes, me: Self) -> Reason | None:
    """Why a path must not be used whatever its prefix: loops and impossible next hops; None if it may be."""
    for segment in attributes.as_path:
        if peer.local_asn in segment.asns:
            return Reason(
                Why.AS_PATH_LOOP, f"our AS {peer.local_asn} is in its AS path (RFC 4271 §9.1.2)"
            )
    if attributes.originator_id == me.router_id:
        return Reason(
            Why.ORIGINATOR_LOOP,
            "we are its originator: it came back through a reflector (RFC 4456 §8)",
        )
    if me.cluster_id and me.cluster_id in attributes.cluster_list:
        return Reason(Why.CLUSTER_LOOP, "our cluster id is in its CLUSTER_LIST (RFC 4456 §8)")
    return _nexthop_refusal(attributes.nexthop, me)


def _nexthop_refusal(nexthop: bytes, me: Self) -> Reason | None:
    if nexthop in me.addresses:
        return Reason(
            Why.OWN_NEXTHOP,
            f"its next hop {address_of(nexthop)} is our own address (RFC 4271 §5.1.3)",
        )
    return _no_host(nexthop)


def _no_host(nexthop: bytes) -> Reason | None:
    """Unspecified, loopback, multicast and class E (RFC 6890); asked of bytes, since it is asked of every path."""
    if len(nexthop) == _IPV4_SIZE:
        first = nexthop[0]
        bad = first in (0, 127) or first >= 224
    elif len(nexthop) == _IPV6_SIZE:
        bad = nexthop[0] == 0xFF or nexthop in (_UNSPECIFIED6, _LOOPBACK6)
    else:
        return Reason(Why.BAD_NEXTHOP, "it has no next hop")
    if bad:
        text = f"its next hop {address_of(nexthop)} is no host (RFC 4271 §6.3)"
        return Reason(Why.BAD_NEXTHOP, text)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRules:
    """All that decides what a peer is told and in which words; peers of equal rules share one Adj-RIB-Out."""

    kind: PeerKind
    internal: bool
    local_asn: Asn
    router_id: bytes
    cluster_id: bytes
    nexthops: tuple[tuple[Family, bytes], ...]
    """Own next hop for each family that the session carries."""
    extended_nexthop: bool
    """Whether IPv4 routes may be told with IPv6 next hops (RFC 8950)."""
    asn4: bool
    message_size: int

    def nexthop(self, family: Family) -> bytes | None:
        """The own next hop for a family, or None where the session cannot carry it."""
        return next((hop for f, hop in self.nexthops if f is family), None)


PASSES_ON: Mapping[PeerKind, frozenset[PeerKind]] = {
    PeerKind.MESH: frozenset({PeerKind.CLIENT}),
    PeerKind.CLIENT: frozenset({PeerKind.CLIENT, PeerKind.MESH, PeerKind.REFLECTOR}),
    PeerKind.REFLECTOR: frozenset({PeerKind.CLIENT}),
    PeerKind.EXTERNAL: frozenset(),
}
"""To a peer of the key's kind: learned from which kinds (RFC 4456 §6). What an external peer says stays here."""


def passes_on(rules: ExportRules, path: Path) -> bool:
    """Whether a path is told to peers of these rules at all."""
    peer = path.source.peer
    if peer is None:
        return path.origination is None or path.origination.internal or not rules.internal
    return peer.kind in PASSES_ON[rules.kind] and NO_ADVERTISE not in path.attributes.communities


def exported(rules: ExportRules, path: Path, family: Family) -> Attributes | None:
    """The attributes in which a path is told to peers of these rules; None if it is not told."""
    own = rules.nexthop(family)
    if own is None or not passes_on(rules, path):
        return None
    if not rules.internal:
        return _external(rules, path, own)
    if path.is_local:
        return replace(path.attributes, nexthop=own, local_pref=path.local_pref)
    if family is Family.IPV4 and len(path.attributes.nexthop) != 4 and not rules.extended_nexthop:
        return None
    return _reflected(rules, path)


def _external(rules: ExportRules, path: Path, own: bytes) -> Attributes:
    """RFC 4271 §5.1: own AS first, next hop self, nothing that is internal; a MED of our own only (§5.1.4)."""
    attributes = path.attributes
    first = AsSegment(SegmentType.AS_SEQUENCE, (rules.local_asn,))
    return replace(
        attributes,
        nexthop=own,
        link_local=b"",
        as_path=(first, *attributes.as_path),
        local_pref=None,
        med=attributes.med if path.is_local else None,
        originator_id=None,
        cluster_list=(),
    )


def _reflected(rules: ExportRules, path: Path) -> Attributes:
    """RFC 4456 §8: next hop unchanged, ORIGINATOR_ID set once, our cluster in front of CLUSTER_LIST.

    The link-local half of an IPv6 next hop means nothing away from its link and is left out (RFC 2545 §3).
    """
    attributes = path.attributes
    return replace(
        attributes,
        link_local=b"",
        local_pref=path.local_pref,
        originator_id=attributes.originator_id or path.source.router_id,
        cluster_list=(rules.cluster_id, *attributes.cluster_list),
    )


def quad(text: str) -> bytes:
    """A dotted quad as 4 octets; empty text as none."""
    return IPv4Address(text).packed if text else b""
