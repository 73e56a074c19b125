"""What a learned prefix is to this node, for rules and `announce`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kroute.model.net import Family, Nlri
from kroute.model.policies import OriginClass
from kroute.plan.paths import Path
from kroute.plan.policy.matching import PrefixSet

DEFAULT_ROUTE: Nlri = b"\0"

NOTHING = PrefixSet(())


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """What the inventory and the configuration say of prefixes. A value: new data is a new one."""

    me: str = ""
    owners: Mapping[tuple[Family, Nlri], str] = field(default_factory=dict)
    """Which node owns which podCIDR."""
    services: PrefixSet = NOTHING
    """The ranges that services may have addresses in."""

    def kind(self, path: Path, family: Family, nlri: Nlri) -> OriginClass:
        """The class of a path's prefix: an own one's is said by who originates it."""
        if path.is_local:
            return OriginClass.OWN_PODS if path.origination is None else path.origination.kind
        owner = self.owners.get((family, nlri))
        if owner is not None:
            return OriginClass.OWN_PODS if owner == self.me else OriginClass.PEER_PODS
        if nlri == DEFAULT_ROUTE:
            return OriginClass.DEFAULT
        service = self.services.holds(family, nlri)
        return OriginClass.SERVICE if service else OriginClass.EXTERNAL

    def differs(self, before: Classes) -> Listed | None:
        """The prefixes whose class may be another than before; None: any."""
        if self.services != before.services:
            return None
        mine, theirs = self.owners, before.owners
        if mine is theirs and self.me == before.me:
            return Listed(frozenset())
        changed = {k for k, owner in mine.items() if theirs.get(k) != owner}
        changed.update(k for k in theirs if k not in mine)
        if self.me != before.me:
            changed.update(k for k, owner in mine.items() if owner in (self.me, before.me))
        return Listed(frozenset(changed))


@dataclass(frozen=True, slots=True)
class Listed:
    """Just these prefixes (a :class:`kroute.plan.policy.origin.Concern`)."""

    prefixes: frozenset[tuple[Family, Nlri]]

    def among(self, family: Family, table: Mapping[Nlri, object]) -> list[Nlri]:
        """Those of them that a table has."""
        return [nlri for f, nlri in self.prefixes if f is family and nlri in table]
