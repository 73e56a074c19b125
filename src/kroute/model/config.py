"""The configuration file as values. One dataclass per mapping of the file, one field per key.

Python's ``snake_case`` is the file's ``camelCase`` (``hold_time`` is ``holdTime``). The text under a field is
its documentation: ``kroute check-config --schema``, ``config/kroute.yaml`` and the reference are held to it.
Every key has a default: a node name and an inventory suffice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kroute.model.config_services import Services
from kroute.model.net import Address, Prefix
from kroute.model.policies import NexthopRule, OriginClass, PolicyConfig
from kroute.model.selection import AddressFrom, LocalAsn, NodeSelector, RemoteAsn
from kroute.model.session_keys import SessionKeys


class InventoryKind(StrEnum):
    """Where nodes come from."""

    STATIC = "static"
    KUBERNETES = "kubernetes"


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


class OriginMode(StrEnum):
    """What becomes of a path whose announcer does not own its prefix."""

    ENFORCE = "enforce"
    WARN = "warn"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticInventory:
    """Nodes from files."""

    path: str = "/etc/kroute/nodes.yaml"
    """A file, or a folder of *.yaml and *.json files, with what `kubectl get nodes -o yaml` prints. Followed live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesInventory:
    """Nodes from a Kubernetes API server."""

    kubeconfig: str = ""
    """Path of a kubeconfig; empty: the pod's service account, else $KUBECONFIG."""
    label_selector: str = ""
    """Only nodes with these labels, in Kubernetes' own selector syntax."""
    events: bool = True
    """Tell what is wrong with nodes and services as Kubernetes Events, once each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Where nodes come from."""

    kind: InventoryKind = InventoryKind.STATIC
    """`static` or `kubernetes`."""
    static: StaticInventory = field(default_factory=StaticInventory)
    """Used when kind is static."""
    kubernetes: KubernetesInventory = field(default_factory=KubernetesInventory)
    """Used when kind is kubernetes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GracefulRestartConfig:
    """RFC 4724, so that neither our restart nor a peer's loses packets."""

    enabled: bool = True
    """Offer the capability and help restarting peers."""
    restart_time: int = 120
    """Seconds that peers keep our routes while we are away (1 to 4095)."""
    stale_time: int = 300
    """Seconds that we keep a returned peer's stale routes at most, waiting for its End-of-RIB."""
    deferral_time: int = 60
    """Seconds after start that nothing is removed from the kernel while expected peers are still silent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeding:
    """Routes to the pods of nodes that the inventory knows, used until a session has told more."""

    enabled: bool = True
    """Seed them: after a restart, and for a new node, nobody waits for a session to come up."""
    lifetime: int = 300
    """Seconds that a seeded route lives while its node is not heard of over BGP (1 to 86400)."""
    not_ready_time: int = 30
    """Seconds after which a node that Kubernetes calls not Ready is neither seeded nor waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bgp:
    """What all sessions of this node share."""

    asn: int = 64512
    """Autonomous system of the cluster (1 to 4294967295)."""
    asn_label: str = ""
    """Nodes with this label or annotation (such as kroute.io/asn) are of the AS it holds; empty: all are of bgp.asn."""
    router_id: str = ""
    """Dotted quad; empty: the node's IPv4 address, or a hash of its name where it has none."""
    port: int = 179
    """TCP port to listen on and to connect to between nodes."""
    hold_time: int = 90
    """Seconds without a message until a session is given up: 0 (never) or at least 3."""
    multipath: int = 8
    """Most legs of an ECMP route; 1 turns ECMP off."""
    max_prefixes: int | None = None
    """Limit of prefixes per peer and family; empty: twice the known nodes plus room, at least 1000."""
    graceful_restart: GracefulRestartConfig = field(default_factory=GracefulRestartConfig)
    """RFC 4724."""
    seeding: Seeding = field(default_factory=Seeding)
    """Routes from the inventory until sessions have told theirs."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginCheck:
    """Whether who announces a prefix owns it, as Kubernetes says."""

    mode: OriginMode = OriginMode.ENFORCE
    """`enforce`: what is not its announcer's is refused; `warn`: taken, but reported; `off`: not asked."""
    cluster_ranges: tuple[Prefix, ...] = ()
    """The cluster's own ranges besides the podCIDRs, such as that of its services: not taken from outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fib:
    """The kernel's forwarding table."""

    enabled: bool = True
    """Install what is learned; off for a node that only reflects."""
    table: int = 254
    """Routing table id; 254 is main."""
    protocol: int = 201
    """Route protocol that marks our routes (rtnetlink rtm_protocol; rt_protos.d/kroute.conf names it)."""
    metric: int = 512
    """Our own metric, so that our routes and others' never replace each other."""
    former_protocols: tuple[int, ...] = ()
    """Protocol ids of earlier configurations whose routes are ours; the last one used is remembered by itself."""
    nexthop_objects: bool = False
    """Point routes at kernel nexthop objects: a failed next hop is one message for all its routes."""
    audit_interval: int = 60
    """Seconds between comparisons of the whole table with what it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cni:
    """The CNI configuration that the container runtime reads."""

    enabled: bool = True
    """Write the conflist."""
    directory: str = "/etc/cni/net.d"
    """The runtime's CNI folder."""
    file: str = "10-kroute.conflist"
    """File name within it; runtimes take the first in order."""
    bin_directories: tuple[str, ...] = ("/opt/cni/bin", "/usr/lib/cni")
    """Where plugin binaries are looked for, to report missing ones."""
    network: str = "kroute"
    """Name of the network in the conflist; names the folder of host-local's leases as well."""
    cni_version: str = "1.0.0"
    """0.3.1, 0.4.0, 1.0.0 or 1.1.0."""
    bridge: str = "kroute0"
    """Name of the node's pod bridge (at most 15 characters)."""
    mtu: int | None = None
    """MTU of pods; empty: that of the uplink (the interface that holds the node's address)."""
    hairpin: bool = True
    """A pod may reach itself through its Service."""
    default_gateway: bool = True
    """The bridge is the pods' default gateway."""
    port_map: bool = True
    """Add the portmap plugin (hostPort)."""
    loopback: bool = False
    """Add the loopback plugin, for runtimes that do not bring lo up themselves."""
    data_directory: str = ""
    """host-local's lease folder; empty: its default, /var/lib/cni/networks."""
    extra_plugins: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    """Further plugins, appended as they are."""


