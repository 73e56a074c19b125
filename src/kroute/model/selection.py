"""How explicit peers are named by rule: for which nodes, at which addresses, with which AS numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class RemoteAs(StrEnum):
    """An AS number by its relation to ours."""

    EXTERNAL = "external"
    """Any but ours; learned from the peer's OPEN."""
    INTERNAL = "internal"
    """Ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FromLabel:
    """An AS number that a label of the own node holds."""

    from_label: str
    """Key of the node's label, or of its annotation where it has no such label."""


RemoteAsn = int | RemoteAs | FromLabel
LocalAsn = int | FromLabel


class Operator(StrEnum):
    """Operators of a Kubernetes LabelSelectorRequirement."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One requirement of a label selector (meta/v1 LabelSelectorRequirement)."""

    key: str
    """Key of the label."""
    operator: Operator
    """`In`, `NotIn`, `Exists` or `DoesNotExist`."""
    values: tuple[str, ...] = ()
    """For In and NotIn: at least one; else none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSelector:
    """A Kubernetes label selector (meta/v1 LabelSelector): all of it must hold."""

    match_labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Labels with exactly these values."""
    match_expressions: tuple[Requirement, ...] = ()
    """Further requirements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateways:
    """The kernel's default gateways, of both families."""

    interface: str = ""
    """Only those that this interface leads to; empty: all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routers:
    """The routers whose router advertisements the kernel took a default route from (accept_ra)."""

    interfaces: tuple[str, ...] = ()
    """One session for each of these interfaces; empty: for each that has such a route."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unnumbered:
    """The router at the other end of each cable, found by router advertisements that kroute itself sends and hears."""

    interfaces: tuple[str, ...]
    """One session over IPv6 link-local addresses for each of these interfaces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressFrom:
    """Where the addresses of peers are found, instead of `address`; one key of these. Each address is a session."""

    annotation: str = ""
    """Key of the own node's annotation that holds an address, or several with commas between them."""
    default_gateway: Gateways | None = None
    """`{interface: eth0}`: the kernel's default gateways."""
    router_advertisement: Routers | None = None
    """`{interfaces: [eth0]}`: routers that the kernel has a default route from (RFC 4861)."""
    unnumbered: Unnumbered | None = None
    """`{interfaces: [eth1, eth2]}`: whoever is at the other end of these cables."""
