"""Link and address messages (linux/if_link.h, linux/if_addr.h), as far as next hops depend on them."""

from __future__ import annotations

from ipaddress import ip_interface
from struct import Struct, pack
from typing import NamedTuple

from kroute.codec.rtnetlink import (
    AF_UNSPEC,
    FAMILY_OF_KERNEL,
    GROUP_OF_LEAVING_PODS,
    GROUP_OF_PODS,
    IFLA_GROUP,
    KERNEL_FAMILY,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    MalformedMessage,
    attribute,
    attributes,
    message,
    number,
)
from kroute.model.kernel import Interface, Link
from kroute.model.net import Family

_IFINFOMSG = Struct("=BxHiII")
_IFADDRMSG = Struct("=BBBBi")
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_IFLA_IFNAME, _IFLA_MTU, _IFLA_EXT_MASK = 3, 4, 29
_RTEXT_FILTER_SKIP_STATS = 1 << 3
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS, _IFA_PROTO = 1, 2, 8, 11
_IFA_F_DADFAILED, _IFA_F_TENTATIVE = 0x08, 0x40


class AddressMessage(NamedTuple):
    """An address of an interface; ``usable`` is false during and after failed duplicate detection."""

    ifindex: int
    interface: Interface
    usable: bool
    protocol: int = 0
    """Who put it there (IFA_PROTO, Linux 5.18); 0 where nobody said so."""


def links_request() -> bytes:
    """The request for all links, without their counters."""
    mask = attribute(_IFLA_EXT_MASK, pack("=I", _RTEXT_FILTER_SKIP_STATS))
    body = _IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, 0) + mask
    return message(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, body, sequence=2)


def addresses_request(family: Family) -> bytes:
    """The request for all addresses of a family."""
    body = _IFADDRMSG.pack(KERNEL_FAMILY[family], 0, 0, 0, 0)
    return message(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, body, sequence=2)


def address_request(interface: Interface, index: int, protocol: int, *, add: bool) -> bytes:
    """The request to add an address that must not be there yet, or to remove one; asks for an acknowledgement."""
    packed = interface.ip.packed
    kernel_family = KERNEL_FAMILY[Family.IPV4 if interface.version == 4 else Family.IPV6]
    body = _IFADDRMSG.pack(kernel_family, interface.network.prefixlen, 0, 0, index)
    body += attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)
    if not add:
        return message(RTM_DELADDR, NLM_F_REQUEST | NLM_F_ACK, body)
    body += attribute(_IFA_PROTO, bytes((protocol,)))
    flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
    return message(RTM_NEWADDR, flags, body)


def link_of(body: bytes) -> Link | None:
    """The link of an RTM_NEWLINK or RTM_DELLINK message; None where it tells of a bridge port only.

    Raises:
        MalformedMessage: too short, or without a name.
    """
    if len(body) < _IFINFOMSG.size:
        raise MalformedMessage("rtnetlink: link message cut short")
    family, _, index, flags, _ = _IFINFOMSG.unpack_from(body)
    if family != AF_UNSPEC:
        return None
    found = attributes(body, _IFINFOMSG.size)
    name = found.get(_IFLA_IFNAME)
    if name is None:
        raise MalformedMessage(f"rtnetlink: link {index} without a name")
    return Link(
        index=index,
        name=name.rstrip(b"\0").decode("utf-8", "replace"),
        up=bool(flags & _IFF_UP),
        carrier=bool(flags & _IFF_RUNNING),
        mtu=number(found.get(_IFLA_MTU, b"")),
        of_pod=number(found.get(IFLA_GROUP, b"")) in (GROUP_OF_PODS, GROUP_OF_LEAVING_PODS),
    )


def interface_of(body: bytes) -> int:
    """The index of the interface that an RTM_NEWADDR or RTM_DELADDR message is about.

    Raises:
        MalformedMessage: too short.
    """
    if len(body) < _IFADDRMSG.size:
        raise MalformedMessage("rtnetlink: address message cut short")
    return int(_IFADDRMSG.unpack_from(body)[4])


def address_of(body: bytes) -> AddressMessage | None:
    """The address of an RTM_NEWADDR or RTM_DELADDR message; None of another family.

    Of a point-to-point link it is our end.

    Raises:
        MalformedMessage: too short, or not an address of its family.
    """
    if len(body) < _IFADDRMSG.size:
        raise MalformedMessage("rtnetlink: address message cut short")
    number_of_family, length, flags, _, index = _IFADDRMSG.unpack_from(body)
    family = FAMILY_OF_KERNEL.get(number_of_family)
    if family is None:
        return None
    found = attributes(body, _IFADDRMSG.size)
    packed = found.get(_IFA_LOCAL, found.get(_IFA_ADDRESS, b""))
    if len(packed) != family.bits >> 3 or length > family.bits:
        raise MalformedMessage(f"rtnetlink: address of {len(packed)} octets, length {length}")
    flags |= number(found.get(_IFA_FLAGS, b""))
    usable = not flags & (_IFA_F_DADFAILED | _IFA_F_TENTATIVE)
    protocol = number(found.get(_IFA_PROTO, b""))
    return AddressMessage(index, ip_interface((packed, length)), usable, protocol)
