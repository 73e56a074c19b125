"""Nexthop objects in the kernel: what :mod:`nexthops` keeps account of is made, changed and removed here."""

from __future__ import annotations

from collections.abc import Iterable

from kroute.codec.rtnetlink import (
    NLMSG_DONE,
    NLMSG_ERROR,
    RTM_NEWNEXTHOP,
    MalformedMessage,
    error_of,
    messages,
)
from kroute.codec.rtnetlink_nexthop import (
    NexthopObject,
    nexthop_of,
    nexthops_request,
    refused_nexthop,
)
from kroute.drivers.fib.nexthops import NexthopObjects, leg_of
from kroute.drivers.netlink import RouteSocket, reason_of
from kroute.model.errors import DriverError
from kroute.model.fib import Nexthop, Nexthops
from kroute.model.net import Family

_BATCH = 256


def read_objects(netns: str | None) -> list[NexthopObject]:
    """All nexthop objects that the kernel has.

    Raises:
        DriverError: the kernel did not answer.
    """
    found: list[NexthopObject] = []
    reader = RouteSocket(netns=netns)
    try:
        for datagram in reader.dump(nexthops_request()):
            for message in messages(datagram):
                if message.kind == RTM_NEWNEXTHOP:
                    found.append(nexthop_of(message.body))
                elif message.kind in (NLMSG_DONE, NLMSG_ERROR):
                    if (said := error_of(message)).errno:
                        raise DriverError(f"nexthop dump: {reason_of(said)}")
                    return found
    except MalformedMessage as cause:
        raise DriverError(f"nexthop dump: {cause}") from cause
    finally:
        reader.close()
    raise DriverError("nexthop dump: no end")


class KernelObjects:
    """The nexthop objects of one protocol; sends by the socket that also writes the routes, so in order."""

    def __init__(self, *, protocol: int, socket: RouteSocket, netns: str | None) -> None:
        """Nothing is read yet: :meth:`compare` comes first."""
        self._ids = NexthopObjects(protocol)
        self._socket, self._netns = socket, netns

    def __len__(self) -> int:
        return len(self._ids)

    def compare(self) -> None:
        """Make the kernel's objects what ours should be; adopt those of an earlier life.

        Raises:
            DriverError: the kernel did not answer.
        """
        self._send(self._ids.compare(read_objects(self._netns)))

    def ensure(self, family: Family, nexthops: Nexthops) -> int:
        """The id for these legs, made where it is missing; 0 where there can be none.

        A route without interface is then written plain, and anew at every comparison.

        Raises:
            DriverError: the socket failed.
        """
        nhid, requests = self._ids.ensure(family, nexthops)
        self._send(requests)
        return nhid

    def legs_of(self, nhid: int) -> Nexthops | None:
        """What an id stands for; None if it is none of ours."""
        return self._ids.legs_of(nhid)

    def why_not(self, family: Family, nexthops: Nexthops) -> str:
        """Why an object for these legs was refused; empty if none was."""
        return self._ids.why_not(family, nexthops)

    def divert(self, family: Family, lost: Nexthop, instead: Nexthop | None) -> None:
        """Let all routes over a leg take another at once, by one message; None: no longer.

        Raises:
            DriverError: the socket failed.
        """
        other = leg_of(family, instead) if instead is not None else None
        self._send(self._ids.divert(leg_of(family, lost), other))

    def prune(
        self, used: Iterable[int], desired: Iterable[tuple[Family, Iterable[Nexthops]]]
    ) -> bool:
        """Remove objects that are neither used, nor for desired legs, nor part of such. True if any was.

        Raises:
            DriverError: the socket failed.
        """
        keep = set(used)
        for family, ways in desired:
            keep.update(self._ids.known(family, nexthops) for nexthops in ways)
        requests = self._ids.prune(keep)
        self._send(requests)
        return bool(requests)

    def _send(self, requests: list[bytes]) -> None:
        for start in range(0, len(requests), _BATCH):
            self._socket.send(b"".join(requests[start : start + _BATCH]))
            for refusal in self._socket.refusals():
                self._ids.failed[refused_nexthop(refusal)] = reason_of(refusal)
