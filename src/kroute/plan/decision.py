"""The decision process: RFC 4271 §9.1.2.2 with RFC 4456 §9, as successive elimination.

The standard's procedure                          Here, one function a step
-----------------------------------------------   -------------------------
9.1.2    unresolvable or looping paths are out    (``Path.eligible``)
         what the node originates wins            :func:`local`
         what somebody announces before seeds     :func:`announced`
9.1.1    highest degree of preference             :func:`local_pref`
9.1.2.2  a) shortest AS_PATH                      :func:`as_path_length`
         b) lowest ORIGIN                         :func:`origin`
         c) lowest MED, per neighbouring AS       :func:`med`
         d) external before internal              :func:`external`
         e) lowest cost to the next hop           :func:`igp_metric`
         equal up to here: ECMP                   (``EQUAL`` ends, ``TIES`` begins)
         f) lowest BGP identifier; ORIGINATOR_ID  :func:`router_id`
 4456 §9 shortest CLUSTER_LIST                    :func:`cluster_length`
         g) lowest peer address                   :func:`peer_address`
         of one peer's paths, the lowest next hop :func:`nexthop`

MED compares only paths of one neighbouring AS, so the procedure is no order by which one could sort: a step
takes the paths that are left and gives back those that survive it. Nothing depends on who came first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from kroute.model.fib import Nexthop, ecmp, placed
from kroute.model.reason import Reason, Why
from kroute.model.session_keys import PathSelect
from kroute.plan.paths import Multipath, Path, Selection

Paths = Sequence[Path]
Step = Callable[[Paths], Paths]


def local(paths: Paths) -> Paths:
    """Paths that this node originates, if there are any."""
    return [p for p in paths if p.is_local] or paths


def announced(paths: Paths) -> Paths:
    """Paths that somebody has announced, if there are any; seeded ones stand in only until then."""
    return [p for p in paths if not p.is_seeded] or paths


def local_pref(paths: Paths) -> Paths:
    """Highest LOCAL_PREF (§9.1.1)."""
    most = max(p.local_pref for p in paths)
    return [p for p in paths if p.local_pref == most]


def as_path_length(paths: Paths) -> Paths:
    """Shortest AS_PATH (§9.1.2.2 a)."""
    least = min(p.as_path_length for p in paths)
    return [p for p in paths if p.as_path_length == least]


def origin(paths: Paths) -> Paths:
    """Lowest ORIGIN (§9.1.2.2 b)."""
    least = min(p.attributes.origin for p in paths)
    return [p for p in paths if p.attributes.origin == least]


def med(paths: Paths) -> Paths:
    """Of the paths of each neighbouring AS, those of lowest MED; a missing one is 0 (§9.1.2.2 c)."""
    lowest: dict[int | None, int] = {}
    for p in paths:
        value = p.attributes.med or 0
        neighbour = p.attributes.neighbor_as
        lowest[neighbour] = min(value, lowest.get(neighbour, value))
    return [p for p in paths if (p.attributes.med or 0) == lowest[p.attributes.neighbor_as]]


def external(paths: Paths) -> Paths:
    """Paths learned from external peers, if there are any (§9.1.2.2 d)."""
    return [p for p in paths if not p.source.internal] or paths


def igp_metric(paths: Paths) -> Paths:
    """Lowest cost to the next hop (§9.1.2.2 e)."""
    least = min(p.igp_metric for p in paths)
    return [p for p in paths if p.igp_metric == least]


def router_id(paths: Paths) -> Paths:
    """Lowest BGP identifier, ORIGINATOR_ID standing in for it (§9.1.2.2 f, RFC 4456 §9)."""
    least = min(p.originator for p in paths)
    return [p for p in paths if p.originator == least]


def cluster_length(paths: Paths) -> Paths:
    """Shortest CLUSTER_LIST (RFC 4456 §9)."""
    least = min(len(p.attributes.cluster_list) for p in paths)
    return [p for p in paths if len(p.attributes.cluster_list) == least]


def peer_address(paths: Paths) -> Paths:
    """Lowest peer address (§9.1.2.2 g); of two sessions with one address, the peer's name."""
    least = min((p.source.address, p.source.name) for p in paths)
    return [p for p in paths if (p.source.address, p.source.name) == least]


def nexthop(paths: Paths) -> Paths:
    """Of several paths of one peer (RFC 7911), the one with the lowest next hop."""
    least = min(_told(p) for p in paths)
    return [p for p in paths if _told(p) == least]


def _told(path: Path) -> tuple[bytes, int, tuple[int, ...]]:
    """What tells the paths of one peer apart, whatever their order."""
    told = path.attributes
    return told.nexthop, told.neighbor_as or 0, told.communities


EQUAL: Final[tuple[tuple[Why, Step], ...]] = (
    (Why.LOCAL, local),
    (Why.SEEDED, announced),
    (Why.LOCAL_PREF, local_pref),
    (Why.AS_PATH_LENGTH, as_path_length),
    (Why.ORIGIN, origin),
    (Why.MED, med),
    (Why.EXTERNAL, external),
    (Why.IGP_METRIC, igp_metric),
)
"""Steps that make paths better or worse; survivors are equally good and share the traffic."""

TIES: Final[tuple[tuple[Why, Step], ...]] = (
    (Why.ROUTER_ID, router_id),
    (Why.CLUSTER_LENGTH, cluster_length),
    (Why.PEER_ADDRESS, peer_address),
    (Why.NEXTHOP, nexthop),
)
"""Steps that only choose one of equally good paths to announce."""


