"""The netlink messages that give a pod its interface (linux/if_link.h, veth.h), as the bridge plugin sends them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Interface
from struct import Struct, pack
from typing import NamedTuple

from kroute.codec.rtnetlink import (
    GROUP_OF_PODS,
    HEADER,
    IFLA_GROUP,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    MalformedMessage,
    attribute,
    attributes,
    message,
    number,
)
from kroute.model.kernel import Interface
from kroute.model.net import Address

_IFINFOMSG = Struct("=BxHiII")
_IFADDRMSG = Struct("=BBBBi")
_RTMSG = Struct("=BBBBBBBBI")
_FAMILY = {4: 2, 6: 10}
_IFF_UP = 1
_ADDRESS, _IFNAME, _MTU, _MASTER, _TXQLEN = 1, 3, 4, 10, 13
_OPERSTATE, _LINKINFO, _IFALIAS, _NET_NS_FD, _EXT_MASK = 16, 18, 20, 28, 29
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5
_VETH_PEER, _BRPORT_HAIRPIN = 1, 4
_SKIP_STATS = 1 << 3
_IF_OPER_UP = 6
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_RT_TABLE_MAIN, _RTPROT_BOOT, _RTN_UNICAST = 254, 3, 1


class LinkState(NamedTuple):
    """What the fast path needs to know of a link."""

    ifindex: int
    name: str
    up: bool
    forwarding: bool
    """operstate is UP: the other end is up as well, and a bridge forwards."""
    mac: str
    kind: str
    alias: str


LAST = 2
"""Sequence number of a burst's last request; those before it have 1."""


def burst(requests: Sequence[bytes]) -> bytes:
    """Requests as one datagram. The kernel tells of each that it refuses, and acknowledges the last, which bears the
    number :data:`LAST`: one answer to read instead of one for each."""
    *others, last = requests
    length, kind, flags, _, port = HEADER.unpack_from(last)
    head = HEADER.pack(length, kind, flags | NLM_F_ACK, LAST, port)
    return b"".join((*others, head, last[HEADER.size :]))


def is_last(request: bytes) -> bool:
    """Whether a request that the kernel echoes was a burst's last."""
    return bool(HEADER.unpack_from(request)[3] == LAST)


def _text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, pack("=I", value))


def _mac(value: str) -> bytes:
    return attribute(_ADDRESS, bytes.fromhex(value.replace(":", "")))


def create(
    *, host: str, host_mac: str, bridge: int, pod: str, pod_mac: str, netns: int, mtu: int | None
) -> bytes:
    """A veth pair: ``host`` on the bridge with this index, ``pod`` in the namespace of this descriptor, both down."""
    shared = _number(_TXQLEN, 0) + (_number(_MTU, mtu) if mtu else b"")
    peer = _IFINFOMSG.pack(0, 0, 0, 0, 0) + _text(_IFNAME, pod) + _mac(pod_mac)
    peer += shared + attribute(_NET_NS_FD, pack("=i", netns))
    info = _text(_INFO_KIND, "veth") + attribute(_INFO_DATA, attribute(_VETH_PEER, peer))
    body = _IFINFOMSG.pack(0, 0, 0, 0, 0) + _text(_IFNAME, host) + _mac(host_mac) + shared
    body += _number(_MASTER, bridge) + _number(IFLA_GROUP, GROUP_OF_PODS)
    body += attribute(_LINKINFO, info)
    return message(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL, body)


def port_up(name: str, *, hairpin: bool, alias: str) -> bytes:
    """A bridge's port up, with its hairpin mode and an alias for people and for garbage collection."""
    data = attribute(_INFO_SLAVE_DATA, attribute(_BRPORT_HAIRPIN, bytes((hairpin,))))
    info = _text(_INFO_SLAVE_KIND, "bridge") + data
    body = _IFINFOMSG.pack(0, 0, 0, _IFF_UP, _IFF_UP) + _text(_IFNAME, name)
    body += attribute(_IFALIAS, alias.encode())
    return message(RTM_NEWLINK, NLM_F_REQUEST, body + attribute(_LINKINFO, info))


def mark(index: int, alias: str) -> bytes:
    """Give a pod's interface an alias of at most 255 octets (IFALIASZ), and its group."""
    body = _IFINFOMSG.pack(0, 0, index, 0, 0) + attribute(_IFALIAS, alias.encode())
    return message(RTM_NEWLINK, NLM_F_REQUEST, body + _number(IFLA_GROUP, GROUP_OF_PODS))


def up(index: int) -> bytes:
    """An interface up."""
    return message(RTM_NEWLINK, NLM_F_REQUEST, _IFINFOMSG.pack(0, 0, index, _IFF_UP, _IFF_UP))


