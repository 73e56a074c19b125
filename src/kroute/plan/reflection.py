"""Route reflection among nodes (RFC 4456) once it is known which of them reflect.

Reflectors peer with each other as non-clients; every other node is a client of the reflectors of its zone, or of some
of them. All of it follows from the nodes and the configuration, so that both ends of a session find the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

from kroute.model.bgp import Peer, PeerKind
from kroute.model.node import Node
from kroute.model.problem import Problem, Severity
from kroute.model.topology import Duty, Role
from kroute.plan.arrangement import Arrangement
from kroute.plan.sessions import View, node_peers


@dataclass(frozen=True, slots=True, kw_only=True)
class Reflector:
    """A node that reflects: its zone, its CLUSTER_ID (empty: not known here), and why it was chosen."""

    name: str
    zone: str
    cluster_id: str
    why: str


def score(*names: str) -> bytes:
    """What ranks a choice alike on every node (rendezvous hashing): the greatest score wins.

    The score of one thing depends on no other, so that things that come or go change no order among the rest.
    """
    return blake2b("\0".join(names).encode(), digest_size=8).digest()


class Reflection:
    """Who is whose client: the same whichever node looks."""

    def __init__(
        self,
        nodes: Mapping[str, Node],
        reflectors: Iterable[Reflector],
        zone_label: str,
        per_client: int | None = None,
    ) -> None:
        """``zone_label`` empty: all nodes are of one zone. ``per_client``: most reflectors of a client; None: all."""
        self._nodes = nodes
        self._label = zone_label
        self._per_client = per_client
        self.reflectors = {r.name: r for r in reflectors}
        self._zones: dict[str, tuple[str, ...]] = {}
        for found in self.reflectors.values():
            self._zones[found.zone] = (*self._zones.get(found.zone, ()), found.name)

    def arrange(self, view: View, words: str) -> Arrangement:
        """The own node's sessions and everybody's role."""
        me = self.reflectors.get(view.me.name)
        return Arrangement(
            peers=tuple(self._peers(view, me)),
            roles=self._roles,
            cluster_id=me.cluster_id if me else "",
            words=words,
            problems=self._problems,
            lonely=None if self.reflectors else _no_reflector(view.me),
        )

    def zone(self, node: Node) -> str:
        """A node's zone; empty where it has none or zones do not matter."""
        return zone_of(node, self._label)

    def serving(self, node: Node) -> tuple[str, ...]:
        """The reflectors that a node is a client of: those of its zone, or of all zones if its own has none."""
        found = self._zones.get(self.zone(node)) or tuple(self.reflectors)
        if self._per_client is None or len(found) <= self._per_client:
            return found
        ranked = sorted(found, key=lambda name: score(node.name, name), reverse=True)
        return tuple(sorted(ranked[: self._per_client]))

    def _peers(self, view: View, me: Reflector | None) -> Iterator[Peer]:
        if me is None:
            for name in self.serving(view.me):
                yield from node_peers(view, view.nodes[name], PeerKind.REFLECTOR)
            return
        for name, other in view.nodes.items():
            if name == me.name:
                continue
            if name in self.reflectors:
                yield from node_peers(view, other, PeerKind.MESH, me.cluster_id)
            elif me.name in self.serving(other):
                yield from node_peers(view, other, PeerKind.CLIENT, me.cluster_id)

    @cached_property
    def _roles(self) -> Mapping[str, Role]:
        roles: dict[str, Role] = {}
        clients: dict[tuple[str, tuple[str, ...]], Role] = {}
        for name, node in self._nodes.items():
            found = self.reflectors.get(name)
            if found is not None:
                roles[name] = Role(duty=Duty.REFLECTOR, zone=found.zone, why=found.why)
                continue
            key = self.zone(node), self.serving(node)
            if key not in clients:
                why = f"served by {', '.join(key[1]) or 'nobody'}"
                clients[key] = Role(duty=Duty.CLIENT, zone=key[0], why=why)
            roles[name] = clients[key]
        return roles

    # --- what is wrong ------------------------------------------------------------------------------

    @cached_property
    def _problems(self) -> tuple[Problem, ...]:
        return *self._zones_alone(), *self._clashes()

    def _zones_alone(self) -> Iterator[Problem]:
        """Zones whose nodes are clients of other zones' reflectors, for want of their own."""
        if not self.reflectors:
            return
        zones = {self.zone(node) for node in self._nodes.values()}
        for zone in sorted(zones - self._zones.keys()):
            yield Problem(
                object=f"zone/{zone}" if zone else "zone/(none)",
                field="peering.routeReflector",
                reason=f"no node with {self._label}={zone or '(no label)'} reflects; "
                "its nodes are clients of the reflectors of all zones",
            )

    def _clashes(self) -> Iterator[Problem]:
        """Reflectors of one cluster id that do not have the same clients: paths get lost between them."""
        shared: dict[str, list[str]] = {}
        for found in self.reflectors.values():
            if found.cluster_id:
                shared.setdefault(found.cluster_id, []).append(found.name)
        for cluster, names in sorted(shared.items()):
            if len(names) > 1 and len({self._clients(name) for name in names}) > 1:
                yield Problem(
                    object=f"cluster-id/{cluster}",
                    field="peering.routeReflector",
                    reason=f"is that of {', '.join(sorted(names))}, which do not have the same clients; each discards "
                    "what the other reflects (RFC 4456 §8). Give them different ones, or the same clients",
                    severity=Severity.ERROR,
                )

    def _clients(self, reflector: str) -> frozenset[str]:
        return frozenset(
            name
            for name, node in self._nodes.items()
            if name not in self.reflectors and reflector in self.serving(node)
        )


def zone_of(node: Node, label: str) -> str:
    """The value of the zone label; empty where the node has none or no label is configured."""
    return node.labels.get(label, "") if label else ""


def ranks(names: Mapping[str, str]) -> dict[str, int]:
    """Place of each name within its zone, from 1, in the order given."""
    counts: dict[str, int] = {}
    found = {}
    for name, zone in names.items():
        found[name] = counts[zone] = counts.get(zone, 0) + 1
    return found


def _no_reflector(me: Node) -> Problem:
    return Problem(
        object=f"node/{me.name}",
        field="peering.routeReflector",
        reason="no node reflects and no explicit peer of this node does, so it has no session with any node; "
        "label a node, name one in peering.routeReflector.nodes, or set `reflector: true` on a peer",
        severity=Severity.ERROR,
    )
