"""Make before break: which sessions to hold while the topology changes, and what each of them waits for.

The plan says which peers are wanted; this says which to have now. A session among nodes that is no longer wanted is
held until every usable path that it brought is there from peers that stay, too, and those know our own routes. That
also says that its other end can do without us: a peer that stays could only tell us a node's routes because it is
between us, and passes ours on to it the same way. Routes then change hands within one decision, so the kernel is never
without one.

Paths that the old topology still carries do not count, or two nodes would each let go because of what the other holds:
neither those that passed a reflector that is none any more (its cluster is in their CLUSTER_LIST), nor those that a
reflector has from a session which itself is only held, and tells with LOCAL_PREF 0. It tells so for a second at least,
that nobody turns to such a path while the news of its end is on the way.

The two ends do not switch at the same time. Who closes first says so in a Cease that lets the other keep its routes as
stale (RFC 8538), and the other holds on to them until its own transition is through. And a reflector that becomes none
goes on reflecting to its former clients for the whole time: over a session that stays it would have to withdraw what it
reflected, and only the clients know when they can do without.

A change in the middle of another takes its place: what is held waits for peers that stay by the newest plan, and its
time begins anew. All that is remembered is since when; a restart forgets it, and begins with what the plan says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace

from kroute.model.bgp import Peer, PeerKind, PeerName
from kroute.model.config import Bgp
from kroute.model.config_peering import Peering
from kroute.model.net import Family, Nlri, prefix_of
from kroute.model.node import Node
from kroute.model.topology import Duty, Role
from kroute.plan.paths import LAST_RESORT, Path
from kroute.plan.peers import Held, Hold, PeerState
from kroute.plan.policy import quad
from kroute.plan.rib import Rib
from kroute.plan.sessions import router_id

NOTICE = 1.0
"""Seconds for which a reflector tells at least that what a leaving peer brought is about to go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """The peers to have now, and what is special about some of them."""

    peers: Mapping[PeerName, Peer]
    holds: Mapping[PeerName, Hold]
    closing: frozenset[PeerName]
    """Present peers that go although their node stays: the other end may need our routes for a while."""


def transition(
    present: Mapping[PeerName, PeerState],
    rib: Rib,
    wanted: Mapping[PeerName, Peer],
    spare: Mapping[PeerName, Peer],
    nodes: Mapping[str, Node],
    gone: Callable[[], Set[bytes]],
    *,
    now: float,
    patience: float,
    turned: float = 0.0,
) -> Transition:
    """What to have now, on the way from the present peers to the wanted ones.

    ``spare``: sessions that may stay where they are up. ``nodes``: the inventory; sessions with other nodes are not
    held, and explicit peers only where they are reflectors that others are to replace. ``gone``: cluster ids that no
    node has in the wanted topology, asked for where it matters. ``patience`` in seconds, for each session from when it
    was not wanted any more, or from when the topology ``turned`` into the present one if that is later.
    """
    peers, holds = dict(wanted), {}
    for name, peer in spare.items():
        if name in present and present[name].established:
            peers[name] = peer
            holds[name] = Hold(kind=Held.SPARE, since=now)
    for name in present.keys() & peers.keys():
        since = _since(present[name], Held.SERVED, now)
        until = max(since, turned) + patience
        if _loses_service(present[name], peers[name]) and now < until:
            peers[name] = replace(peers[name], kind=PeerKind.CLIENT)
            holds[name] = Hold(kind=Held.SERVED, since=since, until=until)
    going = {
        name: state
        for name, state in present.items()
        if name not in peers and (state.peer.node in nodes or _is_replaced(state, present, wanted))
    }
    for name, hold in _leaving(present, rib, peers, going, gone, now, patience, turned).items():
        peers[name] = present[name].peer
        holds[name] = hold
    return Transition(
        peers=_of_one_cluster(peers, present),
        holds=holds,
        closing=frozenset(going.keys() - holds.keys()),
    )


def _since(state: PeerState, kind: Held, now: float) -> float:
    return state.hold.since if state.hold is not None and state.hold.kind is kind else now


def _is_replaced(
    state: PeerState, present: Mapping[PeerName, PeerState], wanted: Mapping[PeerName, Peer]
) -> bool:
    """Whether an explicit reflector goes while other internal sessions have yet to come up, or was held for them."""
    if state.peer.kind is not PeerKind.REFLECTOR or not state.peer.configured:
        return False
    up = {name for name, other in present.items() if other.established}
    return state.leaving or any(p.internal and name not in up for name, p in wanted.items())


def _loses_service(state: PeerState, peer: Peer) -> bool:
    """Whether we reflect to a peer now and shall not any more."""
    served = state.established or (state.hold is not None and state.hold.kind is Held.SERVED)
    return served and state.peer.kind is PeerKind.CLIENT and peer.kind is not PeerKind.CLIENT


