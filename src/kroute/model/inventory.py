"""What an inventory driver tells the daemon about nodes, and about services where those are wanted."""

from __future__ import annotations

from dataclasses import dataclass

from kroute.model.node import Node
from kroute.model.problem import Problem
from kroute.model.service import EndpointSlice, Service

NODES, SERVICES, SLICES = "nodes", "services", "endpoint slices"
"""The lists that are followed, in words: each may be away or have problems of its own."""


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
    """All that is wrong with a list's objects now; replaces the report before."""

    problems: tuple[Problem, ...]
    of: str = NODES


@dataclass(frozen=True, slots=True)
class Stale:
    """The source of a list does not answer; what was known stays in force."""

    reason: str
    of: str = NODES


@dataclass(frozen=True, slots=True)
class Fresh:
    """The source answers again."""

    of: str = NODES


@dataclass(frozen=True, slots=True)
class ServicesListed:
    """All services: one that is not in it is gone."""

    services: tuple[Service, ...]


@dataclass(frozen=True, slots=True)
class ServiceChanged:
    """A service is new or has changed."""

    service: Service


@dataclass(frozen=True, slots=True)
class ServiceGone:
    """The service of this key has been deleted."""

    key: str


@dataclass(frozen=True, slots=True)
class SlicesListed:
    """All endpoint slices: one that is not in it is gone."""

    slices: tuple[EndpointSlice, ...]


@dataclass(frozen=True, slots=True)
class SliceChanged:
    """An endpoint slice is new or has changed."""

    slice: EndpointSlice


@dataclass(frozen=True, slots=True)
class SliceGone:
    """The endpoint slice of this key has been deleted."""

    key: str


ServiceEvent = (
    ServicesListed | ServiceChanged | ServiceGone | SlicesListed | SliceChanged | SliceGone
)
InventoryEvent = Listed | NodeChanged | NodeGone | Problems | Stale | Fresh | ServiceEvent
