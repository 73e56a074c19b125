"""Routes → UPDATE messages, complete with header, as many prefixes in each as fit.

Write a block of attributes once with :func:`attribute_block`, keep it, and give it to :func:`announce` for
every set of prefixes and every peer of equal session parameters. Attributes are written as given, in
ascending order of their codes with MP_REACH_NLRI in front (RFC 7606 §5.1): what a peer of some kind must not
see is the export policy's to remove.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import pack

from kroute.codec.bgp.aspath import (
    AS_TRANS,
    needs_as4_path,
    without_confederation,
    write_as_path,
)
from kroute.codec.bgp.names import EXTENDED_LENGTH, FLAGS, PARTIAL, Code
from kroute.codec.bgp.nlri import pack_nlri
from kroute.model.bgp import Attributes
from kroute.model.errors import KrouteError
from kroute.model.net import SAFI_UNICAST, Family, Nlri

_MARKER = b"\xff" * 16
_UPDATE = 2
_ROUTE_REFRESH = 5
_FRAME = 23
"""Octets of an UPDATE besides attributes and NLRI: header 19 and two length fields (RFC 4271 §4.3)."""
_MP_FRAME = 4
"""Octets of the header of a multiprotocol attribute; always the extended form, so that room is known."""


class TooLarge(KrouteError):
    """Attributes leave no room for a prefix in a message of the session's size (RFC 8654 §4)."""


@dataclass(frozen=True, slots=True)
class AttributeBlock:
    """Encoded attributes of routes of one family.

    ``attributes`` is all but MP_REACH_NLRI; ``reach`` is the beginning of that attribute's value (AFI, SAFI,
    next hop, reserved octet), or None where routes travel in the NLRI field of the message.
    """

    family: Family
    reach: bytes | None
    attributes: bytes


def attribute_block(family: Family, attributes: Attributes, *, asn4: bool) -> AttributeBlock:
    """Encode attributes for a session with 4-octet (``asn4``) or 2-octet AS numbers.

    IPv4 with an IPv4 next hop uses the classic form, all else MP_REACH_NLRI (RFC 4760, 2545, 8950).

    Raises:
        ValueError: the next hop has not 4 or 16 octets, or is IPv4 for IPv6 routes.
    """
    nexthop = attributes.nexthop
    if len(nexthop) not in (4, 16) or (family is Family.IPV6 and len(nexthop) == 4):
        raise ValueError(f"next hop {nexthop.hex()!r} for {family.label}")
    classic = len(nexthop) == 4
    block = _attributes(attributes, nexthop if classic else b"", asn4)
    if classic:
        return AttributeBlock(family, None, block)
    addresses = nexthop + attributes.link_local
    reach = pack(">HBB", family, SAFI_UNICAST, len(addresses)) + addresses + b"\0"
    return AttributeBlock(family, reach, block)


def announce(block: AttributeBlock, nlris: Sequence[Nlri], *, message_size: int) -> list[bytes]:
    """Messages that announce the prefixes with these attributes, each at most ``message_size`` octets.

    Raises:
        TooLarge: the attributes alone fill a message.
    """
    reach, attributes = block.reach, block.attributes
    room = message_size - _FRAME - len(attributes)
    if reach is not None:
        room -= _MP_FRAME + len(reach)
    try:
        fields = pack_nlri(nlris, room)
    except ValueError as error:
        words = f"{len(attributes)} octets of attributes leave no room in {message_size}"
        raise TooLarge(words) from error
    if reach is None:
        head = b"\0\0" + pack(">H", len(attributes)) + attributes
        return [_message(head + field) for field in fields]
    return [_multiprotocol(Code.MP_REACH_NLRI, reach + field, attributes) for field in fields]


def withdraw(family: Family, nlris: Sequence[Nlri], *, message_size: int) -> list[bytes]:
    """Messages that withdraw the prefixes: the classic field for IPv4, MP_UNREACH_NLRI for IPv6."""
    if family is Family.IPV4:
        fields = pack_nlri(nlris, message_size - _FRAME)
        return [_message(pack(">H", len(f)) + f + b"\0\0") for f in fields]
    head = pack(">HB", family, SAFI_UNICAST)
    fields = pack_nlri(nlris, message_size - _FRAME - _MP_FRAME - len(head))
    return [_multiprotocol(Code.MP_UNREACH_NLRI, head + f, b"") for f in fields]


def end_of_rib(family: Family) -> bytes:
    """The End-of-RIB marker (RFC 4724 §2)."""
    if family is Family.IPV4:
        return _message(b"\0\0\0\0")
    value = pack(">HB", family, SAFI_UNICAST)
    return _message(b"\0\0" + pack(">H", 3 + len(value)) + _attribute(Code.MP_UNREACH_NLRI, value))


