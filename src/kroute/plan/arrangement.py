"""What a topology answers: the own node's sessions, and everybody's role."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kroute.model.bgp import Peer, PeerKind
from kroute.model.node import Node
from kroute.model.problem import Problem
from kroute.model.topology import Duty, Role
from kroute.plan.sessions import View, node_peers


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement:
    """The nodes' sessions and roles as one topology has them, seen from the own node."""

    peers: tuple[Peer, ...] = ()
    spare: tuple[Peer, ...] = ()
    """Sessions that are not wanted, but may stay where they are up: neither opened nor closed."""
    roles: Mapping[str, Role] = field(default_factory=dict)
    """Every node's role, by name."""
    cluster_id: str = ""
    """CLUSTER_ID of the own node; empty where it reflects nothing."""
    words: str = ""
    """Which topology is in force and why, for people."""
    problems: tuple[Problem, ...] = ()
    lonely: Problem | None = None
    """What to report unless an explicit peer reflects for us: there is no reflector among the nodes."""


def mesh(view: View, others: Iterable[Node], words: str) -> Arrangement:
    """A session with each of these nodes but ourselves."""
    peers = tuple(
        peer
        for other in others
        if other.name != view.me.name and (view.among is None or other.name in view.among)
        for peer in node_peers(view, other, PeerKind.MESH)
    )
    return Arrangement(
        peers=peers,
        roles=view.once("mesh", (), lambda: dict.fromkeys(view.nodes, _MESH)),
        words=words,
    )


_MESH = Role(duty=Duty.MESH)
