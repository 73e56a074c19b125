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

from kroute.model.config_peering import Peering
from kroute.model.config_services import Services
from kroute.model.net import Prefix
from kroute.model.policies import PolicyConfig


class InventoryKind(StrEnum):
    """Where nodes come from."""

    STATIC = "static"
    KUBERNETES = "kubernetes"


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
    """Seconds between looks for attachments, leases, veths and namespaces that no pod needs any more."""
    forgotten_pod_grace: int = 600
    """Seconds that Kubernetes (where the inventory is Kubernetes) or the runtime at `criSocket` must not have known an
    attached pod before it is detached, or Kubernetes the pod of an unused namespace before that is removed; without
    `criSocket`, longer than pods may take to end after a forced deletion. 0: neither is asked."""
    cri_socket: str = ""
    """The container runtime's socket, as the kubelet's containerRuntimeEndpoint without `unix://`, such as
    `/run/containerd/containerd.sock`: garbage collection asks it which sandboxes there are. Empty: it is not asked."""
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
