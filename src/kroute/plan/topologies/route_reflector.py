"""Route reflectors (RFC 4456): some nodes reflect, all others are their clients, reflectors are meshed.

A node reflects if it bears the configured label or annotation, or is named in the configuration. The value of
the label may be its cluster id; several reflectors may share one if they have the same clients.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from kroute.model.config_peering import RouteReflector
from kroute.model.node import Node
from kroute.plan.arrangement import Arrangement
from kroute.plan.reflection import Reflection, Reflector, zone_of
from kroute.plan.sessions import View, is_dotted_quad, router_id


def arrange(view: View) -> Arrangement:
    """A reflector's sessions with its clients and the other reflectors, or a client's with its reflectors."""
    parts = view.config.bgp, view.config.peering.route_reflector
    found = view.once(("by label", id_seen_by(view)), parts, lambda: _reflection(view))
    count = len(found.reflectors)
    words = f"{count} route reflector{'' if count == 1 else 's'} by label, annotation or name"
    return found.arrange(view, words)


def _reflection(view: View) -> Reflection:
    config = view.config.peering.route_reflector
    return Reflection(view.nodes, _reflectors(view), config.zone_label, config.per_client)


def _reflectors(view: View) -> Iterator[Reflector]:
    config = view.config.peering.route_reflector
    for node in view.nodes.values():
        if reflects(config, node):
            named = node.name in config.nodes
            yield Reflector(
                name=node.name,
                zone=zone_of(node, config.zone_label),
                cluster_id=cluster_id(view, node),
                why="named in routeReflector.nodes" if named else f"marked {config.label}",
            )


def reflects(config: RouteReflector, node: Node) -> bool:
    """Whether a node is a route reflector."""
    return node.name in config.nodes or mark(config, node) not in (None, "false")


def cluster_id(view: View, node: Node) -> str:
    """A reflector's CLUSTER_ID as a dotted quad: label value, configuration, or its router id (RFC 4456 §7).

    Empty where another node's router id would be it, but is set by that node's own configuration.
    """
    config = view.config.peering.route_reflector
    text = mark(config, node) or ""
    if is_dotted_quad(text):
        return text
    if text.isdecimal() and 0 < int(text) < 1 << 32:
        return str(ip_address(int(text)))
    return config.cluster_id or own_or_known_id(view, node)


def own_or_known_id(view: View, node: Node) -> str:
    """A node's router id; empty where only that node knows it."""
    if view.config.bgp.router_id and node.name != view.me.name:
        return ""
    return router_id(view.config.bgp, node)


def id_seen_by(view: View) -> str:
    """Who sees a router id that others do not: the own node where its configuration sets it."""
    return view.me.name if view.config.bgp.router_id else ""


def mark(config: RouteReflector, node: Node) -> str | None:
    """What a node's label, or else its annotation, says of its reflecting; None if nothing."""
    return node.labels.get(config.label, node.annotations.get(config.label))
