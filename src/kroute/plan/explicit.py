"""Explicit peers of the configuration: top-of-rack switches, border routers, reflectors that are no nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kroute.model.bgp import Asn, Initiate, Peer, PeerKind, PeerName
from kroute.model.config import PeerConfig
from kroute.model.net import Address, Family, family_of
from kroute.model.node import Node
from kroute.model.peering import effective_peers
from kroute.model.problem import Problem
from kroute.plan.sessions import View, graceful_restart, max_prefixes, router_id

DEFAULT_PORT: Final = 179


def peers(view: View) -> Iterator[Peer | Problem]:
    """The explicit peers that are meant for the own node; a problem for each that cannot be set up."""
    for wanted in effective_peers(view.config.peering):
        if not _is_meant(wanted, view.me):
            continue
        local = wanted.local_address or view.me.address(family_of(wanted.address))
        if local is None:
            yield _no_address(wanted, view.me)
        else:
            yield _peer(view, wanted, local)


def _is_meant(wanted: PeerConfig, me: Node) -> bool:
    if wanted.nodes and me.name not in wanted.nodes:
        return False
    selector = wanted.node_selector or {}
    return all(me.labels.get(key) == value for key, value in selector.items())


def _peer(view: View, wanted: PeerConfig, local: Address) -> Peer:
    bgp = view.config.bgp
    families = _families(wanted, view.me)
    default_extended = family_of(local) is Family.IPV6 and Family.IPV4 in families
    return Peer(
        name=PeerName(f"peer/{wanted.name}"),
        kind=_kind(wanted, bgp.asn),
        address=wanted.address,
        local_address=local,
        asn=_asn(wanted),
        local_asn=Asn(wanted.local_asn or bgp.asn),
        router_id=router_id(bgp, view.me),
        families=families,
        port=wanted.port or DEFAULT_PORT,
        initiate=Initiate.PASSIVE if wanted.passive else Initiate.BOTH,
        hold_time=bgp.hold_time if wanted.hold_time is None else wanted.hold_time,
        extended_nexthop=default_extended
        if wanted.extended_nexthop is None
        else wanted.extended_nexthop,
        graceful_restart=graceful_restart(bgp),
        ttl_security=wanted.ttl_security,
        multihop=wanted.multihop,
        password_file=wanted.password_file or "",
        max_prefixes=wanted.max_prefixes or max_prefixes(bgp, len(view.nodes)),
        description=wanted.description or "",
    )


def _asn(wanted: PeerConfig) -> Asn:
    assert wanted.asn is not None, "a configuration without it is refused"
    return Asn(wanted.asn)


def _kind(wanted: PeerConfig, cluster_asn: int) -> PeerKind:
    if wanted.asn != (wanted.local_asn or cluster_asn):
        return PeerKind.EXTERNAL
    return PeerKind.REFLECTOR if wanted.reflector else PeerKind.MESH


def _families(wanted: PeerConfig, me: Node) -> tuple[Family, ...]:
    named = tuple(f for f in Family if f.label in (wanted.families or ()))
    if named:
        return named
    pods = {family_of(p) for p in me.pod_cidrs} or {family_of(wanted.address)}
    return tuple(f for f in Family if f in pods)


def _no_address(wanted: PeerConfig, me: Node) -> Problem:
    family = family_of(wanted.address).label
    return Problem(
        object=f"peer/{wanted.name}",
        field="localAddress",
        reason=f"node {me.name} has no {family} address to reach {wanted.address} from; the session is not set up",
    )
