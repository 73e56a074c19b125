"""What a rule changes of a route, compiled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from kroute.model.bgp import AsSegment, Attributes, SegmentType
from kroute.model.communities import Community, CommunityPattern
from kroute.model.fib import OWN_PLACE, Place

MOST_ASNS = 255
"""ASes that a segment can hold (RFC 4271 §4.3 b)."""


class Draft(NamedTuple):
    """A route on its way through a policy: what it has become so far, and which rules made it so."""

    attributes: Attributes
    rules: tuple[str, ...] = ()
    weight: int = 1
    place: Place = OWN_PLACE
    nexthop: bytes = b""
    """The next hop that a rule has set, if one has."""
    med: bool = False
    """Whether a rule has set MED: it is then told to external peers as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """What to set. A next hop has 4 or 16 octets.

    ``place`` has 0 for what it leaves as it is. ``prepend`` are the ASes to put in front of the AS path; 0 stands for
    the one that the path came from.
    """

    local_pref: int | None = None
    med: int | None = None
    weight: int | None = None
    place: Place = OWN_PLACE
    prepend: tuple[int, ...] = ()
    add: tuple[Community, ...] = ()
    remove: tuple[CommunityPattern, ...] = ()
    nexthop: bytes = b""

    def apply(self, draft: Draft, rule: str) -> Draft:
        """The route as this rule leaves it."""
        attributes, changes = draft.attributes, self._changes(draft.attributes)
        return Draft(
            attributes=replace(attributes, **changes) if changes else attributes,
            rules=(*draft.rules, rule),
            weight=draft.weight if self.weight is None else self.weight,
            place=self._moved(draft.place),
            nexthop=self.nexthop or draft.nexthop,
            med=draft.med or self.med is not None,
        )

    def _moved(self, before: Place) -> Place:
        return Place(self.place.table or before.table, self.place.metric or before.metric)

    def _changes(self, attributes: Attributes) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        if self.local_pref is not None:
            changes["local_pref"] = self.local_pref
        if self.med is not None:
            changes["med"] = self.med
        if self.prepend:
            known = (asn or attributes.neighbor_as for asn in self.prepend)
            asns = tuple(asn for asn in known if asn is not None)
            changes["as_path"] = prepended(asns, attributes.as_path)
        if self.nexthop:
            changes["nexthop"], changes["link_local"] = self.nexthop, b""
        if self.add or self.remove:
            changes["communities"] = self._edited(attributes.communities, int)
            changes["extended_communities"] = self._edited(attributes.extended_communities, bytes)
            changes["large_communities"] = self._edited(attributes.large_communities, tuple)
        return changes

    def _edited(self, held: tuple[Any, ...], kind: type) -> tuple[Any, ...]:
        """The communities of one kind, sorted, after removing and adding."""
        left = {c for c in held if not any(pattern.names(c) for pattern in self.remove)}
        return tuple(sorted(left.union(c for c in self.add if isinstance(c, kind))))


def prepended(asns: tuple[int, ...], path: tuple[AsSegment, ...]) -> tuple[AsSegment, ...]:
    """An AS path with ASes in front; they join its first segment where that is a sequence with room."""
    if not asns:
        return path
    first = path[0] if path else None
    if (
        first is not None
        and first.type is SegmentType.AS_SEQUENCE
        and len(first.asns) + len(asns) <= MOST_ASNS
    ):
        return (AsSegment(SegmentType.AS_SEQUENCE, (*asns, *first.asns)), *path[1:])
    return (AsSegment(SegmentType.AS_SEQUENCE, asns), *path)