class FastPath(StrEnum):
    """Whether pods may be attached without executing plugins."""

    AUTO = "auto"
    """Where the network is one that the fast path does exactly as its plugins do."""
    OFF = "off"


class AnnouncePods(StrEnum):
    """Which pods' own addresses are announced, beside the node's podCIDRs."""

    NONE = "none"
    ANNOTATED = "annotated"
    """Those that bear the annotation ``kroute.io/announce: "true"``."""
    ALL = "all"


class KniLayout(StrEnum):
    """How AttachNetworkRequest is read; it was renumbered between two generations that share its name."""

    AUTO = "auto"
    """Told from the message."""
    V005 = "v0.0.5"
    V006 = "v0.0.6"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kni:
    """The network runtime that a kubelet with KNI asks over gRPC. Experimental; off unless asked for."""

    enabled: bool = False
    """Serve KNI. Needs `cni.enabled`, since pods are attached to that network."""
    sockets: tuple[str, ...] = ("/tmp/kni.sock", "/run/kroute/kni.sock")
    """Where to listen; root only. The kubelet fork knows the first one only."""
    attach_layout: KniLayout = KniLayout.AUTO
    """`auto`, or `v0.0.5` or `v0.0.6` where a client's AttachNetwork cannot be told apart."""
    fast_path: FastPath = FastPath.AUTO
    """`auto`: attach in process where that does exactly what the plugins would do; `off`: always execute them."""
    deadline: int = 60
    """Seconds that attaching or detaching a pod may take, after which all of it is undone."""
    gc_interval: int = 300
    """Seconds between looks for attachments, leases and namespaces that no pod needs any more."""
    cache_directory: str = "/var/lib/cni"
    """libcni's folder of results, which are written for a later return to plain CNI."""
    announce_pods: AnnouncePods = AnnouncePods.NONE
    """Announce /32 and /128 of attached pods: `none`, `annotated` (`kroute.io/announce: "true"`) or `all`."""
    other_nodes: bool = False
    """QueryNodeNetworks names the other nodes' networks after the own one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """Health, metrics and the read-only looking glass."""

    enabled: bool = True
    """Serve HTTP."""
    address: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 20244
    """Port to listen on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """The child process that holds the BGP sessions."""

    user: str = "nobody"
    """The unprivileged user it runs as; it keeps the right to bind low ports and no other."""
    connect_retry: int = 5
    """Most seconds between two attempts to connect to a peer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Folders of the daemon."""

    run: str = "/run/kroute"
    """Sockets and hints; may vanish at any time."""
    state: str = "/var/lib/kroute"
    """What must survive a reboot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole file."""

    node_name: str = ""
    """Name of the own node; empty: $NODE_NAME, else the host name."""
    log_level: str = "info"
    """debug, info, warning or error."""
    inventory: Inventory = field(default_factory=Inventory)
    """Where nodes come from."""
    bgp: Bgp = field(default_factory=Bgp)
    """What all sessions share."""
    peering: Peering = field(default_factory=Peering)
    """Who peers with whom."""
    origin_check: OriginCheck = field(default_factory=OriginCheck)
    """Whether who announces a prefix owns it."""
    policies: tuple[PolicyConfig, ...] = ()
    """Named lists of rules, for `import` and `export` of peers."""
    community_names: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Own names of communities, for policies: `drain: "64512:666"`."""
    fib: Fib = field(default_factory=Fib)
    """The kernel's forwarding table."""
    cni: Cni = field(default_factory=Cni)
    """The CNI configuration."""
    kni: Kni = field(default_factory=Kni)
    """The network runtime for kubelets with KNI."""
    services: Services = field(default_factory=Services)
    """Addresses of services."""
    speaker: Speaker = field(default_factory=Speaker)
    """The process that holds the sessions."""
    http: Http = field(default_factory=Http)
    """Health and metrics."""
    paths: Paths = field(default_factory=Paths)
    """Folders."""
