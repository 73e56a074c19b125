"""Nexthop objects: which ids stand for which legs and sets of legs. Bookkeeping only; ``table`` sends.

Each leg (gateway and interface) has an object; a set has a group of them. A route over one leg points at the
leg, over several at the group. When a next hop fails, its leg's object takes the content of another leg: one
message, and all routes over it follow, alone or in groups. The routes themselves are rewritten at leisure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kroute.codec.rtnetlink_nexthop import (
    NexthopObject,
    group_request,
    leg_family,
    leg_request,
    removal_request,
)
from kroute.model.fib import Nexthop, Nexthops
from kroute.model.net import Family

FIRST_ID = 0x4B520000
"""Our range of ids begins here ("KR"): law 3's mark of nexthop objects, beside the protocol id."""
IDS = 0x10000


class Leg(NamedTuple):
    """What the object of one leg says."""

    family: Family
    gateway: bytes | None
    oif: int


Members = tuple[tuple[int, int], ...]
"""(id, weight) of each leg."""


def in_range(nhid: int) -> bool:
    """Whether an id is of our range."""
    return FIRST_ID <= nhid < FIRST_ID + IDS


class NexthopObjects:
    """The ids of one protocol. ``failed`` tells what the kernel said of objects that it refused."""

    def __init__(self, protocol: int) -> None:
        """No objects yet; :meth:`compare` with the kernel comes first."""
        self.failed: dict[int, str] = {}
        self._protocol = protocol
        self._legs: dict[Leg, int] = {}
        self._groups: dict[Members, int] = {}
        self._content: dict[int, Leg | Members] = {}
        self._instead: dict[Leg, Leg] = {}
        self._foreign: set[int] = set()
        self._last = FIRST_ID

    def ensure(self, family: Family, nexthops: Nexthops) -> tuple[int, list[bytes]]:
        """The id for these legs, and the requests that make what is missing, to be sent before any route.

        The id is 0 where there can be none: a blackhole, a leg without interface, or no id left.
        """
        if not nexthops or not all(leg.oif for leg in nexthops):
            return 0, []
        if there := self.known(family, nexthops):
            return there, []
        if IDS - len(self._content) - len(self._foreign) <= len(nexthops):
            return 0, []
        requests: list[bytes] = []
        members = tuple((self._leg(leg_of(family, leg), requests), leg.weight) for leg in nexthops)
        if len(members) == 1:
            return members[0][0], requests
        if (nhid := self._groups.get(members)) is None:
            nhid = self._groups[members] = self._new_id()
            self._content[nhid] = members
            requests.append(self._request(nhid))
        return nhid, requests

    def known(self, family: Family, nexthops: Nexthops) -> int:
        """The id for these legs if there is one, else 0."""
        members = tuple((self._legs.get(leg_of(family, leg), 0), leg.weight) for leg in nexthops)
        if len(members) == 1:
            return members[0][0]
        return self._groups.get(members, 0)

    def legs_of(self, nhid: int) -> Nexthops | None:
        """What an id stands for; None if it is none of ours."""
        content = self._content.get(nhid)
        if content is None:
            return None
        legs = []
        for each, weight in ((nhid, 1),) if isinstance(content, Leg) else content:
            leg = self._content.get(each)
            if not isinstance(leg, Leg):
                return None
            legs.append(Nexthop(leg.gateway, leg.oif, weight))
        return tuple(legs)

    def why_not(self, family: Family, nexthops: Nexthops) -> str:
        """Why the object for these legs, or one of its parts, was refused; empty if none was."""
        ids = (self._legs.get(leg_of(family, leg), 0) for leg in nexthops)
        return next((self.failed[nhid] for nhid in ids if nhid in self.failed), "")

    def divert(self, lost: Leg, instead: Leg | None) -> list[bytes]:
        """Let a leg's object lead another way from now on; None ends that. The requests that do it."""
        if instead is None:
            if self._instead.pop(lost, None) is None:
                return []
        else:
            self._instead[lost] = instead
        nhid = self._legs.get(lost)
        return [] if nhid is None else [self._request(nhid)]

    def compare(self, found: Iterable[NexthopObject]) -> list[bytes]:
        """The requests that make the kernel's objects what ours should be.

        Objects of our mark that are not known are adopted: an earlier life left them.
        """
        objects = {each.nhid: each for each in found if in_range(each.nhid)}
        self._foreign = {i for i, each in objects.items() if each.protocol != self._protocol}
        self.failed.clear()
        for nhid, each in sorted(objects.items()):
            if nhid not in self._content and nhid not in self._foreign:
                self._adopt(each)
        wrong = [
            nhid
            for nhid, content in self._content.items()
            if content and (nhid not in objects or _content_of(objects[nhid]) != self._wanted(nhid))
        ]
        return [self._request(nhid) for nhid in sorted(wrong, key=self._legs_first)]

    def prune(self, used: set[int]) -> list[bytes]:
        """Forget all that is not among ``used`` nor part of it; the requests that remove it, groups first."""
        members = {
            each
            for nhid in used
            if (content := self._content.get(nhid)) is not None and not isinstance(content, Leg)
            for each, _ in content
        }
        unused = [nhid for nhid in self._content if nhid not in used and nhid not in members]
        unused.sort(key=self._legs_first, reverse=True)
        for nhid in unused:
            content = self._content.pop(nhid)
            if isinstance(content, Leg):
                if self._legs.get(content) == nhid:
                    del self._legs[content]
            elif self._groups.get(content) == nhid:
                del self._groups[content]
        return [removal_request(nhid) for nhid in unused]

    def __len__(self) -> int:
        return len(self._content)

    def _leg(self, leg: Leg, requests: list[bytes]) -> int:
        if (nhid := self._legs.get(leg)) is None:
            nhid = self._legs[leg] = self._new_id()
            self._content[nhid] = leg
            requests.append(self._request(nhid))
        return nhid

    def _adopt(self, found: NexthopObject) -> None:
        content = _content_of(found)
        self._content[found.nhid] = content
        if isinstance(content, Leg):
            self._legs.setdefault(content, found.nhid)
        elif content:
            self._groups.setdefault(content, found.nhid)

    def _wanted(self, nhid: int) -> Leg | Members:
        content = self._content[nhid]
        return self._instead.get(content, content) if isinstance(content, Leg) else content

    def _request(self, nhid: int) -> bytes:
        content = self._wanted(nhid)
        if isinstance(content, Leg):
            leg = Nexthop(content.gateway, content.oif)
            return leg_request(nhid, content.family, leg, self._protocol)
        return group_request(nhid, content, self._protocol)

    def _legs_first(self, nhid: int) -> tuple[bool, int]:
        return not isinstance(self._content[nhid], Leg), nhid

    def _new_id(self) -> int:
        while True:
            self._last = FIRST_ID + (self._last + 1 - FIRST_ID) % IDS
            if self._last not in self._content and self._last not in self._foreign:
                return self._last


def leg_of(family: Family, nexthop: Nexthop) -> Leg:
    """The content of the object for a leg of routes of a family."""
    return Leg(leg_family(family, nexthop), nexthop.gateway, nexthop.oif)


def _content_of(found: NexthopObject) -> Leg | Members:
    if found.leg is None or found.family is None:
        return found.members
    return Leg(found.family, found.leg.gateway, found.leg.oif)
