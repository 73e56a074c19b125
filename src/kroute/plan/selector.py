"""Which nodes are meant: Kubernetes label selectors, and marks by annotation."""

from __future__ import annotations

from collections.abc import Mapping

from kroute.model.node import Node
from kroute.model.selection import NodeSelector, Operator, Requirement


def selects(selector: NodeSelector | Mapping[str, str] | None, labels: Mapping[str, str]) -> bool:
    """Whether labels fulfil a selector (meta/v1 LabelSelector); an empty one is always fulfilled."""
    if selector is None:
        return True
    if isinstance(selector, NodeSelector):
        met = all(_meets(requirement, labels) for requirement in selector.match_expressions)
        return met and selects(selector.match_labels, labels)
    return all(labels.get(key) == value for key, value in selector.items())


def _meets(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    """NotIn and DoesNotExist hold where the label is absent, as in Kubernetes."""
    value = labels.get(requirement.key)
    match requirement.operator:
        case Operator.IN:
            return value in requirement.values
        case Operator.NOT_IN:
            return value not in requirement.values
        case Operator.EXISTS:
            return value is not None
        case Operator.DOES_NOT_EXIST:
            return value is None


def bears(mark: str | None, node: Node) -> bool:
    """Whether a node bears an annotation: ``KEY`` (with any value but "false") or ``KEY=VALUE``; no mark, all do."""
    if not mark:
        return True
    key, equals, value = mark.partition("=")
    found = node.annotations.get(key)
    return found == value if equals else found not in (None, "false")
