"""The words in which the neighbours of a kroute node are configured and answer, whatever program they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from support.daemon import Site
from support.daemon_peers import Path_
from support.netns import Namespace

PROGRAMS = ("bird", "frr", "gobgp", "openbgpd", "kroute")
FAMILIES = ("ipv4", "ipv6")
TAGS = {"community": "64999:8", "large": "64999:3:4", "extended": "rt:64999:10"}
"""Communities that a neighbour puts on what it announces."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """One session of a neighbour with the kroute node, seen from the neighbour."""

    local: str
    peer: str
    families: tuple[str, ...] = FAMILIES
    key: str = ""
    """TCP MD5 key."""
    hops: int = 0
    """GTSM (RFC 5082) over this many hops; 0: off."""
    ttl: int = 0
    """TTL of a session over routers without GTSM; 0: a direct neighbour."""
    passive: bool = False
    limit: int = 0
    """Most prefixes of a family that the neighbour takes; 0: any number."""
    client: bool = False
    """The other end is a client of this reflector."""


class Neighbour(Protocol):
    """A program in that role."""

    where: Namespace
    asn: int

    def path(self, prefix: str) -> Path_:
        """What it knows of a route from outside; empty if nothing."""

    def detail(self, prefix: str) -> str:
        """All that it says of a route, in its own words; see :func:`has_tags`."""

    def announce(self, *prefixes: str) -> None:
        """Originate routes."""

    def withdraw(self, *prefixes: str) -> None:
        """No longer."""

    def end(self, number: int) -> None:
        """End the program by a signal."""

    def leave(self) -> None:
        """End the program as its manual says for a restart that keeps traffic flowing, if it says anything."""

    def start(self) -> None:
        """Start it again, announcing what it did."""

    def shut(self, text: str) -> None:
        """Shut the sessions down with words to the peer."""

    def reopen(self) -> None:
        """Let them come back."""

    def rekey(self, old: str, new: str) -> None:
        """Use another TCP MD5 key from now on; GoBGP and OpenBGPD do not on running sessions, and lack this."""

    def words(self) -> str:
        """Where its operator finds what the peer has said: the page of its sessions, or its log."""


def family_of(prefix: str) -> str:
    return "ipv6" if ":" in prefix else "ipv4"


@dataclass(frozen=True, kw_only=True)
class Cast:
    """What all neighbours of one scene have in common, and where one of them is."""

    site: Site
    where: Namespace
    number: int
    """Of the host: 192.0.2.NUMBER, 2001:db8::NUMBER."""
    asn: int
    peer_asn: int
    sessions: Sequence[Session]

    def own(self, family: str) -> str:
        """Its address as a next hop: our end of a session that carries the family, if possible of that family."""
        ends = [s.local for s in self.sessions if family in s.families]
        found = next((end for end in ends if family_of(end) == family), ends[0])
        if family == "ipv6" and family_of(found) == "ipv4":
            return f"2001:db8::{self.number}"
        return found

    def folder(self, name: str) -> Path:
        return self.site.folder / f"{name}{self.number}"


def has_tags(detail: str, *tags: str) -> bool:
    """Whether a program's words on a route hold all of these communities, however it writes them."""
    text = detail.replace(", ", ":").replace(",", ":").replace("rt:", "").replace("rt ", "")
    return all(tag.removeprefix("rt:") in text for tag in tags)
