"""What follows from the inventory alone, whichever node looks: done once where many nodes of a cluster are planned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kroute.model.net import Family, Nlri, family_of, nlri_of
from kroute.model.node import Node
from kroute.model.problem import Problem
from kroute.plan.claims import settle_claims


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Survey:
    """The nodes as every one of them sees them."""

    given: Mapping[str, Node]
    """What was looked at."""
    nodes: dict[str, Node]
    """The same by name in order, with settled claims."""
    owners: Mapping[tuple[Family, Nlri], str]
    problems: tuple[Problem, ...]
    memo: dict[object, tuple[object, object]] = field(default_factory=dict)
    """What has been worked out of nodes and parts of a configuration (:meth:`kroute.plan.sessions.View.once`)."""


def survey(nodes: Mapping[str, Node]) -> Survey:
    """Settle the claims of all nodes, and say what is wrong with them."""
    settled, problems = settle_claims(nodes)
    owners = {
        (family_of(prefix), nlri_of(prefix)): node.name
        for node in settled.values()
        for prefix in node.pod_cidrs
    }
    return Survey(given=nodes, nodes=settled, owners=owners, problems=problems)
