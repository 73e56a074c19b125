"""Full mesh: every node peers with every other, or with every other of its group. The default.

Internal BGP without reflectors: each node announces what it originates and passes nothing on (RFC 4271 §9.2).
"""

from __future__ import annotations

from kroute.plan.arrangement import Arrangement, mesh
from kroute.plan.sessions import View


def arrange(view: View) -> Arrangement:
    """A session with every other node whose group label equals ours."""
    label = view.config.peering.full_mesh.group_label
    group = view.me.labels.get(label) if label else None
    others = (n for n in view.nodes.values() if not label or n.labels.get(label) == group)
    return mesh(view, others, f"full mesh of nodes with {label}={group}" if label else "full mesh")
