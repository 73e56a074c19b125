"""By which route the kernel really forwards: ours, or one of others that it prefers."""

from __future__ import annotations

from kroute.codec.rtnetlink import KernelError
from kroute.codec.rtnetlink_lookup import lookup_answer, lookup_request
from kroute.drivers.netlink import RouteSocket, reason_of
from kroute.model.errors import DriverError
from kroute.model.fib import Lookup
from kroute.model.net import Address, Family


def lookup(address: Address, netns: str | None = None) -> Lookup:
    """The route to an address for packets of the node itself, all tables and rules considered.

    Waits for the kernel.

    Raises:
        DriverError: the kernel did not answer, or refused.
    """
    family = Family.IPV4 if address.version == 4 else Family.IPV6
    asking = RouteSocket(netns=netns)
    try:
        found = lookup_answer(next(asking.dump(lookup_request(family, address.packed))))
    finally:
        asking.close()
    if isinstance(found, KernelError):
        raise DriverError(f"route lookup: {reason_of(found)}")
    return found
