"""What a peer was asked for in the OPEN and has not granted: several paths to a prefix (RFC 7911).

The session is up all the same and carries the best paths, so nothing looks broken; but traffic that was to be shared
among several next hops takes one. Families that the session does not carry at all are another matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from kroute.model.bgp import Negotiated
from kroute.model.net import Family, Nlri
from kroute.model.problem import Problem
from kroute.model.session_keys import AddPath
from kroute.plan.peers import PeerState
from kroute.plan.routing import Routing

SHOWN: Final = 3
"""Peers that a sentence names."""

_WAYS: Final = {
    (False, False): AddPath.OFF,
    (True, False): AddPath.RECEIVE,
    (False, True): AddPath.SEND,
    (True, True): AddPath.BOTH,
}


class Declined(NamedTuple):
    """Families in which a peer has granted less than was asked for, and what it has offered itself (empty: nothing)."""

    families: tuple[Family, ...]
    asked: AddPath
    granted: AddPath
    offer: str

    def brief(self) -> str:
        """Asked and granted, for a table."""
        names = ", ".join(f.label for f in self.families)
        granted = (
            "declined" if self.granted is AddPath.OFF else f"only {self.granted.value} granted"
        )
        return f"addPath {self.asked.value} {granted} in {names}"

    def words(self) -> str:
        """The whole story: asked, granted, why, and what is in force."""
        names = ", ".join(f.label for f in self.families)
        granted = "nothing" if self.granted is AddPath.OFF else self.granted.value
        offer = self.offer or "no add-path"
        return (
            f"{names}: addPath {self.asked.value} was asked for, {granted} is granted, for the peer offers {offer}; "
            f"so {' and '.join(self._in_force())}"
        )

    def _in_force(self) -> Iterator[str]:
        if self.asked.receives:
            several = self.granted.receives
            yield f"it tells us {'several paths' if several else 'one path'} to a prefix"
        if self.asked.sends:
            several = self.granted.sends
            yield f"we tell it {'several paths' if several else 'the best path alone'}"


def declined(state: PeerState) -> list[Declined]:
    """What the peer has not granted in the session that is up, families that fare alike together."""
    agreed = state.negotiated
    if agreed is None or not state.established:
        return []
    found: dict[tuple[AddPath, AddPath], list[Family]] = {}
    for family in agreed.families:
        asked = _way(family, state.peer.add_path, state.peer.add_path_send)
        granted = _way(family, agreed.add_path, agreed.add_path_send)
        if asked is not granted:
            found.setdefault((asked, granted), []).append(family)
    return [Declined(tuple(f), *ways, _offer(agreed)) for ways, f in found.items()]


def declined_problems(state: PeerState) -> Iterator[Problem]:
    """The same as problems: what was configured is not in force."""
    for found in declined(state):
        yield Problem(object=state.peer.name, field="addPath", reason=found.words())


def declined_hint(state: PeerState) -> str:
    """What an operator can do about it; empty where all is granted."""
    ways = [w for d in declined(state) for w in _missing(d)]
    wanted = " and ".join(dict.fromkeys(ways))
    return (
        wanted and f"let the peer {wanted} several paths (add-path, RFC 7911), or change `addPath`"
    )


def declined_story(routing: Routing, family: Family, nlri: Nlri) -> Iterator[str]:
    """Of the story of a prefix that has several paths, or a path of such a peer: who declines to hear or tell more."""
    rivals = [path for path in routing.rib.rivals(family, nlri) if path.eligible]
    sources = {path.source.name for path in rivals}
    deaf: list[str] = []
    for name, state in sorted(routing.peers.items()):
        missing = {w for d in declined(state) if family in d.families for w in _missing(d)}
        if "tell" in missing and name in sources:
            yield f"{name} was asked for all its paths (addPath) and tells one: it declines"
        if "take" in missing and len(rivals) > 1:
            deaf.append(name)
    if deaf:
        more = f" and {len(deaf) - SHOWN} more" * (len(deaf) > SHOWN)
        yield f"told to {', '.join(deaf[:SHOWN])}{more} with the best path alone: several (addPath) are declined there"


def _missing(found: Declined) -> Iterator[str]:
    """What the peer does not do, as it would be asked to."""
    if found.asked.receives and not found.granted.receives:
        yield "tell"
    if found.asked.sends and not found.granted.sends:
        yield "take"


def _way(family: Family, receive: tuple[Family, ...], send: tuple[Family, ...]) -> AddPath:
    return _WAYS[family in receive, family in send]


def _offer(agreed: Negotiated) -> str:
    return next((c.theirs for c in agreed.capabilities if c.name == "add-path"), "")
