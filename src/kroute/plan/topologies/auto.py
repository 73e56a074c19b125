"""Auto: a full mesh of a small cluster, route reflectors per zone in a large one.

Every node finds the same reflectors without asking, from what the inventory says: within a zone, nodes that are ready
and schedulable come before others, marked ones (`routeReflector.label`) before unmarked, and among equals the greatest
hash of the name wins. A node that comes or goes thus moves one reflector at most, and only in its own zone.

What keeps a cluster of about ``threshold`` nodes from flapping is no memory of ours, of which a restarted node would
have none: from ``threshold`` + 1 to ``threshold`` + ``hysteresis`` nodes the reflectors reflect to all, and sessions
between others stay where they are up but are not opened. Each end may or may not have kept one; both ways work, since
every session of the reflectors is one of the mesh, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from kroute.model.config_peering import RouteReflector
from kroute.model.node import Node
from kroute.plan.arrangement import Arrangement, mesh
from kroute.plan.reflection import Reflection, Reflector, ranks, score, zone_of
from kroute.plan.sessions import View
from kroute.plan.topologies.route_reflector import id_seen_by, mark, own_or_known_id


def arrange(view: View) -> Arrangement:
    """The mesh, or reflectors and their clients; in between, reflectors and what is left of the mesh."""
    auto, size = view.config.peering.auto, len(view.nodes)
    if size <= auto.threshold:
        words = f"auto: full mesh, {size} nodes are not more than {auto.threshold}"
        return mesh(view, view.nodes.values(), words)
    parts = view.config.bgp, auto, view.config.peering.route_reflector
    reflection = view.once(
        ("auto", id_seen_by(view)),
        parts,
        lambda: Reflection(view.nodes, choose(view), auto.zone_label),
    )
    count = len(reflection.reflectors)
    words = f"auto: {count} route reflectors, {size} nodes are more than {auto.threshold}"
    found = reflection.arrange(view, words)
    if size > auto.threshold + auto.hysteresis:
        return found
    wanted = {peer.node for peer in found.peers}
    rest = mesh(view, (n for n in view.nodes.values() if n.name not in wanted), "")
    words = f"{words}, though not by more than {auto.hysteresis}: sessions of the mesh stay"
    return replace(found, spare=rest.peers, words=words)


def choose(view: View) -> Iterator[Reflector]:
    """The reflectors of all zones, best first in each."""
    auto, marks = view.config.peering.auto, view.config.peering.route_reflector
    able = (n for n in view.nodes.values() if n.addresses and mark(marks, n) != "false")
    ranked = sorted(able, key=lambda n: _worth(marks, n), reverse=True)
    places = ranks({n.name: zone_of(n, auto.zone_label) for n in ranked})
    for node in ranked:
        zone, place = zone_of(node, auto.zone_label), places[node.name]
        if place <= auto.reflectors_per_zone:
            yield Reflector(
                name=node.name,
                zone=zone,
                cluster_id=own_or_known_id(view, node),
                why=f"rank {place} of zone {zone}" if zone else f"rank {place}",
            )


def _worth(marks: RouteReflector, node: Node) -> tuple[bool, bool, bytes, str]:
    fit = node.ready and not node.unschedulable
    marked = node.name in marks.nodes or mark(marks, node) is not None
    return fit, marked, score(node.name), node.name
