"""KNI's vocabulary: what a kubelet asks of a network runtime, and what is attached.

The messages are those of kni-api v0.0.8, one class for each shape; older generations differ in field numbers and
method names only, which is :mod:`kroute.codec.kni`'s business. Mappings are never changed after construction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kroute.model.errors import KrouteError

Words = Mapping[str, str]
"""Labels, annotations, extradata."""


class Generation(StrEnum):
    """A generation of the protocol that differs on the wire; the values are what operators write and read."""

    V005 = "v0.0.5"
    """The demo of January 2024: AttachNetwork, labels at field 5."""
    V006 = "v0.0.6"
    """AttachNetwork with DNS and port mappings at fields 5 and 6; CreateNetwork on its branch."""
    V008 = "v0.0.8"
    """AttachInterface, CreateNetwork."""
    KNIX = "knix"
    """CreateIsolationDomain in place of CreateNetwork."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """Where the pod lives: ``path`` of its network namespace, ``type`` in free text."""

    path: str = ""
    type: str = ""
    extradata: Words = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsConfig:
    """The pod's resolver."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


PROTOCOLS = ("tcp", "udp", "sctp")
"""Names of a port mapping's protocol, by number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortMapping:
    """A port of the node that leads to one of the pod's; ``protocol`` indexes :data:`PROTOCOLS`."""

    protocol: int = 0
    container_port: int = 0
    host_port: int = 0
    host_ip: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IpConfig:
    """Addresses of one interface, bare, the primary one first."""

    ip: tuple[str, ...] = ()
    mac: str = ""
    extradata: Words = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network of a node; clients of the proof of concept read ``ready`` of the first and nothing else."""

    name: str = ""
    ready: bool = False
    extradata: Words = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Empty:
    """A message without fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRequest:
    """CreateNetwork, CreateIsolationDomain: make a network namespace."""

    name: str = ""
    uid: str = ""
    namespace: str = ""
    netns_path_prefix: str = ""
    labels: Words = field(default_factory=dict)
    annotations: Words = field(default_factory=dict)
    extradata: Words = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateReply:
    """Where the new namespace is."""

    netns_path: str = ""
    extradata: Words = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRequest:
    """DeleteNetwork, DeleteIsolationDomain: remove it, and detach what is in it."""

    id: str = ""
    name: str = ""
    namespace: str = ""
    netns_path: str = ""
    extradata: Words = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachRequest:
    """AttachNetwork, AttachInterface."""

    name: str = ""
    id: str = ""
    namespace: str = ""
    isolation: Isolation | None = None
    dns_config: DnsConfig | None = None
    port_mappings: tuple[PortMapping, ...] = ()
    labels: Words = field(default_factory=dict)
    annotations: Words = field(default_factory=dict)
    extradata: Words = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetachRequest:
    """DetachNetwork, DetachInterface; clients often send the id alone."""

    name: str = ""
    id: str = ""
    namespace: str = ""
    isolation: Isolation | None = None
    labels: Words = field(default_factory=dict)
    annotations: Words = field(default_factory=dict)
    extradata: Words = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodQuery:
    """QueryPodNetwork."""

    name: str = ""
    id: str = ""
    namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodReply:
    """What a pod got, by interface; the answer to attach and to QueryPodNetwork."""

    ipconfigs: Mapping[str, IpConfig] = field(default_factory=dict)
    extradata: Words = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesReply:
    """Networks of the own node, and of others where configured; never empty."""

    networks: tuple[Network, ...] = ()
    extradata: Words = field(default_factory=dict)


# --- what is attached -----------------------------------------------------------------------------------


class How(StrEnum):
    """Who did the work of an interface."""

    EXEC = "exec"
    """The conflist's plugins."""
    FAST = "fast"
    """The daemon itself, over netlink."""


class Phase(StrEnum):
    """How far an attachment's record has come; what is open after a crash is undone or finished."""

    ATTACHING = "attaching"
    """An intent: work may have begun, nothing was answered. Undone at the next start."""
    ATTACHED = "attached"
    """Answered, or about to be."""
    DETACHING = "detaching"
    """Release has begun; finished at the next start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """One interface of a pod: all that DEL needs to be called as ADD was (C8).

    ``network`` is the conflist as it was then, ``capabilities`` the runtimeConfig offered to its plugins, ``args``
    CNI_ARGS. ``host`` is the node's end of the veth where the fast path made it.
    """

    interface: str
    network: Mapping[str, Any] = field(hash=False)
    capabilities: Mapping[str, Any] = field(default_factory=dict, hash=False)
    args: str = ""
    how: How = How.EXEC
    host: str = ""
    result: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """The CNI result in the conflist's version; empty before ADD has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One pod as it is remembered."""

    id: str
    netns: str
    phase: Phase
    generation: Generation
    inode: int = 0
    """Of the network namespace: another one may be at the same path later."""
    name: str = ""
    namespace: str = ""
    uid: str = ""
    since: float = 0.0
    """When it was attached, seconds since 1970."""
    boot: str = ""
    """The kernel's boot id then; a record of another boot has nothing in the kernel."""
    announce: bool = False
    wirings: tuple[Wiring, ...] = ()

    @property
    def pod(self) -> str:
        """``namespace/name`` as far as they were said, for people; `-` where the client said neither."""
        said = f"{self.namespace}/{self.name}".strip("/") or "-"
        return said if said.isprintable() else said.encode("unicode_escape").decode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A network namespace that CreateNetwork made."""

    path: str
    name: str = ""
    namespace: str = ""
    container: str = ""
    """Who was attached in it last: kubelets name it when they delete it, after the detach."""
    since: float = 0.0
    """When it was made, given to its pod once more, or entered by another container; seconds since 1970."""
    intent: bool = False
    """It is being made, nobody was told of it: undone at the next start."""


class Refusal(StrEnum):
    """Why a call is refused; the names of gRPC's status codes that fit."""

    INVALID = "INVALID_ARGUMENT"
    CONFLICT = "FAILED_PRECONDITION"
    EXHAUSTED = "RESOURCE_EXHAUSTED"
    LATE = "DEADLINE_EXCEEDED"
    UNAVAILABLE = "UNAVAILABLE"
    BROKEN = "INTERNAL"


class KniError(KrouteError):
    """A call that cannot be served; the text says what to do about it."""

    def __init__(self, refusal: Refusal, text: str) -> None:
        self.refusal = refusal
        super().__init__(text)


# --- what the node network's answer is made of ----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One range of pod addresses: how many it has for pods, and how many are leased."""

    prefix: str
    size: int
    used: int

    @property
    def free(self) -> int:
        """Addresses that a further pod can get."""
        return max(self.size - self.used, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherNode:
    """Another node as this one sees it."""

    name: str
    pod_cidrs: tuple[str, ...]
    established: int
    sessions: int
    routed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """The daemon's state as far as a kubelet, or a person with a KNI client, may want to know it."""

    node: str
    network: str = "kroute"
    pod_cidrs: tuple[str, ...] = ()
    conflist_written: bool = False
    conflist_path: str = ""
    missing_plugins: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()
    """Why plugins that are there could not attach a pod (CNI's VERSION and STATUS)."""
    bridge: str = ""
    mtu: int | None = None
    pools: tuple[Pool, ...] = ()
    attachments: int = 0
    established: int = 0
    sessions: int = 0
    routes_desired: int = 0
    routes_installed: int = 0
    store_fault: str = ""
    problem: str = ""
    """The gravest problem in words; empty where there is none."""
    others: tuple[OtherNode, ...] = ()
