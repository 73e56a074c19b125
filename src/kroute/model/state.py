"""What is known and what is wanted: the two ends of ``plan()``.

``Observed`` is everything the control plane has been told, ``Desired`` what follows from it. Both are values:
the same observation always gives the same wish (law 1). Learned routes are not in here; they go prefix by
prefix through :mod:`kroute.plan.rib`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address

from kroute.model.bgp import Attributes, Peer, PeerName
from kroute.model.cni import Conflist
from kroute.model.config import Config
from kroute.model.config_services import StaticService
from kroute.model.kernel import KernelState
from kroute.model.net import Address, Family, Nlri, Prefix
from kroute.model.node import Node
from kroute.model.policies import OriginClass
from kroute.model.problem import Problem
from kroute.model.service import Announceable, CheckState, EndpointSlice, Service
from kroute.model.topology import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedPod:
    """A pod that was attached through KNI: its name, its addresses, and whether it asks for their announcement."""

    name: str
    addresses: tuple[Address, ...]
    asks: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """All that the control plane has been told, latest value of each."""

    me: str
    """Name of the own node."""
    config: Config
    nodes: Mapping[str, Node] = field(default_factory=dict)
    listed: bool = False
    """The inventory has been listed whole at least once: absence now means something (law 2)."""
    services: Mapping[str, Service] = field(default_factory=dict)
    """By ``namespace/name``; followed only where services are enabled."""
    slices: Mapping[str, EndpointSlice] = field(default_factory=dict)
    services_listed: bool = False
    slices_listed: bool = False
    checks: Mapping[str, CheckState] = field(default_factory=dict)
    """What health checks say, by name of the static service; one that has not been checked is not in it."""
    pods: tuple[AttachedPod, ...] = ()
    """Pods attached through KNI, sorted; none while they may not be announced."""
    pods_told: bool = False
    """KNI has told which pods are attached, or that it cannot."""
    kernel: KernelState | None = None
    """Links, addresses and others' routes; None until first read."""
    routers: Mapping[str, tuple[IPv6Address, ...]] = field(default_factory=dict)
    """Link-local addresses of routers that advertise themselves (RFC 4861), by interface."""
    reports: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)
    """Problems that drivers reported, by driver; the latest report replaces the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origination:
    """A prefix that this node announces of its own. ``source`` says why, in words for ``kroute why``."""

    prefix: Prefix
    source: str
    kind: OriginClass = OriginClass.OWN_PODS
    attributes: Attributes = Attributes()
    """What it is announced with besides what every announcement has: communities, MED, local preference."""
    internal: bool = True
    """Whether internal peers are told as well."""
    blackhole: bool = False
    """Whether the kernel shall drop what no more specific route takes, lest packets go round in a loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouched:
    """What the inventory alone says of the other nodes, before any session has told anything."""

    me: Node
    nodes: Mapping[str, Node]
    """The other nodes, with settled podCIDRs."""
    direct: Mapping[str, tuple[PeerName, ...]]
    """The sessions with each node that has any."""
    indirect: tuple[PeerName, ...] = ()
    """Peers that are expected to tell the routes of nodes with which there is no session."""
    discovers: bool = False
    """Further peers may come once their addresses are found: not every peer that is expected is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """All that follows from an observation, but for learned routes."""

    peers: Mapping[PeerName, Peer] = field(default_factory=dict)
    spare: Mapping[PeerName, Peer] = field(default_factory=dict)
    """Sessions that may stay where they are up, but are not opened."""
    roles: Mapping[str, Role] = field(default_factory=dict)
    """Every node's part in the topology, by name."""
    topology: str = ""
    """Which topology is in force among the nodes, and why, in words."""
    originations: tuple[Origination, ...] = ()
    services: tuple[Announceable, ...] = ()
    """The addresses of services that were asked to be announced, and what becomes of each."""
    statics: tuple[StaticService, ...] | None = None
    """The static services that this node runs; None while the inventory does not know us."""
    conflist: Conflist | None = None
    owners: Mapping[tuple[Family, Nlri], str] = field(default_factory=dict)
    """Which node owns which podCIDR, as Kubernetes says."""
    unnumbered: frozenset[str] = frozenset()
    """Interfaces where kroute looks for the router at the other end of the cable."""
    vouched: Vouched | None = None
    """None while the inventory does not know the own node."""
    complete: bool = False
    """What is absent may be removed: the inventory has been listed (law 2)."""
    pending: str = ""
    """What is not known yet of the services and pods that this node may announce, in words: their absence means nothing
    yet."""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """Prefixes of one family with equal attributes, to be told to some peers."""

    family: Family
    attributes: Attributes
    nlris: tuple[Nlri, ...]
