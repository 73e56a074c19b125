"""Router solicitations and advertisements of IPv6 neighbour discovery (RFC 4861 §4.1, §4.2), without I/O.

Unnumbered peers need no more of them than that somebody routes there, and at which link-local address.
"""

from __future__ import annotations

from enum import IntEnum
from struct import pack
from typing import Final

ALL_NODES: Final = "ff02::1"
ALL_ROUTERS: Final = "ff02::2"

HOP_LIMIT: Final = 255
"""Of every message of neighbour discovery: none was forwarded (RFC 4861 §3.1)."""


class NdpType(IntEnum):
    """ICMPv6 types."""

    ROUTER_SOLICITATION = 133
    ROUTER_ADVERTISEMENT = 134


_LEAST = {NdpType.ROUTER_SOLICITATION: 8, NdpType.ROUTER_ADVERTISEMENT: 16}


def solicitation() -> bytes:
    """A router solicitation, the checksum left to the kernel."""
    return pack("!BBHI", NdpType.ROUTER_SOLICITATION, 0, 0, 0)


def advertisement() -> bytes:
    """A router advertisement that says no more than "I am a router": of lifetime 0, so that no host takes us as its
    default gateway, and without any prefix (RFC 4861 §6.2.3). The checksum is left to the kernel.
    """
    return pack("!BBHBBHII", NdpType.ROUTER_ADVERTISEMENT, 0, 0, 0, 0, 0, 0, 0)


def read(message: bytes, hop_limit: int) -> NdpType | None:
    """Which of the two a received ICMPv6 message is; None for any other and for a forged one (RFC 4861 §6.1)."""
    if hop_limit != HOP_LIMIT or len(message) < 8 or message[1]:
        return None
    kind = next((k for k in NdpType if k == message[0]), None)
    if kind is None or len(message) < _LEAST[kind] or not _are_options(message[_LEAST[kind] :]):
        return None
    return kind


def _are_options(rest: bytes) -> bool:
    """Whether each option has a length, and the last ends where the message does (RFC 4861 §4.6)."""
    while rest:
        size = 8 * rest[1] if len(rest) > 1 else 0
        if not 0 < size <= len(rest):
            return False
        rest = rest[size:]
    return True