def add_address(index: int, interface: Interface) -> bytes:
    """An address, with IPv4's broadcast address."""
    packed = interface.ip.packed
    head = _IFADDRMSG.pack(_FAMILY[interface.version], interface.network.prefixlen, 0, 0, index)
    body = head + attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)
    if isinstance(interface, IPv4Interface):
        body += attribute(_IFA_BROADCAST, interface.network.broadcast_address.packed)
    return message(RTM_NEWADDR, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL, body)


def add_default_route(index: int, gateway: Address) -> bytes:
    """The default route of the gateway's family."""
    family = _FAMILY[gateway.version]
    body = _RTMSG.pack(family, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, 0, _RTN_UNICAST, 0)
    # An explicit destination of zeros, as the plugin's library sends it.
    body += attribute(_RTA_DST, bytes(len(gateway.packed))) + attribute(
        _RTA_GATEWAY, gateway.packed
    )
    return message(RTM_NEWROUTE, NLM_F_REQUEST | NLM_F_CREATE, body + _number(_RTA_OIF, index))


def get_link(name: str) -> bytes:
    """Ask for one link by name; the answer is the link, or ENODEV."""
    body = _IFINFOMSG.pack(0, 0, 0, 0, 0) + _text(_IFNAME, name) + _number(_EXT_MASK, _SKIP_STATS)
    return message(RTM_GETLINK, NLM_F_REQUEST, body)


def get_veths() -> bytes:
    """Ask for all links of the kind veth."""
    info = attribute(_LINKINFO, _text(_INFO_KIND, "veth"))
    body = _IFINFOMSG.pack(0, 0, 0, 0, 0) + info + _number(_EXT_MASK, _SKIP_STATS)
    return message(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, body)


def get_addresses(family: int, index: int) -> bytes:
    """Ask for the addresses (family 4 or 6) of one interface."""
    body = _IFADDRMSG.pack(_FAMILY[family], 0, 0, 0, index)
    return message(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, body)


def delete(name: str) -> bytes:
    """Remove an interface, and with it a veth's other end."""
    return message(
        RTM_DELLINK, NLM_F_REQUEST, _IFINFOMSG.pack(0, 0, 0, 0, 0) + _text(_IFNAME, name)
    )


def delete_index(index: int) -> bytes:
    """Remove the interface with this index, and with it a veth's other end."""
    return message(RTM_DELLINK, NLM_F_REQUEST, _IFINFOMSG.pack(0, 0, index, 0, 0))


def set_group(name: str, group: int) -> bytes:
    """Put an interface into a group."""
    body = _IFINFOMSG.pack(0, 0, 0, 0, 0) + _text(_IFNAME, name) + _number(IFLA_GROUP, group)
    return message(RTM_NEWLINK, NLM_F_REQUEST, body)


def delete_group(group: int) -> bytes:
    """Remove every interface of a group at once."""
    return message(
        RTM_DELLINK, NLM_F_REQUEST, _IFINFOMSG.pack(0, 0, 0, 0, 0) + _number(IFLA_GROUP, group)
    )


def link_of(body: bytes) -> LinkState:
    """What an RTM_NEWLINK message tells.

    Raises:
        MalformedMessage: it is cut short.
    """
    if len(body) < _IFINFOMSG.size:
        raise MalformedMessage("rtnetlink: link message cut short")
    _, _, index, flags, _ = _IFINFOMSG.unpack_from(body)
    found = attributes(body, _IFINFOMSG.size)
    kind = attributes(found.get(_LINKINFO, b""), 0).get(_INFO_KIND, b"")
    return LinkState(
        ifindex=index,
        name=found.get(_IFNAME, b"").rstrip(b"\0").decode("utf-8", "replace"),
        up=bool(flags & _IFF_UP),
        forwarding=number(found.get(_OPERSTATE, b"")) == _IF_OPER_UP,
        mac=found.get(_ADDRESS, b"").hex(":"),
        kind=kind.rstrip(b"\0").decode("utf-8", "replace"),
        alias=found.get(_IFALIAS, b"").rstrip(b"\0").decode("utf-8", "replace"),
    )


def addresses_of(bodies: Iterator[bytes], index: int) -> set[tuple[bytes, int]]:
    """Packed addresses and prefix lengths of one interface, out of RTM_NEWADDR messages."""
    found = set()
    for body in bodies:
        if len(body) < _IFADDRMSG.size:
            raise MalformedMessage("rtnetlink: address message cut short")
        _, length, _, _, where = _IFADDRMSG.unpack_from(body)
        told = attributes(body, _IFADDRMSG.size)
        if where == index:
            found.add((told.get(_IFA_LOCAL, told.get(_IFA_ADDRESS, b"")), length))
    return found
