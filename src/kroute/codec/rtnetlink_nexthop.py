"""Nexthop objects (linux/nexthop.h, struct nhmsg): a way to forward with an id, alone or in a group.

A route that points at an id follows whatever the object becomes, so that one message moves all its routes.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct, iter_unpack, pack
from typing import NamedTuple

from kroute.codec.rtnetlink import (
    AF_UNSPEC,
    KERNEL_FAMILY,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    RTM_DELNEXTHOP,
    RTM_GETNEXTHOP,
    RTM_NEWNEXTHOP,
    KernelError,
    MalformedMessage,
    attribute,
    attributes,
    message,
    number,
)
from kroute.model.fib import Nexthop
from kroute.model.net import Family

NHA_ID, NHA_GROUP, NHA_BLACKHOLE, NHA_OIF, NHA_GATEWAY = 1, 2, 4, 5, 6
_NHMSG = Struct("=BBBxI")
_GROUP_ENTRY = "=IBBH"


class NexthopObject(NamedTuple):
    """A nexthop object. ``leg`` (of weight 1) is None for a group or blackhole, ``members`` are (id, weight)."""

    nhid: int
    protocol: int
    family: Family | None
    leg: Nexthop | None
    members: tuple[tuple[int, int], ...]


def leg_family(family: Family, leg: Nexthop) -> Family:
    """The family of a leg's object: its gateway's; where it has none, that of the routes over it."""
    if leg.gateway is None:
        return family
    return Family.IPV4 if len(leg.gateway) == 4 else Family.IPV6


def leg_request(nhid: int, family: Family, leg: Nexthop, protocol: int) -> bytes:
    """Make the object of one leg, or change it in place. The kernel wants an interface: ``leg.oif`` is not 0."""
    body = _NHMSG.pack(KERNEL_FAMILY[family], 0, protocol, 0) + attribute(NHA_ID, pack("=I", nhid))
    if leg.gateway is not None:
        body += attribute(NHA_GATEWAY, leg.gateway)
    body += attribute(NHA_OIF, pack("=I", leg.oif))
    return message(RTM_NEWNEXTHOP, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE, body)


def group_request(nhid: int, members: Iterable[tuple[int, int]], protocol: int) -> bytes:
    """Make a group of (id, weight), or change it in place: all routes over it follow."""
    entries = b"".join(pack(_GROUP_ENTRY, each, weight - 1, 0, 0) for each, weight in members)
    body = _NHMSG.pack(AF_UNSPEC, 0, protocol, 0) + attribute(NHA_ID, pack("=I", nhid))
    body += attribute(NHA_GROUP, entries)
    return message(RTM_NEWNEXTHOP, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE, body)


def removal_request(nhid: int) -> bytes:
    """Remove an object. Groups lose it; routes that have nothing else go with it."""
    body = _NHMSG.pack(AF_UNSPEC, 0, 0, 0) + attribute(NHA_ID, pack("=I", nhid))
    return message(RTM_DELNEXTHOP, NLM_F_REQUEST, body)


def nexthops_request() -> bytes:
    """The request for all nexthop objects."""
    return message(RTM_GETNEXTHOP, NLM_F_REQUEST | NLM_F_DUMP, _NHMSG.pack(0, 0, 0, 0), sequence=2)


def nexthop_of(body: bytes) -> NexthopObject:
    """The object of an RTM_NEWNEXTHOP or RTM_DELNEXTHOP message.

    Raises:
        MalformedMessage: too short, or without an id.
    """
    if len(body) < _NHMSG.size:
        raise MalformedMessage("rtnetlink: nexthop message cut short")
    number_of_family, _, protocol, _ = _NHMSG.unpack_from(body)
    found = attributes(body, _NHMSG.size)
    nhid, group = number(found.get(NHA_ID, b"")), found.get(NHA_GROUP, b"")
    if not nhid or len(group) % 8:
        raise MalformedMessage(f"rtnetlink: nexthop {nhid}, group of {len(group)} octets")
    family = next((f for f, kernel in KERNEL_FAMILY.items() if kernel == number_of_family), None)
    leg = None
    if NHA_OIF in found and family is not None:
        leg = Nexthop(found.get(NHA_GATEWAY), number(found[NHA_OIF]))
    members = tuple((each, low + 1) for each, low, _, _ in iter_unpack(_GROUP_ENTRY, group))
    return NexthopObject(nhid, protocol, family, leg, members)


def refused_nexthop(refusal: KernelError) -> int:
    """The id of the object that was refused; 0 if it was none, or too little is echoed."""
    request = refusal.request
    if len(request) < 32 or number(request[4:6]) not in (
        RTM_NEWNEXTHOP,
        RTM_DELNEXTHOP,
    ):
        return 0
    return number(request[28:32])
