"""What a change of a peer's import rules concerns: often a few prefixes, and then no more are judged again."""

from __future__ import annotations

from dataclasses import replace

from kroute.plan.policy.classes import Listed
from kroute.plan.policy.imports import ImportRules


def concerned(before: ImportRules, after: ImportRules) -> Listed | None:
    """The prefixes that two rules may judge differently; None: any.

    With `accept: podCidrs` each node that comes or goes changes the rules, but in its own ranges only.
    """
    old, new = before.acceptance.exact, after.acceptance.exact
    if old is None or new is None:
        return None
    if replace(after, acceptance=replace(after.acceptance, exact=old)) != before:
        return None
    return Listed(old ^ new)
