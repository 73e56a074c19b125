"""What the origin check found in the tables, counted: 100,000 leaked prefixes are one problem with three examples.

What an external peer's acceptance leaves out is no problem, invalid or not: nothing depends on the check there, and
fabrics tell every node everybody's podCIDRs as a matter of course.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from heapq import nsmallest
from typing import Final

from kroute.model.net import Family, Nlri, prefix_of
from kroute.model.policies import OriginState
from kroute.model.problem import Problem, Severity
from kroute.model.reason import Reason, Why
from kroute.plan.adj_in import AdjRibIn
from kroute.plan.paths import Path
from kroute.plan.peers import PeerState
from kroute.plan.routing import Routing

EXAMPLES: Final = 3
"""Prefixes that a problem names."""

GRAVE: Final = frozenset({Why.ORIGIN_HIJACK, Why.ORIGIN_MORE_SPECIFIC})
"""Reasons for which packets to pods would have gone astray."""


def tally(routing: Routing) -> Counter[tuple[OriginState, str]]:
    """How many paths of all peers have which state, and for which reason (empty unless invalid)."""
    found: Counter[tuple[OriginState, str]] = Counter()
    for state in routing.peers.values():
        for _, table in state.tables:
            for path, count in Counter(table.values()).items():
                why = path.outcome.objection
                found[path.outcome.origin, why.why.value if why else ""] += count
    return found


def origin_problems(state: PeerState) -> Iterator[Problem]:
    """One problem for each reason for which the check refuses paths of a peer, or lets them pass with a warning."""
    counts: Counter[tuple[Why, bool]] = Counter()
    examples: dict[tuple[Why, bool], list[tuple[Family, Nlri, Reason]]] = {}
    for family, table in state.tables:
        for (why, used), paths in _decided_by_the_check(table).items():
            concerned = [n for n, path in table.items() if path in paths]
            counts[why, used] += len(concerned)
            first = nsmallest(EXAMPLES, concerned, key=lambda n: (n[1:], n[0]))
            some = examples.setdefault((why, used), [])
            some += [(family, n, paths[table[n]]) for n in first]
    for (why, used), count in sorted(counts.items()):
        yield _problem(state.adj_in, why, used, count, examples[why, used][:EXAMPLES])


def _decided_by_the_check(
    table: Mapping[Nlri, Path],
) -> dict[tuple[Why, bool], dict[Path, Reason]]:
    """Paths that nothing but the check refuses or should have refused, by reason and by whether they are taken."""
    found: dict[tuple[Why, bool], dict[Path, Reason]] = {}
    for path in set(table.values()):
        objection = path.outcome.objection
        if objection is not None and path.refusal in (None, objection):
            found.setdefault((objection.why, path.refusal is None), {})[path] = objection
    return found


def _problem(
    rib: AdjRibIn, why: Why, used: bool, count: int, examples: list[tuple[Family, Nlri, Reason]]
) -> Problem:
    reason = examples[0][2]
    named = ", ".join(str(prefix_of(family, nlri)) for family, nlri, _ in examples)
    what = "taken all the same, since originCheck.mode is warn" if used else "refused"
    return Problem(
        object=rib.source.name,
        field="origin",
        reason=f"{count} {'prefix' if count == 1 else 'prefixes'} {what} ({why.value}): {named}"
        f"{', …' if count > len(examples) else ''}. {reason.text}",
        severity=Severity.ERROR if why in GRAVE else Severity.WARNING,
    )
