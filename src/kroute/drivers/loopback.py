"""The addresses of static services on ``lo``, so that services can listen on them.

Ours bear our route protocol as IFA_PROTO (Linux 5.18 and later), and so are known again after a crash and removed by
cleanup; an address that somebody else has put there is used, and left alone.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from ipaddress import ip_interface

from kroute.codec.rtnetlink import NLMSG_DONE, RTM_NEWADDR, messages
from kroute.codec.rtnetlink_link import (
    AddressMessage,
    address_of,
    address_request,
    addresses_request,
)
from kroute.drivers.netlink import RouteSocket
from kroute.model.errors import DriverError
from kroute.model.net import Address, Family
from kroute.model.problem import Problem

LOOPBACK = "lo"
INDEX = 1
"""Of the loopback in every network namespace (linux/net/flow.h LOOPBACK_IFINDEX)."""


def apply(
    wanted: frozenset[Address], protocol: int, *, netns: str | None = None
) -> tuple[Problem, ...]:
    """Make the addresses of ours on lo exactly these; what an operator should know.

    Raises:
        DriverError: the kernel refused.
    """
    held = {a.interface.ip: a for a in _held(netns)}
    ours = {ip for ip, a in held.items() if a.protocol == protocol}
    socket = RouteSocket(netns=netns)
    try:
        for address in sorted(wanted - held.keys(), key=_order):
            _request(socket, address, protocol, add=True)
        for address in sorted(ours - wanted, key=_order):
            _request(socket, address, protocol, add=False)
    finally:
        socket.close()
    new = wanted - held.keys()
    unmarked = [a.interface.ip for a in _held(netns) if a.interface.ip in new and not a.protocol]
    return tuple(_unmarked(address) for address in sorted(unmarked, key=_order))


def cleanup(protocols: Iterable[int], *, netns: str | None = None) -> list[str]:
    """Remove the addresses on lo that bear one of these marks; what was removed, in words.

    Raises:
        DriverError: the kernel refused.
    """
    marks = set(protocols)
    ours = [a for a in _held(netns) if a.protocol in marks]
    socket = RouteSocket(netns=netns)
    try:
        for each in ours:
            _request(socket, each.interface.ip, each.protocol, add=False)
    finally:
        socket.close()
    return [f"address {a.interface} dev {LOOPBACK} proto {a.protocol}" for a in ours]


def _held(netns: str | None) -> list[AddressMessage]:
    """The addresses on lo."""
    found: list[AddressMessage] = []
    for family in Family:
        socket = RouteSocket(netns=netns)
        try:
            for datagram in socket.dump(addresses_request(family)):
                answers = list(messages(datagram))
                told = [address_of(a.body) for a in answers if a.kind == RTM_NEWADDR]
                found += [a for a in told if a is not None and a.ifindex == INDEX]
                if any(a.kind == NLMSG_DONE for a in answers):
                    break
        finally:
            socket.close()
    return found


def _request(socket: RouteSocket, address: Address, protocol: int, *, add: bool) -> None:
    """Add or remove one address; what is there already, or gone already, is no error."""
    try:
        socket.request(address_request(ip_interface(address), INDEX, protocol, add=add))
    except DriverError as error:
        cause = error.__cause__
        known = (errno.EEXIST,) if add else (errno.EADDRNOTAVAIL,)
        if not (isinstance(cause, OSError) and cause.errno in known):
            what = "put on" if add else "removed from"
            raise DriverError(f"{address} cannot be {what} {LOOPBACK}: {error}") from error


def _order(address: Address) -> tuple[int, bytes]:
    return address.version, address.packed


def _unmarked(address: Address) -> Problem:
    return Problem(
        object=f"address/{address}",
        reason=f"is on {LOOPBACK} without our mark, which this kernel does not keep (Linux 5.18 does); "
        "remove it by hand when it is not wanted any more",
    )
