"""What a change of a peer's import rules concerns: often a few prefixes, and then no more are judged again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kroute.model.net import Family, Nlri
from kroute.plan.policy.imports import ImportRules

if TYPE_CHECKING:
    from kroute.plan.paths import Path


@dataclass(frozen=True, slots=True)
class Named:
    """Just these prefixes (see :class:`kroute.plan.policy.origin.Concern`)."""

    keys: frozenset[tuple[Family, Nlri]]

    def among(self, family: Family, table: Mapping[Nlri, Path]) -> list[Nlri]:
        """Those of them that a table holds."""
        return [nlri for f, nlri in self.keys if f is family and nlri in table]


def concerned(before: ImportRules, after: ImportRules) -> Named | None:
    """The prefixes that two rules may judge differently; None: any.

    With `accept: podCidrs` each node that comes or goes changes the rules, but in its own ranges only.
    """
    old, new = before.acceptance.exact, after.acceptance.exact
    if old is None or new is None:
        return None
    if replace(after, acceptance=replace(after.acceptance, exact=old)) != before:
        return None
    return Named(old ^ new)
