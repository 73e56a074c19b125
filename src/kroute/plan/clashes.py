"""Names that two clusters must not share, told by what comes over the sessions that join them.

A path that looks as if it had come back to us, for a prefix that is none of ours and that nothing else leads to, has
not come back: somebody else uses our cluster id, AS or router id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import nsmallest
from typing import Final

from kroute.model.net import Family, Nlri, prefix_of
from kroute.model.problem import Problem, Severity
from kroute.model.reason import Why
from kroute.plan.paths import Path
from kroute.plan.peers import PeerState
from kroute.plan.routing import Routing

EXAMPLES: Final = 3
"""Prefixes that a problem names."""

_WORDS: Final = {
    Why.CLUSTER_LOOP: (
        "clusterId",
        "a reflector with our cluster id has passed them on, though no node of ours owns them: another cluster "
        "reflects with the same id. Give each its own (peering.routeReflector.clusterId)",
    ),
    Why.AS_PATH_LOOP: (
        "asn",
        "our AS is in their AS path, though no node of ours owns them: another cluster is of the same AS. Give each "
        "its own (bgp.asn), or join them by internal sessions through a reflector",
    ),
    Why.ORIGINATOR_LOOP: (
        "routerId",
        "they name us as their originator, though no node of ours owns them: a node of another cluster has our router "
        "id, so the addresses of nodes overlap. Give them other ones (bgp.routerId)",
    ),
}
"""Field and explanation of each kind of clash."""


def clash_problems(
    routing: Routing, state: PeerState, owners: Mapping[tuple[Family, Nlri], str]
) -> Iterator[Problem]:
    """One problem for each kind of clash that the paths of a peer tell of; ``owners`` are those of podCIDRs."""
    found: dict[Why, list[tuple[Family, Nlri]]] = {}
    for family, table in state.tables:
        looping = {
            path: path.refusal.why for path in set(table.values()) if path.refusal and _loops(path)
        }
        if not looping:
            continue
        for nlri, path in table.items():
            strange = (family, nlri) not in owners and nlri not in routing.rib.loc[family]
            if path in looping and strange:
                found.setdefault(looping[path], []).append((family, nlri))
    for why, prefixes in sorted(found.items()):
        yield _problem(state, why, prefixes)


def _loops(path: Path) -> bool:
    """Whether a path is refused for a loop, and would be taken otherwise."""
    return path.refusal is not None and path.refusal.why in _WORDS and path.outcome.refusal is None


def _problem(state: PeerState, why: Why, prefixes: list[tuple[Family, Nlri]]) -> Problem:
    field, words = _WORDS[why]
    first = nsmallest(EXAMPLES, prefixes, key=lambda p: (p[0], p[1][1:], p[1][0]))
    named = ", ".join(str(prefix_of(family, nlri)) for family, nlri in first)
    more = ", …" if len(prefixes) > len(first) else ""
    count = f"{len(prefixes)} {'prefix' if len(prefixes) == 1 else 'prefixes'}"
    return Problem(
        object=state.peer.name,
        field=field,
        reason=f"{count} refused ({named}{more}): {words}",
        severity=Severity.ERROR,
    )
