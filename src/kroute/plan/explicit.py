"""Explicit peers of the configuration: top-of-rack switches, border routers, reflectors that are no nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kroute.model.bgp import ANY_ASN, Asn, Initiate, Peer, PeerKind, PeerName
from kroute.model.config_peering import PeerConfig
from kroute.model.net import Address, Family, family_of
from kroute.model.node import Node
from kroute.model.peering import effective_peers
from kroute.model.problem import Problem, Severity
from kroute.plan.asn import local_asn, node_asn, remote_asn
from kroute.plan.ends import Ends, ends, interfaces_to_discover
from kroute.plan.selector import bears, selects
from kroute.plan.session_keys import not_available, session_parameters
from kroute.plan.sessions import View, max_prefixes, router_id

DEFAULT_PORT: Final = 179


def peers(view: View) -> Iterator[Peer | Problem]:
    """The explicit peers that are meant for the own node; a problem for each that cannot be set up."""
    for wanted in _meant(view):
        ours = local_asn(view.config, wanted.local_asn, view.me)
        if isinstance(ours, str):
            yield _no_asn(wanted, "localAsn", ours)
            continue
        theirs = remote_asn(wanted.asn, ours, view.me)
        if isinstance(theirs, str):
            yield _no_asn(wanted, "asn", theirs)
            continue
        if wanted.reflector and theirs != ours:
            reason = f"a reflector must be of our own AS, {ours} (RFC 4456)"
            yield _no_asn(wanted, "reflector", reason)
            continue
        if refusal := not_available(wanted):
            yield refusal
            continue
        for found in ends(view, wanted):
            if isinstance(found, Problem):
                yield found
            elif theirs != ANY_ASN or not _is_node_of(view, found.remote, ours):
                yield _peer(view, wanted, found, theirs, ours)


def unnumbered(view: View) -> frozenset[str]:
    """The interfaces whose other ends are to be discovered for the own node's peers."""
    return frozenset(
        name for wanted in _meant(view) for name in interfaces_to_discover(view, wanted)
    )


def discovers(view: View) -> bool:
    """Whether addresses of peers are looked for on the node, so that more peers may come."""
    return any(wanted.address_from is not None for wanted in _meant(view))


def _meant(view: View) -> Iterator[PeerConfig]:
    """The explicit peers, with what they have from their groups, that are for the own node."""
    for wanted in effective_peers(view.config.peering):
        named = not wanted.nodes or view.me.name in wanted.nodes
        if (
            named
            and selects(wanted.node_selector, view.me.labels)
            and bears(wanted.node_annotation, view.me)
        ):
            yield wanted


def _is_node_of(view: View, address: Address, asn: Asn) -> bool:
    """Whether an address is that of a node of an AS. An external peer that is one of ours is none: labels change, and
    then the topology leads to it.
    """
    found = (node for node in view.nodes.values() if address in node.addresses)
    return any(node_asn(view.config.bgp, node) == asn for node in found)


def _peer(view: View, wanted: PeerConfig, found: Ends, asn: Asn, ours: Asn) -> Peer:
    bgp = view.config.bgp
    families = _families(wanted, found, view.me)
    extended = family_of(found.local) is Family.IPV6 and Family.IPV4 in families
    return Peer(
        name=PeerName(f"peer/{wanted.name}{found.suffix}"),
        kind=_kind(wanted, asn, ours),
        address=found.remote,
        local_address=found.local,
        asn=asn,
        local_asn=ours,
        router_id=router_id(bgp, view.me),
        families=families,
        port=wanted.port or DEFAULT_PORT,
        initiate=Initiate.PASSIVE if wanted.passive else Initiate.BOTH,
        extended_nexthop=extended if wanted.extended_nexthop is None else wanted.extended_nexthop,
        max_prefixes=wanted.max_prefixes or max_prefixes(bgp, len(view.nodes)),
        configured=wanted.name,
        **session_parameters(bgp, wanted, families),
    )


def _kind(wanted: PeerConfig, asn: Asn, ours: Asn) -> PeerKind:
    if asn != ours:
        return PeerKind.EXTERNAL
    return PeerKind.REFLECTOR if wanted.reflector else PeerKind.MESH


def _families(wanted: PeerConfig, found: Ends, me: Node) -> tuple[Family, ...]:
    named = tuple(f for f in Family if f.label in (wanted.families or ()))
    if named:
        return named
    pods = {family_of(p) for p in me.pod_cidrs} or {family_of(found.remote)}
    return tuple(f for f in Family if f in pods)


def _no_asn(wanted: PeerConfig, field: str, reason: str) -> Problem:
    return Problem(
        object=f"peer/{wanted.name}",
        field=field,
        reason=f"{reason}; the session is not set up",
        severity=Severity.ERROR,
    )
