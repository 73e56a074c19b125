"""Export: which paths a peer is told, and in which words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from kroute.model.bgp import Asn, AsSegment, Attributes, PeerKind, SegmentType
from kroute.model.net import Family
from kroute.plan.paths import Path

NO_ADVERTISE = 0xFFFFFF02
"""RFC 1997: not to be passed on to anybody. NO_EXPORT needs no rule, for nothing learned goes to external peers."""


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
    if path.is_seeded:
        return False
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