def route_refresh(family: Family) -> bytes:
    """The ROUTE-REFRESH message: the peer shall tell all of a family again (RFC 2918 §3)."""
    return _MARKER + pack(">HBHBB", 23, _ROUTE_REFRESH, family, 0, SAFI_UNICAST)


def encode_updates(
    family: Family,
    attributes: Attributes | None,
    nlris: Sequence[Nlri],
    withdrawn: Sequence[Nlri] = (),
    *,
    asn4: bool,
    message_size: int,
) -> list[bytes]:
    """Messages that withdraw some prefixes of a family and announce others with one set of attributes.

    Raises:
        ValueError, TooLarge: as :func:`attribute_block` and :func:`announce`.
    """
    messages = withdraw(family, withdrawn, message_size=message_size)
    if nlris and attributes is not None:
        block = attribute_block(family, attributes, asn4=asn4)
        messages += announce(block, nlris, message_size=message_size)
    return messages


def _message(body: bytes) -> bytes:
    """An UPDATE body with its header (RFC 4271 §4.1)."""
    return _MARKER + pack(">HB", 19 + len(body), _UPDATE) + body


def _multiprotocol(code: Code, value: bytes, attributes: bytes) -> bytes:
    """An UPDATE whose routes are in a multiprotocol attribute, which comes first (RFC 7606 §5.1)."""
    size = len(value)
    head = pack(">BBH", FLAGS[code] | EXTENDED_LENGTH, code, size)
    total = pack(">H", _MP_FRAME + size + len(attributes))
    return _message(b"\0\0" + total + head + value + attributes)


def _attribute(code: int, value: bytes, flags: int | None = None) -> bytes:
    """One attribute; the extended length only where it is needed (RFC 4271 §4.3)."""
    bits = FLAGS[code] if flags is None else flags
    size = len(value)
    if size > 0xFF:
        return pack(">BBH", bits | EXTENDED_LENGTH, code, size) + value
    return bytes((bits, code, size)) + value


def _attributes(attributes: Attributes, nexthop: bytes, asn4: bool) -> bytes:
    """All attributes but the multiprotocol ones, in ascending order of their codes."""
    found: dict[int, bytes] = {c: _attribute(c, value) for c, value in _values(attributes, asn4)}
    if nexthop:
        found[Code.NEXT_HOP] = _attribute(Code.NEXT_HOP, nexthop)
    for unknown in attributes.unknown:  # passed on without being understood (RFC 4271 §5)
        found[unknown.code] = _attribute(unknown.code, unknown.value, unknown.flags | PARTIAL)
    return b"".join(found[code] for code in sorted(found))


def _values(a: Attributes, asn4: bool) -> list[tuple[Code, bytes]]:
    """The values of the attributes that are there."""
    out = [(Code.ORIGIN, bytes((a.origin,)))]
    out += _as_numbers(a) if not asn4 else _as_numbers4(a)
    if a.med is not None:
        out.append((Code.MULTI_EXIT_DISC, pack(">I", a.med)))
    if a.local_pref is not None:
        out.append((Code.LOCAL_PREF, pack(">I", a.local_pref)))
    if a.atomic_aggregate:
        out.append((Code.ATOMIC_AGGREGATE, b""))
    if a.communities:
        out.append((Code.COMMUNITIES, pack(f">{len(a.communities)}I", *a.communities)))
    if a.originator_id is not None:
        out.append((Code.ORIGINATOR_ID, a.originator_id))
    if a.cluster_list:
        out.append((Code.CLUSTER_LIST, b"".join(a.cluster_list)))
    if a.extended_communities:
        out.append((Code.EXTENDED_COMMUNITIES, b"".join(a.extended_communities)))
    if a.large_communities:
        out.append((Code.LARGE_COMMUNITY, b"".join(pack(">III", *c) for c in a.large_communities)))
    return out


def _as_numbers4(a: Attributes) -> list[tuple[Code, bytes]]:
    """AS_PATH and AGGREGATOR with AS numbers of 4 octets."""
    out = [(Code.AS_PATH, write_as_path(a.as_path, 4))]
    if a.aggregator is not None:
        out.append((Code.AGGREGATOR, pack(">I", a.aggregator[0]) + a.aggregator[1]))
    return out


def _as_numbers(a: Attributes) -> list[tuple[Code, bytes]]:
    """The same for a 2-octet session, with AS4_PATH and AS4_AGGREGATOR if needed (RFC 6793 §4.2.2)."""
    out = [(Code.AS_PATH, write_as_path(a.as_path, 2))]
    if needs_as4_path(a.as_path):
        out.append((Code.AS4_PATH, write_as_path(without_confederation(a.as_path), 4)))
    if a.aggregator is not None:
        asn, address = a.aggregator
        out.append((Code.AGGREGATOR, pack(">H", asn if asn <= 0xFFFF else AS_TRANS) + address))
        if asn > 0xFFFF:
            out.append((Code.AS4_AGGREGATOR, pack(">I", asn) + address))
    return out
