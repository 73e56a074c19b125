"""What no configuration can allow: paths that loop, and next hops that are none (RFC 4271 §9.1.2, §6.3)."""

from __future__ import annotations

from dataclasses import dataclass

from kroute.model.bgp import Attributes, Peer
from kroute.model.net import address_of
from kroute.model.reason import Reason, Why

_IPV4_SIZE, _IPV6_SIZE = 4, 16
_HOST = bytes(0 < octet < 224 and octet != 127 for octet in range(256))
"""First octets that an IPv4 host's address may have: not unspecified, loopback, multicast or class E (RFC 6890)."""
_UNSPECIFIED6, _LOOPBACK6 = bytes(16), bytes(15) + b"\1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Self:
    """What the node is called in BGP: needed to see its own paths come back."""

    router_id: bytes
    cluster_id: bytes
    addresses: frozenset[bytes]


def import_refusal(
    peer: Peer | None, attributes: Attributes, me: Self, nexthop: bytes | None = None
) -> Reason | None:
    """Why a path must not be used whatever its prefix: loops and impossible next hops; None if it may be.

    ``nexthop`` is the one that a policy has set in place of the received one. A path of no peer cannot loop.
    """
    if peer is None:
        return _nexthop_refusal(attributes.nexthop if nexthop is None else nexthop, me)
    asn = peer.local_asn
    for segment in attributes.as_path:
        if asn in segment.asns:
            return Reason(Why.AS_PATH_LOOP, f"our AS {asn} is in its AS path (RFC 4271 §9.1.2)")
    if attributes.originator_id == me.router_id:
        return Reason(
            Why.ORIGINATOR_LOOP,
            "we are its originator: it came back through a reflector (RFC 4456 §8)",
        )
    if me.cluster_id and me.cluster_id in attributes.cluster_list:
        return Reason(Why.CLUSTER_LOOP, "our cluster id is in its CLUSTER_LIST (RFC 4456 §8)")
    return _nexthop_refusal(attributes.nexthop if nexthop is None else nexthop, me)


def _nexthop_refusal(nexthop: bytes, me: Self) -> Reason | None:
    # Asked of bytes, since it is asked of every path.
    if nexthop in me.addresses:
        return Reason(
            Why.OWN_NEXTHOP,
            f"its next hop {address_of(nexthop)} is our own address (RFC 4271 §5.1.3)",
        )
    return _no_host(nexthop)


def _no_host(nexthop: bytes) -> Reason | None:
    """Unspecified, loopback, multicast and class E (RFC 6890)."""
    if len(nexthop) == _IPV4_SIZE:
        if _HOST[nexthop[0]]:
            return None
        bad = True
    elif len(nexthop) == _IPV6_SIZE:
        bad = nexthop[0] == 0xFF or nexthop in (_UNSPECIFIED6, _LOOPBACK6)
    else:
        return Reason(Why.BAD_NEXTHOP, "it has no next hop")
    if bad:
        text = f"its next hop {address_of(nexthop)} is no host (RFC 4271 §6.3)"
        return Reason(Why.BAD_NEXTHOP, text)
    return None
