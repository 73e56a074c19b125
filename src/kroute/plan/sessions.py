"""What two nodes of the cluster agree on about their sessions without talking to each other.

Every rule here is symmetric: computed on either node it gives matching ends. Which families a session
carries follows from addresses alone, never from podCIDRs, because podCIDRs arrive late and a change of
families would reset the session.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, TypeVar, cast

from kroute.model.bgp import GracefulRestart, Initiate, Peer, PeerKind, PeerName
from kroute.model.config import Bgp, Config
from kroute.model.config_peering import NodeInitiate, Transport
from kroute.model.kernel import KernelState
from kroute.model.net import Address, Family, family_of
from kroute.model.node import Node
from kroute.model.service import Announceable
from kroute.model.session_keys import ADD_PATH_MAX, AddPath, PathSelect
from kroute.model.state import AttachedPod
from kroute.plan.asn import node_asn

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a topology looks at: the own node, the nodes with settled claims, the configuration; explicit peers
    look at the kernel and at the routers that were heard, advertisers at what becomes of services, as well.
    """

    me: Node
    nodes: dict[str, Node]
    config: Config
    kernel: KernelState | None = None
    """Links and addresses of this node; None until first read."""
    routers: Mapping[str, tuple[IPv6Address, ...]] = field(default_factory=dict)
    """Link-local addresses of routers that advertise themselves, by interface."""
    pods: tuple[AttachedPod, ...] = ()
    """Pods attached on this node through KNI."""
    services: tuple[Announceable, ...] = ()
    """What becomes of each service address here (see :mod:`kroute.plan.services`)."""
    among: Container[str] | None = None
    """The nodes with which sessions are looked at; None: all."""
    memo: dict[object, tuple[object, object]] = field(default_factory=dict)

    def once(self, what: object, parts: tuple[object, ...], make: Callable[[], T]) -> T:
        """What follows from the nodes and these parts of the configuration, whoever looks: made once for all views of
        one survey.
        """
        key = what, *map(id, parts)
        known = self.memo.get(key)
        if known is None:
            # The parts are kept with it, so that their identity stays their own.
            known = self.memo[key] = parts, make()
        return cast(T, known[1])


def router_id(config: Bgp, node: Node) -> str:
    """The node's BGP identifier: as configured, else its IPv4 address, else a hash of its name (RFC 6286)."""
    if config.router_id:
        return config.router_id
    own = node.address(Family.IPV4)
    if own is not None:
        return str(own)
    digest = blake2b(node.name.encode(), digest_size=4).digest()
    return str(ip_address(max(int.from_bytes(digest, "big"), 1)))


def graceful_restart(config: Bgp) -> GracefulRestart | None:
    """The session's graceful restart, or None where it is turned off."""
    wanted = config.graceful_restart
    if not wanted.enabled:
        return None
    return GracefulRestart(restart_time=wanted.restart_time, stale_time=wanted.stale_time)


def add_path(
    way: AddPath | None, select: PathSelect | None, most: int | None, families: tuple[Family, ...]
) -> dict[str, Any]:
    """The fields of :class:`~kroute.model.bgp.Peer` that say how several paths to a prefix travel (RFC 7911)."""
    wanted = way or AddPath.OFF
    return {
        "add_path": families if wanted.receives else (),
        "add_path_send": families if wanted.sends else (),
        "add_path_select": select or PathSelect.EQUAL,
        "add_path_max": most or ADD_PATH_MAX,
    }


def max_prefixes(config: Bgp, known_nodes: int) -> int:
    """The default limit of prefixes per peer and family: twice the known nodes plus room, at least 1000."""
    return config.max_prefixes or max(1000, 2 * known_nodes + 100)


def node_peers(view: View, other: Node, kind: PeerKind, cluster_id: str = "") -> Iterator[Peer]:
    """The sessions with another node: one, or one per family; none while they have no common address, and none
    where the nodes are of different ASes (:func:`kroute.plan.asn.asn_problems` tells of it).
    """
    if view.among is not None and other.name not in view.among:
        return
    bgp = view.config.bgp
    asn = node_asn(bgp, view.me)
    if node_asn(bgp, other) != asn:
        return
    rid, restart = router_id(bgp, view.me), graceful_restart(bgp)
    limit, peering = max_prefixes(bgp, len(view.nodes)), view.config.peering
    for suffix, mine, theirs, families, extended in _transports(
        view.config.peering.transport, view.me, other
    ):
        yield Peer(
            name=PeerName(f"node/{other.name}{suffix}"),
            kind=kind,
            address=theirs,
            local_address=mine,
            asn=asn,
            local_asn=asn,
            router_id=rid,
            cluster_id=cluster_id,
            families=families,
            port=bgp.port,
            initiate=_initiate(view.config, mine, theirs),
            hold_time=bgp.hold_time,
            extended_nexthop=extended,
            graceful_restart=restart,
            max_prefixes=limit,
            node=other.name,
            **add_path(peering.add_path, peering.add_path_select, peering.add_path_max, families),
        )


def _initiate(config: Config, mine: Address, theirs: Address) -> Initiate:
    """Who connects: the higher address, unless the other end may be no kroute (docs/adr/0005)."""
    if config.peering.initiate is NodeInitiate.BOTH:
        return Initiate.BOTH
    return Initiate.ACTIVE if mine.packed > theirs.packed else Initiate.KNOCK


def _transports(
    transport: Transport, me: Node, other: Node
) -> Iterator[tuple[str, Address, Address, tuple[Family, ...], bool]]:
    """Of each session between two nodes: name suffix, own and other address, families carried, RFC 8950."""
    common = {
        f: (mine, theirs)
        for f in Family
        if (mine := me.address(f)) is not None and (theirs := other.address(f)) is not None
    }
    if not common:
        return
    # IPv4 pods on nodes with IPv6 addresses only: RFC 8950 carries their prefixes.
    extended = Family.IPV4 not in common
    carried = (Family.IPV4, Family.IPV6) if extended else tuple(common)
    if transport is Transport.SINGLE:
        mine, theirs = common[_transport_family(me, other, set(common))]
        yield "", mine, theirs, carried, extended
        return
    for family, (mine, theirs) in common.items():
        families = (family,) if len(common) > 1 else carried
        yield f"/{family.label}", mine, theirs, families, extended


def _transport_family(me: Node, other: Node, common: set[Family]) -> Family:
    """The family of a single session: the primary one where both agree on it, else IPv4 if they can."""
    primaries = {family_of(n.primary) for n in (me, other) if n.primary is not None}
    agreed = primaries & common
    if len(primaries) == 1 and agreed:
        return agreed.pop()
    return Family.IPV4 if Family.IPV4 in common else Family.IPV6


def is_dotted_quad(text: str) -> bool:
    """Whether text is an IPv4 address, the form of router and cluster ids."""
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True
