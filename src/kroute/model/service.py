"""Services and where their endpoints are, as far as routing cares, and the verdict on each of their addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from kroute.model.communities import Communities
from kroute.model.net import Address, Family, Prefix


class AddressKind(StrEnum):
    """Where a service's address stands in its object."""

    CLUSTER_IP = "clusterIP"
    """spec.clusterIPs; subject to internalTrafficPolicy."""
    EXTERNAL_IP = "externalIP"
    """spec.externalIPs; subject to externalTrafficPolicy."""
    LOAD_BALANCER_IP = "loadBalancerIP"
    """status.loadBalancer.ingress; subject to externalTrafficPolicy."""
    STATIC = "static"
    """services.static of the configuration: no object at all."""


class TrafficPolicy(StrEnum):
    """Which endpoints a node that receives a packet may hand it to (spec.*TrafficPolicy)."""

    CLUSTER = "Cluster"
    """All."""
    LOCAL = "Local"
    """Those on the same node only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The slim value kept of a Service object.

    ``advertise`` is what its annotations say of kinds of addresses; a kind that is not in it is left to the
    configuration. ``created`` is ``creationTimestamp`` as text (RFC 3339): of two services that claim an address the
    older one counts.
    """

    namespace: str
    name: str
    addresses: tuple[tuple[AddressKind, Address], ...] = ()
    load_balancer_class: str = ""
    internal_policy: TrafficPolicy = TrafficPolicy.CLUSTER
    external_policy: TrafficPolicy = TrafficPolicy.CLUSTER
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    advertise: Mapping[AddressKind, bool] = field(default_factory=dict, hash=False)
    communities: Communities = Communities()
    created: str = ""

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    def policy(self, kind: AddressKind) -> TrafficPolicy:
        """The policy that packets to an address of a kind are subject to."""
        return self.internal_policy if kind is AddressKind.CLUSTER_IP else self.external_policy


class NodeEndpoints(NamedTuple):
    """How many endpoints of a slice are on one node (KEP-1669)."""

    node: str
    """Empty for endpoints that are on none."""
    ready: int
    draining: int
    """Serving, but terminating: used where no ready one is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSlice:
    """The slim value kept of an EndpointSlice object: whose it is, and how many endpoints are where."""

    namespace: str
    name: str
    service: str
    """Name of its Service, in the same namespace (label kubernetes.io/service-name)."""
    family: Family
    nodes: tuple[NodeEndpoints, ...] = ()
    """Sorted by node; nodes without a usable endpoint are left out."""

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    @property
    def service_key(self) -> str:
        """``namespace/name`` of its Service."""
        return f"{self.namespace}/{self.service}"


@dataclass(frozen=True, slots=True)
class CheckState:
    """What the health check of a static service says."""

    up: bool
    detail: str
    """The last check's result in words."""


class Verdict(StrEnum):
    """Stable codes for what becomes of a service's address on this node; used in JSON, metrics and tests."""

    ANNOUNCED = "announced"
    AGGREGATED = "aggregated"
    """An aggregate that covers it is announced in its place."""
    NOT_ASKED = "not-asked-for"
    OTHER_CLASS = "other-load-balancer-class"
    OUT_OF_RANGE = "out-of-range"
    TAKEN = "taken"
    """It is an address of a node or of pods, and must never be announced as a service."""
    EXCLUDED_NODE = "node-excluded"
    NO_ENDPOINTS = "no-endpoints"
    NO_LOCAL_ENDPOINTS = "no-local-endpoints"
    NOT_CHECKED = "not-checked-yet"
    DOWN = "check-failed"
    DEMOTED = "announced-with-low-preference"
    """The check failed, and downAction is lowerPreference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announceable:
    """One address of one service, and whether this node announces it: a row of `kroute show services`."""

    prefix: Prefix
    """The address as a /32 or /128; of a static service, possibly a shorter prefix."""
    service: str
    """``namespace/name``, or ``static/name``."""
    kind: AddressKind
    policy: TrafficPolicy
    verdict: Verdict
    reason: str
    local: int = 0
    total: int = 0
    """Usable endpoints on this node, and on all."""
    communities: Communities = Communities()
    via: Prefix | None = None
    """What is announced for it: itself, an aggregate, or nothing."""
    med: int | None = None
    local_pref: int | None = None
    created: str = ""

    @property
    def is_announced(self) -> bool:
        """Whether packets to it are attracted by this node."""
        return self.via is not None
