"""BGP's own nouns: peers as configured, sessions as observed, path attributes as received.

Names follow RFC 4271, RFC 4456 (reflection), RFC 4724 (graceful restart), RFC 4760 (multiprotocol) and
RFC 8950 (IPv4 over IPv6 next hops).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final, NewType

from kroute.model.net import Address, Family, Seconds
from kroute.model.session_keys import ADD_PATH_MAX, PathSelect, SecretKey

Asn = NewType("Asn", int)
PeerName = NewType("PeerName", str)
"""The stable name of a configured peer: ``node/n2``, ``node/n2/ipv6`` or ``peer/tor1``."""


ANY_ASN = Asn(0)
"""As a peer's AS: any but ours, to be learned from its OPEN."""


def takes_as(wanted: Asn, ours: Asn, told: Asn) -> bool:
    """Whether an end that wants a peer of an AS, and is of ours itself, takes one whose OPEN tells this AS."""
    return told == wanted if wanted != ANY_ASN else told != ours


RESERVED_ASNS: Final = {
    23456: "is AS_TRANS, which stands for AS numbers that do not fit (RFC 6793)",
    65535: "is reserved (RFC 7300)",
    4294967295: "is reserved (RFC 7300)",
}
"""Numbers that no autonomous system has, and why."""


class PeerKind(StrEnum):
    """The rules that apply between us and a peer (RFC 4271 §9, RFC 4456 §6)."""

    MESH = "mesh"
    """Internal, non-client: gets what we originate, and on a reflector also what clients announce."""
    CLIENT = "client"
    """Internal, our route-reflector client."""
    REFLECTOR = "reflector"
    """Internal, a route reflector whose client we are."""
    EXTERNAL = "external"
    """Another autonomous system or a device that is no node."""


class Initiate(StrEnum):
    """Who opens the TCP connection."""

    BOTH = "both"
    """Connect and accept, as RFC 4271 has it; for foreign speakers."""
    ACTIVE = "active"
    """Connect; an incoming connection is a knock: the peer has just started and asks us to connect now."""
    KNOCK = "knock"
    """Accept only, but touch the peer's port on start and now and then so that it connects at once."""
    PASSIVE = "passive"
    """Accept only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GracefulRestart:
    """RFC 4724 as configured for a session. Times in seconds."""

    restart_time: int = 120
    """How long the peer shall keep our routes after the session is lost (12 bits: at most 4095)."""
    stale_time: int = 300
    """How long we keep a peer's stale routes at most after it is back but has not sent End-of-RIB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One configured neighbour: all that decides its session. Equal values never reset a session.

    ``families`` are those whose routes the session carries. ``extended_nexthop`` offers RFC 8950 (IPv4
    routes with IPv6 next hops). ``hold_time`` in seconds; 0 or at least 3. ``ttl_security`` is the GTSM hop
    count (RFC 5082), None for off; ``multihop`` the TTL of an eBGP multihop session. ``password_file``
    names the file that holds the TCP MD5 key (RFC 2385): the value itself never enters the model.
    ``max_prefixes`` limits each family's Adj-RIB-In. ``asn`` is :data:`ANY_ASN` where the peer's OPEN tells it.
    """

    name: PeerName
    kind: PeerKind
    address: Address
    local_address: Address
    asn: Asn
    local_asn: Asn
    router_id: str
    cluster_id: str = ""
    families: tuple[Family, ...] = (Family.IPV4,)
    port: int = 179
    initiate: Initiate = Initiate.BOTH
    hold_time: int = 90
    keepalive: int | None = None
    """Seconds between our KEEPALIVEs; None means a third of the negotiated hold time, which it never exceeds."""
    connect_retry: int | None = None
    """Most seconds between two attempts to connect; None: as all sessions."""
    local_port: int | None = None
    """TCP port that we connect from; None: the kernel's choice."""
    device: str = ""
    """The interface that connections are bound to; empty: they go where routes lead."""
    add_path: tuple[Family, ...] = ()
    """Families of which we ask for several paths to a prefix (RFC 7911, receive)."""
    add_path_send: tuple[Family, ...] = ()
    """Families in which we offer to tell several paths to a prefix (RFC 7911, send)."""
    add_path_select: PathSelect = PathSelect.EQUAL
    """Which paths are told where several are."""
    add_path_max: int = ADD_PATH_MAX
    """Most paths to one prefix that are told."""
    extended_nexthop: bool = False
    graceful_restart: GracefulRestart | None = None
    ttl_security: int | None = None
    multihop: int | None = None
    password_file: str = ""
    password_secret: SecretKey | None = None
    """The entry of a Kubernetes Secret that holds the TCP MD5 key; None for none."""
    password_annotation: bool = False
    """Whether kube-router's annotations of the own node hold the TCP MD5 key."""
    max_prefixes: int = 1000
    max_prefixes_warning: int = 80
    """Percent of ``max_prefixes`` at which a problem is reported."""
    max_prefixes_restart: int | None = None
    """Seconds that the session stays down after the peer exceeded ``max_prefixes``; None: it stays up, excess is
    ignored."""
    shutdown: str = ""
    """Words that hold the session down, and that the peer is told (RFC 9003); empty where it is wanted."""
    description: str = ""
    node: str = ""
    """The node at the other end; empty for a device that is no node."""
    configured: str = ""
    """Name of the explicit peer of the configuration that it stems from; empty for a node."""

    @property
    def internal(self) -> bool:
        """Whether both ends are in one autonomous system (iBGP)."""
        return self.asn == self.local_asn

    @property
    def as_words(self) -> str:
        """The peer's AS as people read it."""
        return f"AS {self.asn}" if self.asn != ANY_ASN else "any AS but ours"

    @property
    def interface(self) -> str:
        """The interface that the peer's link-local address belongs to; empty for any other address."""
        return getattr(self.address, "scope_id", None) or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRestart:
    """The Graceful Restart capability of the peer's OPEN (RFC 4724 §3, RFC 8538 §2)."""

    restarting: bool
    notification: bool
    restart_time: int
    forwarding: tuple[Family, ...]
    """Families whose forwarding state the peer says it preserved (F bit)."""
    families: tuple[Family, ...]


