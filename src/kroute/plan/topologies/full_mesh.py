"""Full mesh: every node peers with every other, or with every other of its group. The default.

Internal BGP without reflectors: each node announces what it originates and passes nothing on (RFC 4271 §9.2).
"""

from __future__ import annotations

from collections.abc import Iterator

from kroute.model.bgp import Peer, PeerKind
from kroute.plan.sessions import View, node_peers


def peers(view: View) -> Iterator[Peer]:
    """A session with every other node whose group label equals ours."""
    label = view.config.peering.full_mesh.group_label
    group = view.me.labels.get(label) if label else None
    for name, other in view.nodes.items():
        if name == view.me.name or (label and other.labels.get(label) != group):
            continue
        yield from node_peers(view, other, PeerKind.MESH)