def _of_one_cluster(
    peers: dict[PeerName, Peer], present: Mapping[PeerName, PeerState]
) -> dict[PeerName, Peer]:
    """While there are clients, whatever we reflect bears our cluster (RFC 4456 §8), though we are to lose the role."""
    clients = [n for n, p in peers.items() if p.kind is PeerKind.CLIENT and n in present]
    cluster = next((c for n in clients if (c := present[n].peer.cluster_id)), "")
    if not cluster or all(p.cluster_id for p in peers.values()):
        return peers
    return {n: p if p.cluster_id else replace(p, cluster_id=cluster) for n, p in peers.items()}


def _leaving(
    present: Mapping[PeerName, PeerState],
    rib: Rib,
    peers: Mapping[PeerName, Peer],
    going: Mapping[PeerName, PeerState],
    gone: Callable[[], Set[bytes]],
    now: float,
    patience: float,
    turned: float,
) -> dict[PeerName, Hold]:
    """The peers to hold although they are not wanted. They go together: one that others' routes still hang on may be
    one that ours hang on at the others.
    """
    taken = {(peer.address, peer.port) for peer in peers.values()}
    since = {name: _since(state, Held.LEAVING, now) for name, state in going.items()}
    able = {
        name: state
        for name, state in going.items()
        if (state.established or len(state.adj_in))
        and now < max(since[name], turned) + patience
        and (state.peer.address, state.peer.port) not in taken
    }
    if not able or not peers:
        return {}
    cover = _Cover(present, rib, peers, gone())
    reflecting = any(
        p.kind is PeerKind.CLIENT for p in (*peers.values(), *(s.peer for s in able.values()))
    )
    early = {n for n in able if reflecting and now - since[n] < NOTICE}
    waits = {
        name: cover.untold()
        or cover.lacks(state)
        or ("others to hear that it is a last resort" if name in early else "")
        for name, state in able.items()
    }
    late = next((name for name in sorted(waits) if waits[name]), None)
    if late is None:
        return {}
    return {
        name: Hold(
            kind=Held.LEAVING,
            since=since[name],
            until=max(since[name], turned) + patience,
            waits_for=reason or f"{late} to be free to go, too",
        )
        for name, reason in waits.items()
    }


class _Cover:
    """What peers that stay have of the routes of those that go."""

    def __init__(
        self,
        present: Mapping[PeerName, PeerState],
        rib: Rib,
        peers: Mapping[PeerName, Peer],
        gone: Set[bytes],
    ) -> None:
        self._present = present
        self._rib = rib
        self._peers = peers
        self._gone = gone

    def untold(self) -> str:
        """The first peer that stays and has not been told all our routes, in words; empty if there is none."""
        if left := self._rib.review.left:
            return f"{left} stored announcements to be judged again"
        for name in sorted(self._peers):
            state = self._present.get(name)
            if state is None or not (state.established and state.peer.internal):
                continue
            if state.owed or state.awaits_table:
                return f"{name} to have our whole table"
        return ""

    def lacks(self, state: PeerState) -> str:
        """The first usable path of a peer that no peer that stays has as well, in words; empty if there is none."""
        for family, table in state.tables:
            for nlri, path in table.items():
                rivals = self._rib.rivals(family, nlri)
                if path.eligible and not any(self._counts(r, family, nlri) for r in rivals):
                    return f"a peer that stays to announce {prefix_of(family, nlri)}"
        return ""

    def _counts(self, path: Path, family: Family, nlri: Nlri) -> bool:
        """Whether a path is there to stay."""
        peer, attributes = path.source.peer, path.attributes
        if peer is None or not path.eligible:
            return path.is_local
        if peer.name not in self._peers or attributes.local_pref == LAST_RESORT:
            return False
        stale = self._present[peer.name].is_stale(path, family, nlri)
        return not stale and self._gone.isdisjoint(attributes.cluster_list)


def shape_of(config: Peering, roles: Mapping[str, Role]) -> object:
    """What makes one topology another: how nodes are connected, and which of them reflect. Other nodes come and go
    without time beginning anew for what is held.
    """
    reflectors = frozenset(n for n, role in roles.items() if role.duty is Duty.REFLECTOR)
    return config.topology, config.full_mesh, config.route_reflector, config.auto, reflectors


def former_clusters(
    config: Bgp, nodes: Mapping[str, Node], roles: Mapping[str, Role]
) -> Set[bytes]:
    """Cluster ids, as far as they follow from the inventory, of the nodes that do not reflect (any more)."""
    if config.router_id:
        return frozenset()
    return {
        quad(router_id(config, node))
        for name, node in nodes.items()
        if name not in roles or roles[name].duty is not Duty.REFLECTOR
    }
