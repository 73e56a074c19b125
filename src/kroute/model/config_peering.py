"""The part of the configuration that says who peers with whom; see :mod:`kroute.model.config`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from kroute.model.net import Address, Prefix
from kroute.model.policies import NexthopRule, OriginClass
from kroute.model.selection import AddressFrom, LocalAsn, NodeSelector, RemoteAsn
from kroute.model.session_keys import ADD_PATH_MAX, AddPath, PathSelect, SessionKeys


class Topology(StrEnum):
    """How nodes peer with each other; each is a file in ``plan/topologies``."""

    FULL_MESH = "fullMesh"
    ROUTE_REFLECTOR = "routeReflector"
    AUTO = "auto"
    NONE = "none"


class Transport(StrEnum):
    """Which sessions carry which families between two dual-stack nodes."""

    SINGLE = "single"
    """One session, over the primary addresses, carries every family."""
    PER_FAMILY = "perFamily"
    """Each family over a session of its own."""


class NodeInitiate(StrEnum):
    """Which end opens the TCP connection between two nodes."""

    AGREED = "agreed"
    """The one with the higher address, woken by the other; needs kroute at both ends."""
    BOTH = "both"
    """Either, as RFC 4271 has it; while some nodes still run another speaker."""


class Accept(StrEnum):
    """What is accepted from an external peer; nothing unless asked for (RFC 8212)."""

    NONE = "none"
    DEFAULT_ROUTE = "defaultRoute"
    POD_CIDRS = "podCidrs"
    ANYCAST = "anycast"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class FullMesh:
    """Every node peers with every other."""

    group_label: str = ""
    """Only nodes with an equal value of this label peer with each other; empty: all do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteReflector:
    """Nodes peer with reflectors only (RFC 4456)."""

    label: str = "kroute.io/route-reflector"
    """Nodes with this label or annotation (not false) are reflectors; a dotted quad or number is their cluster id."""
    nodes: tuple[str, ...] = ()
    """Names of further reflector nodes."""
    cluster_id: str = ""
    """Dotted quad; empty: the reflector's router id. Only reflectors with the same clients may share one."""
    zone_label: str = ""
    """Nodes are clients of reflectors with an equal value of this label, of all if there are none; empty: of all."""
    per_client: int | None = None
    """Most reflectors that a node is a client of, chosen alike by all nodes; empty: all of its zone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Auto:
    """A full mesh while the cluster is small, reflectors that are chosen by themselves once it is not."""

    threshold: int = 100
    """Most nodes of a full mesh; with more, some nodes of each zone reflect."""
    hysteresis: int = 10
    """With so many nodes more than the threshold, sessions of the mesh are not opened any more, but not yet closed."""
    reflectors_per_zone: int = 2
    """Reflectors in each zone. Nodes with `routeReflector.label` come first; those where it is false never reflect."""
    zone_label: str = "topology.kubernetes.io/zone"
    """Label that names a node's zone; empty: all nodes are of one zone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerKeys(SessionKeys):
    """What may be said of a peer, or once of a whole group of peers. An empty key of a peer is its group's."""

    asn: RemoteAsn | None = None
    """The peer's autonomous system: a number, `external` (any but ours), `internal` (ours) or `{fromLabel: KEY}`."""
    nodes: tuple[str, ...] | None = None
    """Only these nodes peer with it; empty: all that the selector matches."""
    node_selector: NodeSelector | Mapping[str, str] | None = field(default=None, hash=False)
    """Only nodes with these labels peer with it: labels, or matchLabels and matchExpressions; empty: all."""
    node_annotation: str | None = None
    """Only nodes with this annotation (KEY, not false; or KEY=VALUE) peer with it; empty: all."""
    local_asn: LocalAsn | None = None
    """Our AS towards this peer, a number or `{fromLabel: KEY}`; empty: the node's own (bgp.asn, bgp.asnLabel)."""
    local_address: Address | None = None
    """Our end of the session; empty: our address in the peer's network, else the node's of the peer's family."""
    port: int | None = None
    """The peer's TCP port; empty: 179."""
    passive: bool | None = None
    """Wait for the peer to connect; empty: false."""
    reflector: bool | None = None
    """The peer is a route reflector and this node its client (same AS); empty: false."""
    hold_time: int | None = None
    """Seconds; empty: bgp.holdTime."""
    families: tuple[str, ...] | None = None
    """Any of ipv4, ipv6; empty: the families of the node's podCIDRs (of the session where it has none)."""
    extended_nexthop: bool | None = None
    """Offer IPv4 routes over IPv6 next hops (RFC 8950); empty: on IPv6 sessions that carry ipv4."""
    ttl_security: int | None = None
    """Hops of RFC 5082 (GTSM): 1 for a direct neighbour; empty: off."""
    multihop: int | None = None
    """TTL of a session over routers; empty: off."""
    password_file: str | None = None
    """File with the TCP MD5 key (RFC 2385). A missing file keeps the session down; it is never opened without."""
    accept: Accept | None = None
    """Which routes of an external peer are used: none, defaultRoute, podCidrs (of known nodes), anycast (single
    addresses in acceptPrefixes) or all (but what originCheck says is the cluster's own); empty: none."""
    accept_prefixes: tuple[Prefix, ...] | None = None
    """Further prefixes that are accepted, each exactly as written; with `accept: anycast` also addresses in them."""
    import_: str | None = None
    """Name of the policy that judges what the peer tells us; what it leaves open, `accept` decides."""
    announce: tuple[OriginClass, ...] | None = None
    """What the peer is told: any of ownPods, peerPods, service, default, external; empty: an external peer ownPods and
    service as far as this node originates them, an internal one all that iBGP and reflection pass on."""
    export: str | None = None
    """Name of the policy that judges and changes what the peer is told; it never tells more than `announce` does."""
    next_hop: NexthopRule | None = None
    """Next hop that the peer is told: self, keep or auto (self to external peers, kept within our AS); empty: auto."""
    pass_on: bool | None = None
    """Tell internal peers what this external peer told us, with our own next hop; empty: false."""
    max_prefixes: int | None = None
    """Limit of prefixes per family; empty: bgp.maxPrefixes."""
    description: str | None = None
    """Words for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerGroup(PeerKeys):
    """Keys that several peers share: a peer that names the group has them, but for those that it says itself."""

    name: str
    """Unique among groups; what peers write under `group`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConfig(PeerKeys):
    """One explicit peer: a top-of-rack switch, a border router, a reflector that is no node."""

    name: str
    """Unique; shown everywhere as peer/NAME."""
    group: str = ""
    """The group whose keys hold where the peer says nothing; empty: none."""
    address: Address | None = None
    """The peer's address; the session's family."""
    address_from: AddressFrom | None = None
    """Where the address is found instead; each address found is a session named peer/NAME/…"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peering:
    """Who peers with whom."""

    topology: Topology = Topology.FULL_MESH
    """`fullMesh`, `routeReflector`, `auto` or `none` (explicit peers only)."""
    transport: Transport = Transport.SINGLE
    """`single` or `perFamily` sessions between dual-stack nodes."""
    initiate: NodeInitiate = NodeInitiate.AGREED
    """`agreed`: one end connects, the other wakes it up; `both`: while some nodes run another speaker than kroute."""
    full_mesh: FullMesh = field(default_factory=FullMesh)
    """Used when topology is fullMesh."""
    route_reflector: RouteReflector = field(default_factory=RouteReflector)
    """Used when topology is routeReflector."""
    auto: Auto = field(default_factory=Auto)
    """Used when topology is auto."""
    add_path: AddPath = AddPath.OFF
    """Several paths to a prefix in sessions between nodes (RFC 7911): `both` on all nodes lets reflectors tell their
    clients what they need for ECMP; `receive`, `send`, `off`. A change resets these sessions."""
    add_path_select: PathSelect = PathSelect.EQUAL
    """Which paths are told by `addPath`: `equal` (as good as the best one) or `all` usable ones."""
    add_path_max: int = ADD_PATH_MAX
    """Most paths to one prefix that are told by `addPath` (1 to 64)."""
    transition_time: int = 120
    """Most seconds that sessions no longer wanted among nodes are held until others carry their routes; 0: none."""
    kube_router_annotations: bool = False
    """Heed kube-router's annotations of nodes: their peers, prepending, communities, refused ranges and podCIDRs."""
    groups: tuple[PeerGroup, ...] = ()
    """Named sets of keys that explicit peers inherit."""
    peers: tuple[PeerConfig, ...] = ()
    """Explicit peers, besides the topology's."""
    import_: str = ""
    """Name of the policy that judges what other nodes tell us; empty: all is taken."""
    export: str = ""
    """Name of the policy that judges and changes what other nodes are told; empty: as it is."""
