"""Seeded routes: what the inventory vouches for, until a session has told more (law 2).

A node that has just started knows from the inventory who owns which podCIDR and at which address, seconds before the
first session is up, and long before the last one is: one dead neighbour delays nobody. Such routes stand in an
Adj-RIB-In of their own. Whatever a peer announces wins over them, they are told to nobody, and they lead to next
hops of connected networks only.

A node's routes are seeded while all of this holds, and each of it is a function of what is observed and of the time:

- some session is expected to tell them: one with the node, else with reflectors or external peers that may;
- it has not told its whole table yet without them: after that, silence means that there is no such route;
- Kubernetes does not call the node not Ready, or has not for ``notReadyTime`` seconds yet;
- the node has been in the inventory (as we know it) for less than ``lifetime`` seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

from kroute.model.bgp import Attributes, Peer, PeerKind, PeerName
from kroute.model.config import Seeding
from kroute.model.config_peering import Accept
from kroute.model.net import Family, Nlri, family_of, nlri_of
from kroute.model.node import Node
from kroute.model.peering import effective_peers
from kroute.model.state import Vouched
from kroute.plan import explicit
from kroute.plan.adj_in import AdjRibIn
from kroute.plan.paths import Path
from kroute.plan.peers import PeerState
from kroute.plan.rib import Rib
from kroute.plan.sessions import View

Routes = tuple[tuple[Family, Nlri, bytes], ...]
"""Prefixes with their next hops."""

ALL = frozenset(Family)
NEVER_SEEDED = Seeding(enabled=False)


def vouched(view: View, peers: Iterable[Peer]) -> Vouched:
    """What the inventory says of the other nodes, and which peers are expected to say it over BGP."""
    accepting = {
        configured.name
        for configured in effective_peers(view.config.peering)
        if configured.accept in (Accept.POD_CIDRS, Accept.ALL)
    }
    direct: dict[str, tuple[PeerName, ...]] = {}
    indirect: list[PeerName] = []
    for peer in peers:
        if peer.node:
            direct[peer.node] = (*direct.get(peer.node, ()), peer.name)
        if passes_on(peer) or peer.configured in accepting:
            indirect.append(peer.name)
    return Vouched(
        me=view.me,
        nodes={name: node for name, node in view.nodes.items() if name != view.me.name},
        direct=direct,
        indirect=tuple(sorted(indirect)),
        discovers=explicit.discovers(view),
    )


def passes_on(peer: Peer) -> bool:
    """Whether an internal peer tells what it has learned from others: a reflector, to its client or another one."""
    between_reflectors = peer.kind is PeerKind.MESH and bool(peer.cluster_id)
    return peer.kind is PeerKind.REFLECTOR or between_reflectors


class Seeds:
    """The seeded paths, and since when their nodes are known."""

    def __init__(self) -> None:
        self.adj_in = AdjRibIn(None, seeded=True)
        self.in_use = True
        """Off where only what sessions tell in the end matters: in a rehearsal."""
        self.due = False
        """Something changed on which they depend; :meth:`sow` has to look."""
        self._wish = NEVER_SEEDED
        self._vouched: Vouched | None = None
        self._known: dict[str, float] = {}
        """Since when each node is in the inventory, as we know it."""
        self._not_ready: dict[str, float] = {}
        """Since when Kubernetes calls a node not Ready, as we know it."""
        self._paths: dict[bytes, Path] = {}
        self._routes: dict[str, tuple[Node, Node, Routes]] = {}
        """Per node: its description and ours, and what follows from both."""
        self._deadline = inf

    def want(self, vouched: Vouched, wish: Seeding, now: float) -> None:
        """Take over what the inventory and the configuration say now."""
        self._vouched, self._wish, self.due = vouched, wish, True
        self._known = {name: self._known.get(name, now) for name in vouched.nodes}
        unready = [name for name, node in vouched.nodes.items() if not node.ready]
        self._not_ready = {name: self._not_ready.get(name, now) for name in unready}

    def sow(self, rib: Rib, peers: Mapping[PeerName, PeerState], now: float) -> None:
        """Bring the seeded paths up to date, where anything may have changed; and note which peers are away."""
        if self._vouched is None or not (self.due or now >= self._deadline):
            return
        self.due, self._deadline = False, inf
        for state in peers.values():
            state.away = self._is_away(state.peer.node, now)
        wanted = self._wanted(self._vouched, peers, now)
        for family, hops in wanted.items():
            self._replace(rib, family, hops)

    def _replace(self, rib: Rib, family: Family, hops: Mapping[Nlri, bytes]) -> None:
        table = self.adj_in.tables[family]
        rib.forget(self.adj_in, family, [nlri for nlri in table if nlri not in hops])
        for nlri, hop in hops.items():
            path = self._paths.get(hop)
            if path is None:
                path = self._paths[hop] = rib.judge(self.adj_in, Attributes(nexthop=hop))
            if table.get(nlri) is not path:
                rib.learn(self.adj_in, family, path, (nlri,))
        if not any(self.adj_in.tables.values()):
            self._paths.clear()
            self._routes.clear()

    # --- the rule -----------------------------------------------------------------------------------

    def _wanted(
        self, vouched: Vouched, peers: Mapping[PeerName, PeerState], now: float
    ) -> dict[Family, dict[Nlri, bytes]]:
        wanted: dict[Family, dict[Nlri, bytes]] = {family: {} for family in Family}
        if not (self._wish.enabled and self.in_use):
            return wanted
        through_others = _unheard(vouched.indirect, peers)
        for name, node in vouched.nodes.items():
            end = self._known[name] + self._wish.lifetime
            if not node.pod_cidrs or now >= end or self._is_away(name, now):
                continue
            direct = vouched.direct.get(name)
            unheard = through_others if direct is None else _unheard_directly(direct, peers)
            for family, nlri, hop in self._routes_of(node, vouched.me) if unheard else ():
                if family in unheard:
                    wanted[family][nlri] = hop
                    self._deadline = min(self._deadline, end)
        return wanted

    def _routes_of(self, node: Node, me: Node) -> Routes:
        """A node's podCIDRs with their next hops; worked out once for each description of it."""
        known = self._routes.get(node.name)
        if known is not None and known[0] is node and known[1] is me:
            return known[2]
        hops = {family: nexthop(me, node, family) for family in Family}
        found = tuple(
            (family, nlri_of(prefix), hop)
            for prefix in node.pod_cidrs
            if (hop := hops[family := family_of(prefix)]) is not None
        )
        self._routes[node.name] = (node, me, found)
        return found

    def _is_away(self, name: str, now: float) -> bool:
        since = self._not_ready.get(name)
        if since is None:
            return False
        end = since + self._wish.not_ready_time
        if now < end:
            self._deadline = min(self._deadline, end)
        return now >= end


def nexthop(me: Node, other: Node, family: Family) -> bytes | None:
    """The next hop that a node would announce to us; for IPv4 an IPv6 one where there is no other (RFC 8950)."""
    common = [f for f in Family if me.address(f) is not None and other.address(f) is not None]
    if family not in common:
        family = Family.IPV6 if family is Family.IPV4 and Family.IPV6 in common else family
    found = other.address(family) if family in common else None
    return None if found is None else found.packed


def _unheard_directly(
    names: Iterable[PeerName], peers: Mapping[PeerName, PeerState]
) -> frozenset[Family]:
    """Families that no session with a node itself has told whole."""
    states = [state for name in names if (state := peers.get(name)) is not None]
    return ALL.difference(*(state.heard for state in states))


def _unheard(names: Iterable[PeerName], peers: Mapping[PeerName, PeerState]) -> frozenset[Family]:
    """Families that some of these peers has yet to tell whole; none without a peer that could."""
    states = [state for name in names if (state := peers.get(name)) is not None]
    present = [s for s in states if not (s.away or s.dispensable)] or states
    return frozenset(f for s in present for f in s.peer.families if f not in s.heard)
