"""Who owns which podCIDR. Two nodes cannot own overlapping ranges: the earlier claimant keeps its range.

Kubernetes' own allocator never hands out overlapping ranges, but static inventories, restored backups
and two clusters joined by mistake do. Announcing both would send one node's pods' packets to the other.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import replace

from kroute.model.net import Prefix
from kroute.model.node import Node
from kroute.model.problem import Problem, Severity

Claim = tuple[int, int, int, Prefix, Node]
"""Family version, first and last address as numbers, the range, its claimant."""


def settle_claims(nodes: Mapping[str, Node]) -> tuple[dict[str, Node], tuple[Problem, ...]]:
    """The nodes by name, without the podCIDRs they lost to an earlier claimant, and a problem for each loss.

    Earlier means the older ``creationTimestamp``, then the name: every node decides alike without asking.
    """
    settled = dict(sorted(nodes.items()))
    problems: list[Problem] = []
    for group in _overlapping(_claims(nodes.values())):
        for lost, rival in _losers(group):
            (*_, prefix, loser) = lost
            held = settled[loser.name]
            kept = tuple(p for p in held.pod_cidrs if p != prefix)
            settled[loser.name] = replace(held, pod_cidrs=kept)
            problems.append(_lost(lost, rival))
    return settled, tuple(problems)


def _claims(nodes: Iterable[Node]) -> list[Claim]:
    claims: list[Claim] = []
    for node in nodes:
        for p in node.pod_cidrs:
            # broadcast_address says the same, but takes a quarter of the whole plan's time.
            first = int(p.network_address)
            last = first | (1 << (p.max_prefixlen - p.prefixlen)) - 1
            claims.append((p.version, first, last, p, node))
    claims.sort(key=lambda c: c[:3])
    return claims


def _overlapping(claims: list[Claim]) -> Iterable[list[Claim]]:
    """Runs of claims, sorted by first address, in which each overlaps an earlier one of its run."""
    run: list[Claim] = []
    version, reach = 0, -1
    for claim in claims:
        if claim[0] == version and claim[1] <= reach:
            run.append(claim)
            reach = max(reach, claim[2])
            continue
        if len(run) > 1:
            yield run
        run, version, reach = [claim], claim[0], claim[2]
    if len(run) > 1:
        yield run


def _losers(group: list[Claim]) -> Iterable[tuple[Claim, Claim]]:
    """Of overlapping claims: those refused, each with the one that it lost to."""
    by_age = sorted(group, key=lambda c: (c[4].created, c[4].name, c[1], c[2]))
    kept: list[Claim] = []
    """Ranges that do not overlap, by first and so by last address."""
    for claim in by_age:
        place = bisect_left(kept, claim[1], key=lambda k: k[2])
        rival = kept[place] if place < len(kept) and kept[place][1] <= claim[2] else None
        if rival is None:
            kept.insert(place, claim)
        elif rival[4].name != claim[4].name or rival[3] != claim[3]:
            yield claim, rival


def _lost(lost: Claim, kept: Claim) -> Problem:
    (*_, prefix, loser), (*_, rival, winner) = lost, kept
    age = "older" if winner.created != loser.created else "of the same age and comes first by name"
    reason = f"{prefix} overlaps a range of node {winner.name}, which is {age}; it is refused for {loser.name}"
    if winner.name == loser.name:
        reason = f"{prefix} overlaps {rival}, another range of this node; it is refused"
    return Problem(
        object=f"node/{loser.name}",
        field="spec.podCIDRs",
        reason=reason,
        severity=Severity.ERROR,
    )
