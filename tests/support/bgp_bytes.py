"""UPDATE bodies by hand, independent of the encoder, and a decoder that hands out plain attributes."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from struct import pack

from kroute.codec.bgp import Decoded, UpdateDecoder
from kroute.codec.bgp.names import FLAGS
from kroute.model.bgp import Asn, Attributes, Negotiated
from kroute.model.net import Family, Nlri, nlri_of

V4, V6 = Family.IPV4, Family.IPV6


def negotiated(
    *,
    asn4: bool = True,
    families: tuple[Family, ...] = (V4, V6),
    extended_nexthop: bool = True,
    message_size: int = 4096,
) -> Negotiated:
    """A session as both OPENs agreed on it."""
    return Negotiated(
        asn=Asn(64512),
        router_id="192.0.2.1",
        asn4=asn4,
        message_size=message_size,
        hold_time=90,
        families=families,
        extended_nexthop=extended_nexthop,
    )


def decoder(*, internal: bool = True, cached: int = 64, **session) -> UpdateDecoder[Attributes]:
    """A decoder whose paths are the attributes themselves."""
    return UpdateDecoder(
        negotiated(**session), internal=internal, make=lambda _, a: a, cached_blocks=cached
    )


def nlri(text: str) -> Nlri:
    """The key of a prefix."""
    return nlri_of(ip_network(text))


def address(text: str) -> bytes:
    """The octets of an address."""
    return ip_address(text).packed


def attribute(code: int, value: bytes, flags: int | None = None, *, wide: bool = False) -> bytes:
    """One attribute; with its proper flags unless others are given; ``wide`` forces two octets of length."""
    flags = FLAGS[code] if flags is None else flags
    if wide or flags & 0x10 or len(value) > 255:
        return pack(">BBH", flags | 0x10, code, len(value)) + value
    return pack(">BBB", flags, code, len(value)) + value


def body(*, withdrawn: bytes = b"", attributes: bytes = b"", announced: bytes = b"") -> bytes:
    """An UPDATE without its header (RFC 4271 §4.3)."""
    fields = pack(">H", len(withdrawn)) + withdrawn + pack(">H", len(attributes)) + attributes
    return fields + announced


def sequence(*asns: int, size: int = 4) -> bytes:
    """An AS_SEQUENCE segment."""
    return bytes((2, len(asns))) + b"".join(a.to_bytes(size, "big") for a in asns)


ORIGIN = attribute(1, b"\0")
AS_PATH = attribute(2, sequence(64513))
NEXT_HOP = attribute(3, address("192.0.2.7"))
LOCAL_PREF = attribute(5, pack(">I", 100))
MANDATORY = ORIGIN + AS_PATH + NEXT_HOP


def reach(family: int, nexthop: bytes, routes: bytes, safi: int = 1) -> bytes:
    """An MP_REACH_NLRI attribute."""
    return attribute(14, pack(">HBB", family, safi, len(nexthop)) + nexthop + b"\0" + routes)


def unreach(family: int, routes: bytes, safi: int = 1) -> bytes:
    """An MP_UNREACH_NLRI attribute."""
    return attribute(15, pack(">HB", family, safi) + routes)


def announcement(attributes: bytes, prefix: str = "10.1.0.0/16") -> bytes:
    """A body that announces one IPv4 prefix."""
    return body(attributes=attributes, announced=nlri(prefix))


def only_attributes(decoded: Decoded[Attributes]) -> Attributes:
    """The attributes of a result that announces exactly one set of prefixes."""
    (step,) = decoded.steps
    assert step[1] is not None, decoded
    return step[1]


def rib_of(results: Iterable[Decoded[Attributes]]) -> dict[tuple[Family, Nlri], Attributes]:
    """The table that a listener holds after all results."""
    rib: dict[tuple[Family, Nlri], Attributes] = {}
    for decoded in results:
        for family, path, nlris in decoded.steps:
            for key in nlris:
                if path is None:
                    rib.pop((family, key), None)
                else:
                    rib[family, key] = path
    return rib
