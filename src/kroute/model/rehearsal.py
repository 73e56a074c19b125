"""What a rehearsal finds: the differences between two states of a cluster, node by node.

``kroute plan -o json`` prints these values with their fields in camelCase, so names here are stable.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Change(StrEnum):
    """What happens to a session, a route or a node."""

    ADDED = "added"
    REMOVED = "removed"
    RESET = "reset"
    """A session ends and starts again, because a parameter of its OPEN or its TCP connection changes."""
    REPLACED = "replaced"
    """A route's next hops change."""
    CHANGED = "changed"
    """Something about it changes; a session stays up meanwhile."""
    SAME = "same"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionChange:
    """Sessions of one node that change alike."""

    change: Change
    peers: tuple[str, ...]
    """Sorted."""
    because: tuple[str, ...] = ()
    """The parameters that differ, as ``holdTime 90 → 9``; of new sessions, what they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncementChange:
    """What some peers, told alike before and after, are told anew. New sessions are told everything, and not listed."""

    peers: tuple[str, ...]
    announced: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    """Announced before, and again with other attributes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteChange:
    """One kernel route; next hops in words, empty where there is none."""

    change: Change
    prefix: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Caution:
    """Something that an operator will want to know before, and not after."""

    node: str
    """Empty: it is about the cluster."""
    code: str
    """Stable: ``no-peer-left``, ``unreachable``, ``routes-lost``, ``one-sided``, ``all-reset``, ``no-client``,
    ``one-reflector``, ``restart-needed``, ``problem``."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """All that changes on one node."""

    node: str
    change: Change = Change.CHANGED
    """``added`` or ``removed`` for a node that joins or leaves, ``same`` where nothing changes."""
    sessions_before: int = 0
    sessions_after: int = 0
    routes_before: int | None = 0
    """None where they were not counted: nothing that decides about them changes."""
    routes_after: int | None = 0
    sessions: tuple[SessionChange, ...] = ()
    announcements: tuple[AnnouncementChange, ...] = ()
    routes: tuple[RouteChange, ...] = ()
    conflist: tuple[str, ...] = ()
    """A unified diff of the file, line by line; empty where it stays."""
    cautions: tuple[Caution, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsalReport:
    """The whole answer; ``nodes`` are those that were looked at, changed or not, by name."""

    nodes: tuple[NodeReport, ...]
    cautions: tuple[Caution, ...] = ()
    """Those about the cluster, then those of each node."""

    @property
    def changes(self) -> bool:
        """Whether anything would change."""
        return any(node.change is not Change.SAME for node in self.nodes)
