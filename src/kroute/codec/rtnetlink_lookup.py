"""Asking the kernel by which route it sends a packet (RTM_GETROUTE without NLM_F_DUMP, rtnetlink(7))."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from struct import pack
from typing import Final

from kroute.codec.rtnetlink import (
    KERNEL_FAMILY,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    KernelError,
    MalformedMessage,
    attribute,
    error_of,
    message,
    messages,
)
from kroute.codec.rtnetlink_route import RTA_DST, decode_route
from kroute.model.fib import Fate, Lookup
from kroute.model.net import Family

_RTM_F_LOOKUP_TABLE, _RTM_F_FIB_MATCH = 0x1000, 0x2000

_BY_KIND: Final[Mapping[int, Fate]] = {
    2: Fate.LOCAL,
    6: Fate.BLACKHOLE,
    7: Fate.UNREACHABLE,
    8: Fate.PROHIBIT,
}
"""What rtm_type stands for; the others (broadcast, anycast, multicast) leave by the interface of the route."""

_BY_ERRNO: Final[Mapping[int, Fate]] = {
    errno.EINVAL: Fate.BLACKHOLE,
    errno.EHOSTUNREACH: Fate.UNREACHABLE,
    errno.EACCES: Fate.PROHIBIT,
    errno.ENETUNREACH: Fate.NO_ROUTE,
}
"""How the kernel refuses to look up what it would drop (fib_props in net/ipv4/fib_semantics.c, ip6_fib)."""


def lookup_request(family: Family, address: bytes) -> bytes:
    """The request for the route to an address of 4 or 16 octets, as it stands in its table."""
    # IPv6 names the table in any case, and refuses to be asked for it.
    flags = _RTM_F_FIB_MATCH | (_RTM_F_LOOKUP_TABLE if family is Family.IPV4 else 0)
    body = pack("=BBBBBBBBI", KERNEL_FAMILY[family], family.bits, 0, 0, 0, 0, 0, 0, flags)
    return message(RTM_GETROUTE, NLM_F_REQUEST, body + attribute(RTA_DST, address))


def lookup_answer(datagram: bytes) -> Lookup | KernelError:
    """What the kernel answers; its refusal where that does not say what becomes of a packet.

    Raises:
        MalformedMessage: it is no answer to such a request.
    """
    for answer in messages(datagram):
        if answer.kind == RTM_NEWROUTE:
            _, prefix, form = decode_route(answer.body)
            return Lookup(
                fate=_BY_KIND.get(form.kind, Fate.FORWARDED),
                prefix=prefix,
                table=form.table,
                protocol=form.protocol,
                metric=form.metric,
                nexthops=form.nexthops,
            )
        if answer.kind == NLMSG_ERROR:
            refused = error_of(answer)
            fate = _BY_ERRNO.get(refused.errno)
            return refused if fate is None or refused.text else Lookup(fate=fate)
    raise MalformedMessage("rtnetlink: no answer to a lookup")