def select(candidates: Paths, legs: int) -> Selection | None:
    """The best of the candidates, with up to ``legs`` equally good ones; None if none is eligible."""
    equal: Paths = [p for p in candidates if p.eligible]
    if not equal:
        return None
    for _, step in EQUAL:
        if len(equal) == 1:
            return equal[0]
        equal = step(equal)
    ranked = _rank(equal)
    best = ranked[0]
    if best.is_local or legs < 2 or len(ranked) == 1:
        return best
    return _share(ranked, legs)


def in_order(candidates: Paths, which: PathSelect) -> Iterator[Path]:
    """The usable paths that somebody has announced, best first: those equal to the best one, or round after round all.

    The first one is what :func:`select` finds best.
    """
    left: Paths = [p for p in candidates if p.eligible and not p.is_seeded]
    while left:
        equal = _equal(left)
        yield from equal
        if which is PathSelect.EQUAL:
            return
        left = [p for p in left if p not in equal]


def _equal(left: Paths) -> list[Path]:
    """Paths as good as the best, best first. What the node originates itself wins here, but for others it is one of
    those that the attributes, which is all they see of it, make no worse.
    """
    mine = next((p for p in left if p.is_local), None)
    if mine is None:
        for _, step in EQUAL:
            if len(left) == 1:
                break
            left = step(left)
        return _rank(left)
    told = (mine.local_pref, mine.as_path_length, mine.attributes.origin, mine.attributes.med or 0)
    others: Paths = [
        p
        for p in left
        if p is not mine
        and (p.local_pref, p.as_path_length, p.attributes.origin, p.attributes.med or 0) == told
    ]
    for step in (external, igp_metric) if others else ():
        others = step(others)
    return [mine, *_rank(others)]


def _rank(equal: Paths) -> list[Path]:
    """Equally good paths in the order of the tie-breaking steps."""
    return sorted(
        equal,
        key=lambda p: (
            p.originator,
            len(p.attributes.cluster_list),
            p.source.address,
            p.source.name,
            *_told(p),
        ),
    )


def _share(ranked: list[Path], legs: int) -> Selection:
    """The best path, and the next ones as long as their legs find room. Paths that two reflectors tell alike
    share a leg and take one place; of different weights it has the greatest.
    """
    best, chosen = ranked[0], [ranked[0]]
    weights = _weighed({}, best)
    for path in ranked[1:]:
        more = _weighed(weights, path)
        if len(more) <= legs:
            chosen.append(path)
            weights = more
    if len(chosen) == 1:
        return best
    # Weights are shares of the traffic: of a single leg, or of equal ones, they say nothing.
    even = len(set(weights.values())) == 1
    hops = {leg if even else leg._replace(weight=w) for leg, w in weights.items()}
    return Multipath(best, tuple(chosen), placed(ecmp(hops), best.outcome.place))


def _weighed(weights: Mapping[Nexthop, int], path: Path) -> dict[Nexthop, int]:
    """The legs so far and those of one more path, with their weights."""
    found = dict(weights)
    for leg in path.nexthops or ():
        found[leg] = max(found.get(leg, 0), path.outcome.weight)
    return found


def explain(candidates: Paths, legs: int) -> list[tuple[Path, bool, Reason]]:
    """Every candidate with whether it is used and the step that decided; the same steps as :func:`select`.

    The refused and unresolved come first, then the losers step by step, then the used ones, best first.
    """
    candidates = sorted(candidates, key=lambda p: p.source.name)
    out: list[tuple[Path, bool, Reason]] = []
    left: Paths = [p for p in candidates if p.eligible]
    out += [(p, False, ineligible(p)) for p in candidates if not p.eligible]
    selection = select(candidates, legs)
    used = (
        selection.paths if isinstance(selection, Multipath) else (selection,) if selection else ()
    )
    decisive = Reason(Why.ONLY, "the only eligible path")
    for why, step in EQUAL + TIES:
        survivors = step(left) if left else left
        lost = [p for p in left if p not in survivors and p not in used]
        out += [(p, False, Reason(why, f"worse by {_WORDS[why]}")) for p in lost]
        left = [p for p in left if p in survivors or p in used]
        if lost:
            decisive = Reason(why, f"the best path, last decided by {_WORDS[why]}")
    if used and used[0].is_seeded:
        decisive = Reason(Why.SEEDED, "seeded by the inventory until a session tells more")
    if len(used) > 1:
        decisive = Reason(Why.MULTIPATH, "one of equally good paths")
    return out + [(p, True, decisive) for p in used]


def ineligible(path: Path) -> Reason:
    """Why a path takes no part in the decision."""
    if path.refusal is not None:
        return path.refusal
    return Reason(
        Why.NEXTHOP_UNREACHABLE,
        "its next hop is not reachable: no connected network or route leads there",
    )


_WORDS: Final[dict[Why, str]] = {
    Why.LOCAL: "origin: this node announces the prefix itself",
    Why.SEEDED: "source: a peer has announced it, so the seeded path is not needed",
    Why.LOCAL_PREF: "local preference (highest wins)",
    Why.AS_PATH_LENGTH: "AS path length (shortest wins)",
    Why.ORIGIN: "origin code (lowest wins)",
    Why.MED: "MED (lowest of one neighbouring AS wins)",
    Why.EXTERNAL: "kind of peer (external before internal)",
    Why.IGP_METRIC: "cost to the next hop (lowest wins)",
    Why.ROUTER_ID: "router id (tie, ECMP full or off)",
    Why.CLUSTER_LENGTH: "cluster list length (tie, ECMP full or off)",
    Why.PEER_ADDRESS: "peer address (tie, ECMP full or off)",
    Why.NEXTHOP: "next hop of one peer's paths (tie, ECMP full or off)",
}
