"""Route reflectors (RFC 4456): some nodes reflect, all others are their clients, reflectors are meshed.

A node reflects if it bears the configured label or annotation, or is named in the configuration. The value of
the label may be its cluster id; several reflectors may share one.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from kroute.model.bgp import Peer, PeerKind
from kroute.model.config import RouteReflector, Topology
from kroute.model.node import Node
from kroute.plan.sessions import View, is_dotted_quad, node_peers, router_id


def peers(view: View) -> Iterator[Peer]:
    """A reflector's sessions with its clients and the other reflectors, or a client's with all reflectors."""
    config = view.config.peering.route_reflector
    own_cluster = own_cluster_id(view)
    i_reflect = bool(own_cluster)
    for name, other in view.nodes.items():
        if name == view.me.name:
            continue
        it_reflects = reflects(config, other)
        if i_reflect and it_reflects:
            yield from node_peers(view, other, PeerKind.MESH, own_cluster)
        elif i_reflect:
            yield from node_peers(view, other, PeerKind.CLIENT, own_cluster)
        elif it_reflects:
            yield from node_peers(view, other, PeerKind.REFLECTOR)


def reflects(config: RouteReflector, node: Node) -> bool:
    """Whether a node is a route reflector."""
    return node.name in config.nodes or _mark(config, node) not in (None, "false")


def own_cluster_id(view: View) -> str:
    """The own node's CLUSTER_ID; empty where it reflects nothing."""
    peering = view.config.peering
    if peering.topology is not Topology.ROUTE_REFLECTOR:
        return ""
    return cluster_id(view, view.me) if reflects(peering.route_reflector, view.me) else ""


def cluster_id(view: View, node: Node) -> str:
    """A reflector's CLUSTER_ID as a dotted quad: label value, configuration, or its router id (RFC 4456 §7)."""
    config = view.config.peering.route_reflector
    mark = _mark(config, node) or ""
    if is_dotted_quad(mark):
        return mark
    if mark.isdecimal() and 0 < int(mark) < 1 << 32:
        return str(ip_address(int(mark)))
    return config.cluster_id or router_id(view.config.bgp, node)


def _mark(config: RouteReflector, node: Node) -> str | None:
    return node.labels.get(config.label, node.annotations.get(config.label))