@dataclass(frozen=True, slots=True)
class Capability:
    """One capability of two OPENs, side by side (RFC 5492), for people."""

    name: str
    ours: str
    """What we offered, in words; empty if we did not."""
    theirs: str
    """What the peer offered."""
    holds: bool
    """Whether the session has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Negotiated:
    """What both OPENs agreed on; needed to read and write UPDATE bodies."""

    asn: Asn
    router_id: str
    asn4: bool
    message_size: int
    hold_time: int
    families: tuple[Family, ...]
    extended_nexthop: bool = False
    """IPv4 NLRI may carry an IPv6 next hop, both ways (RFC 8950)."""
    route_refresh: bool = False
    restart: PeerRestart | None = None
    keepalive: int = 30
    """Seconds between our KEEPALIVEs; 0 for none."""
    add_path: tuple[Family, ...] = ()
    """Families in which the peer's NLRI begin with a path identifier (RFC 7911 §3)."""
    add_path_send: tuple[Family, ...] = ()
    """Families in which our NLRI do."""
    capabilities: tuple[Capability, ...] = ()
    """All that either side offered."""
    local_address: str = ""
    """The session's own TCP address, for next-hop-self."""


class SessionState(StrEnum):
    """The part of the RFC 4271 FSM that others can see."""

    IDLE = "idle"
    CONNECT = "connect"
    ESTABLISHED = "established"


class Origin(IntEnum):
    """RFC 4271 §5.1.1."""

    IGP = 0
    EGP = 1
    INCOMPLETE = 2


class SegmentType(IntEnum):
    """AS_PATH segments (RFC 4271 §4.3 b, RFC 5065)."""

    AS_SET = 1
    AS_SEQUENCE = 2
    AS_CONFED_SEQUENCE = 3
    AS_CONFED_SET = 4


@dataclass(frozen=True, slots=True)
class AsSegment:
    """One segment of an AS_PATH."""

    type: SegmentType
    asns: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """An attribute that kroute does not interpret, kept as it came (RFC 4271 §5: transitive ones travel on)."""

    flags: int
    code: int
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """The path attributes of one attribute block; NLRI are not part of it, the MP next hop is.

    ``nexthop`` is 4 or 16 octets (for IPv6 the global one; ``link_local`` holds the second of RFC 2545 §3).
    Communities are sorted tuples: standard as 32-bit numbers, extended as 8 octets each, large as three
    32-bit numbers (RFC 1997, 4360, 8092). ``originator_id`` and ``cluster_list`` as 4-octet values.
    """

    origin: Origin = Origin.IGP
    as_path: tuple[AsSegment, ...] = ()
    nexthop: bytes = b""
    link_local: bytes = b""
    med: int | None = None
    local_pref: int | None = None
    atomic_aggregate: bool = False
    aggregator: tuple[int, bytes] | None = None
    communities: tuple[int, ...] = ()
    extended_communities: tuple[bytes, ...] = ()
    large_communities: tuple[tuple[int, int, int], ...] = ()
    originator_id: bytes | None = None
    cluster_list: tuple[bytes, ...] = ()
    unknown: tuple[Unknown, ...] = ()

    @property
    def as_path_length(self) -> int:
        """Length to compare: an AS_SET counts 1 (RFC 4271 §9.1.2.2 a), confederation segments 0 (RFC 5065 §5.3)."""
        path = self.as_path
        if len(path) == 1 and path[0].type is SegmentType.AS_SEQUENCE:  # nearly every path there is
            return len(path[0].asns)
        return sum(
            len(s.asns)
            if s.type is SegmentType.AS_SEQUENCE
            else 1
            if s.type is SegmentType.AS_SET
            else 0
            for s in path
        )

    @property
    def neighbor_as(self) -> int | None:
        """The AS that the path came from; None for our own, where the AS_PATH is empty or begins with an AS_SET
        (RFC 4271 §9.1.2.2 c). Confederation segments do not count (RFC 5065 §5.3).
        """
        for segment in self.as_path:
            if segment.type is SegmentType.AS_SET:
                return None
            if segment.type is SegmentType.AS_SEQUENCE and segment.asns:
                return segment.asns[0]
        return None


class NoticeCode(IntEnum):
    """NOTIFICATION error codes that kroute sends itself (RFC 4271 §4.5, RFC 4486, RFC 8538)."""

    UPDATE_ERROR = 3
    CEASE = 6


class CeaseSubcode(IntEnum):
    """Subcodes of Cease (RFC 4486, RFC 8538 §3.1)."""

    MAX_PREFIXES = 1
    ADMIN_SHUTDOWN = 2
    PEER_DECONFIGURED = 3
    ADMIN_RESET = 4
    OTHER_CONFIG_CHANGE = 6
    HARD_RESET = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDown:
    """Why a session ended: who said so, the NOTIFICATION if there was one, and words for an operator."""

    reason: str
    sent: tuple[int, int] | None = None
    received: tuple[int, int] | None = None
    at: Seconds = Seconds(0.0)
