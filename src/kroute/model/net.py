"""Addresses, prefixes and families, and the key that the route path uses for a prefix.

Control-plane code (nodes, configuration, conflists) speaks :mod:`ipaddress` objects. The route path can
hold a full table, so there a prefix is its own NLRI bytes as in RFC 4271 §4.3: one octet of length in
bits, then as many octets as the length needs, unused bits zero. ``b"\\x18\\x0a\\xf4\\x01"`` is
10.244.1.0/24. The same bytes are the key in every table, and are copied into UPDATE and netlink messages.
"""

from __future__ import annotations

from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NewType

Address = IPv4Address | IPv6Address
Prefix = IPv4Network | IPv6Network
Seconds = NewType("Seconds", float)
Nlri = bytes
"""A prefix as RFC 4271 §4.3 writes it; canonical (unused bits are zero)."""


class Family(IntEnum):
    """An address family of unicast routes; the value is IANA's AFI (RFC 4760 §9)."""

    IPV4 = 1
    IPV6 = 2

    @property
    def bits(self) -> int:
        """Length of an address in bits: 32 or 128."""
        return 32 if self is Family.IPV4 else 128

    @property
    def version(self) -> int:
        """The version of the Internet Protocol: 4 or 6."""
        return 4 if self is Family.IPV4 else 6

    @property
    def label(self) -> str:
        """The family as an operator writes it: ``ipv4`` or ``ipv6``."""
        return "ipv4" if self is Family.IPV4 else "ipv6"


SAFI_UNICAST = 1


def family_of(thing: Address | Prefix) -> Family:
    """The family of an address or prefix."""
    return Family.IPV4 if thing.version == 4 else Family.IPV6


def order_of(prefix: Prefix) -> tuple[int, int, int]:
    """A key to sort prefixes of both families by: comparing these numbers is far quicker than comparing prefixes."""
    return prefix.version, int(prefix.network_address), prefix.prefixlen


def nlri_of(prefix: Prefix) -> Nlri:
    """The NLRI bytes of a prefix (RFC 4271 §4.3)."""
    length = prefix.prefixlen
    return bytes((length,)) + prefix.network_address.packed[: (length + 7) >> 3]


def prefix_of(family: Family, nlri: Nlri) -> Prefix:
    """The prefix that NLRI bytes name.

    Raises:
        ValueError: the bytes are not a canonical prefix of that family.
    """
    size = family.bits >> 3
    return ip_network((nlri[1:].ljust(size, b"\0"), nlri[0]))


def address_of(packed: bytes) -> Address:
    """The address of 4 or 16 octets in network order.

    Raises:
        ValueError: another number of octets.
    """
    return ip_address(packed)
