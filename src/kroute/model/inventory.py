"""What an inventory driver tells the daemon about nodes."""

from __future__ import annotations

from dataclasses import dataclass

from kroute.model.node import Node
from kroute.model.problem import Problem


@dataclass(frozen=True, slots=True)
class Listed:
    """The whole list: a node that is not in it is gone."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class NodeChanged:
    """A node is new or has changed."""

    node: Node


@dataclass(frozen=True, slots=True)
class NodeGone:
    """A node has been deleted."""

    name: str


@dataclass(frozen=True, slots=True)
class Problems:
    """All that is wrong with the inventory's objects now; replaces the report before."""

    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Stale:
    """The source does not answer; what was known stays in force."""

    reason: str


@dataclass(frozen=True, slots=True)
class Fresh:
    """The source answers again."""


InventoryEvent = Listed | NodeChanged | NodeGone | Problems | Stale | Fresh
