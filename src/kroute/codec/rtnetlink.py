"""Netlink framing shared by routes, links, addresses and nexthop objects (linux/netlink.h).

Bytes in, values out: no socket is opened here. Numbers on the wire are in the machine's byte order. Whatever
the bytes are, a parser of this package returns a value or raises :class:`MalformedMessage`, nothing else.

pyroute2 has the same encoders, but importing any part of it costs 13 MiB and 65 ms per daemon; its bytes are
what `tests/contract` compares these with, kind by kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct, error, pack
from sys import byteorder as _NATIVE
from typing import NamedTuple

from kroute.model.errors import KrouteError
from kroute.model.net import Family

AF_UNSPEC, AF_BRIDGE = 0, 7
KERNEL_FAMILY = {Family.IPV4: 2, Family.IPV6: 10}
"""AF_INET and AF_INET6 of linux/socket.h."""
FAMILY_OF_KERNEL = {number: family for family, number in KERNEL_FAMILY.items()}

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
_NLM_F_CAPPED = 0x100
_NLM_F_ACK_TLVS = 0x200
_NLMSGERR_ATTR_MSG = 1

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEXTHOP, RTM_DELNEXTHOP, RTM_GETNEXTHOP = 104, 105, 106

GROUP_LINK = 1 << 0
GROUP_IPV4_IFADDR = 1 << 4
GROUP_IPV4_ROUTE = 1 << 6
GROUP_IPV6_IFADDR = 1 << 8
GROUP_IPV6_ROUTE = 1 << 10
GROUP_NEXTHOP = 32
"""RTNLGRP_NEXTHOP: a group number for NETLINK_ADD_MEMBERSHIP, beyond the 31 bits of a bind mask."""

IFLA_GROUP = 27
GROUP_OF_PODS = 0x6B6E6900
"""The interface group of pods' veths: watchers of links leave them out, as no route leads over a bridge's port."""
GROUP_OF_LEAVING_PODS = GROUP_OF_PODS | 1
"""Of those that are to be removed by one message."""

HEADER = Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence, port id."""
_ATTRIBUTE = Struct("=HH")
_NLA_TYPE_MASK = 0x3FFF


class MalformedMessage(KrouteError):
    """Bytes from a netlink socket are not what linux/netlink.h promises."""


class Message(NamedTuple):
    """One netlink message: its type, its flags, who caused it (port id) and what follows the header."""

    kind: int
    flags: int
    port: int
    body: bytes


class KernelError(NamedTuple):
    """The kernel's refusal of one request; ``errno`` 0 is an acknowledgement.

    ``text`` is the extended acknowledgement, empty where the kernel gave none; ``request`` is what it
    echoed of the request, from its netlink header on (16 octets or more).
    """

    errno: int
    text: str
    request: bytes


def align(length: int) -> int:
    """Round up to the four octets that netlink pads to."""
    return (length + 3) & ~3


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute with its padding."""
    return pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) & 3)


def message(kind: int, flags: int, body: bytes, sequence: int = 1) -> bytes:
    """One message from header to end."""
    return HEADER.pack(16 + len(body), kind, flags, sequence, 0) + body


def messages(datagram: bytes) -> Iterator[Message]:
    """The messages of one datagram.

    Raises:
        MalformedMessage: a length points outside of the datagram.
    """
    position, end = 0, len(datagram)
    while position < end:
        try:
            length, kind, flags, _, port = HEADER.unpack_from(datagram, position)
        except error as cause:
            raise MalformedMessage("netlink: header cut short") from cause
        if length < 16 or position + length > end:
            raise MalformedMessage(f"netlink: length {length} with {end - position} octets left")
        yield Message(kind, flags, port, datagram[position + 16 : position + length])
        position += align(length)


def attributes(data: bytes, position: int) -> dict[int, bytes]:
    """The attributes from ``position`` to the end by number; of repeated ones the last.

    Raises:
        MalformedMessage: a length points outside of the data.
    """
    found: dict[int, bytes] = {}
    end = len(data)
    while position + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, position)
        if length < 4 or position + length > end:
            raise MalformedMessage(f"netlink: attribute {kind} of length {length}")
        found[kind & _NLA_TYPE_MASK] = data[position + 4 : position + length]
        position += align(length)
    return found


def number(value: bytes) -> int:
    """An unsigned number attribute of any width."""
    return int.from_bytes(value, _NATIVE)


def error_of(answer: Message) -> KernelError:
    """What an NLMSG_ERROR message, or the NLMSG_DONE that ends a dump, says.

    Raises:
        MalformedMessage: it is too short.
    """
    body = answer.body
    if answer.kind == NLMSG_DONE:
        code = -int.from_bytes(body[:4], _NATIVE, signed=True)
        return KernelError(code, _extack(answer.flags, body, 4), b"")
    if len(body) < 20:
        raise MalformedMessage("netlink: error message cut short")
    code = -int.from_bytes(body[:4], _NATIVE, signed=True)
    echoed = int.from_bytes(body[4:8], _NATIVE)
    end = 20 if answer.flags & _NLM_F_CAPPED else 4 + max(echoed, 16)
    return KernelError(code, _extack(answer.flags, body, align(end)), body[4:end])


def _extack(flags: int, body: bytes, position: int) -> str:
    if not flags & _NLM_F_ACK_TLVS:
        return ""
    text = attributes(body, position).get(_NLMSGERR_ATTR_MSG, b"")
    return text.rstrip(b"\0").decode("utf-8", "replace")
