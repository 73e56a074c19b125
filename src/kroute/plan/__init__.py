"""Pure decisions: what is wanted, as a function of what is known.

Two speeds (DESIGN): the control plane is planned whole on every change by :func:`plan`; learned routes go prefix by
prefix through :mod:`kroute.plan.routing`.

::

    plan():     nodes ─ claims ─┬─ topologies ─┬─▶ peers        routing:  Adj-RIB-In ─ policy ─ decision ─▶ Loc-RIB
                config ─────────┤  explicit ───┘                                                    ├─▶ FIB
                services ───────┤                                                                   │
                                ├─ advertise ────▶ originations ─────────────────────────────────▶ └─▶ Adj-RIB-Out
                own node ───────┴─ cni ──────────▶ conflist
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace

from kroute.model.bgp import Peer, PeerKind, PeerName
from kroute.model.node import Node
from kroute.model.problem import Problem, Severity
from kroute.model.state import Desired, Observed
from kroute.plan import explicit
from kroute.plan.advertise import originations
from kroute.plan.arrangement import Arrangement
from kroute.plan.asn import asn_problems
from kroute.plan.cni import cni_problems, conflist
from kroute.plan.seed import vouched
from kroute.plan.service_problems import service_problems
from kroute.plan.services import announceables, pending, statics
from kroute.plan.sessions import View
from kroute.plan.survey import Survey, survey
from kroute.plan.topologies import TOPOLOGIES


def plan(
    observed: Observed, surveyed: Survey | None = None, among: Container[str] | None = None
) -> Desired:
    """All that follows from what is known; incomplete until the inventory has been listed (law 2).

    For who plans many nodes: ``surveyed`` is the survey of these very nodes, ``among`` the nodes to whose sessions the
    answer may be limited (None: all); it vouches for nobody's routes then.
    """
    if surveyed is None or surveyed.given is not observed.nodes:
        surveyed = survey(observed.nodes)
    nodes, problems, owners = surveyed.nodes, surveyed.problems, surveyed.owners
    me = nodes.get(observed.me)
    reported = tuple(p for source in sorted(observed.reports) for p in observed.reports[source])
    if me is None:
        missing = _own_node_missing(observed)
        return Desired(owners=owners, problems=_in_order(*problems, *missing, *reported))
    services = announceables(observed, me, nodes)
    view = View(
        me=me,
        nodes=nodes,
        config=observed.config,
        kernel=observed.kernel,
        routers=observed.routers,
        pods=observed.pods,
        services=services,
        among=among,
        memo=surveyed.memo,
    )
    arranged = TOPOLOGIES[observed.config.peering.topology](view)
    peers, peer_problems = _peers(view, arranged)
    network, mtu = observed.config.cni, _uplink_mtu(view, peers.values())
    links_known = observed.kernel is not None
    return Desired(
        peers=peers,
        spare={peer.name: peer for peer in arranged.spare},
        roles=arranged.roles,
        topology=arranged.words,
        originations=originations(view),
        services=services,
        statics=statics(observed.config.services, me),
        conflist=conflist(me, network, mtu) if links_known else None,
        owners=owners,
        unnumbered=explicit.unnumbered(view),
        vouched=vouched(view, peers.values()) if among is None else None,
        complete=observed.listed,
        pending=pending(observed, me),
        problems=_in_order(
            *problems,
            *peer_problems,
            *_node_problems(nodes),
            *asn_problems(observed.config, me, nodes),
            *cni_problems(me, network, mtu),
            *service_problems(observed.config.services, services),
            *reported,
        ),
    )


def _peers(view: View, arranged: Arrangement) -> tuple[dict[PeerName, Peer], tuple[Problem, ...]]:
    """The topology's peers and the explicit ones, by name. Two peers of one address cannot both have a session."""
    peers: dict[PeerName, Peer] = {}
    problems: list[Problem] = [*arranged.problems]
    own = set(view.me.addresses)
    taken: dict[object, PeerName] = {}
    wanted: Iterable[Peer | Problem] = (
        *explicit.peers(view),
        *arranged.peers,
    )
    for peer in wanted:
        if isinstance(peer, Problem):
            problems.append(peer)
            continue
        if peer.address in own:
            problems.append(_own_address(peer))
            continue
        first = taken.setdefault((peer.address, peer.port), peer.name)
        if first == peer.name:
            # Whatever else a peer is: what a reflector passes on to it bears the reflector's cluster (RFC 4456 §8).
            ours = arranged.cluster_id
            peers[peer.name] = peer if peer.cluster_id == ours else replace(peer, cluster_id=ours)
        else:
            problems.append(_address_taken(peer, first))
    if arranged.lonely and all(p.kind is not PeerKind.REFLECTOR for p in peers.values()):
        problems.append(arranged.lonely)
    return peers, tuple(problems)


def _in_order(*problems: Problem) -> tuple[Problem, ...]:
    """Each problem once, and in an order that does not tell in which the events came (law 1)."""
    return tuple(sorted(set(problems)))


def _uplink_mtu(view: View, peers: Iterable[Peer]) -> int | None:
    """Least MTU of the interfaces that hold the node's addresses; where the loopback does, of those to its peers."""
    kernel = view.kernel
    if kernel is None:
        return None
    mtu = {link.index: link.mtu for link in kernel.links if link.name != "lo"}
    for own in (set(view.me.addresses), {p.local_address for p in peers if not p.interface}):
        found = [mtu[index] for index, held in kernel.addresses if held.ip in own and index in mtu]
        if found:
            return min(found)
    uplinks = {*explicit.unnumbered(view), *(p.interface for p in peers)}
    return min((link.mtu for link in kernel.links if link.name in uplinks), default=None)


def _own_node_missing(observed: Observed) -> tuple[Problem, ...]:
    if not observed.listed:
        return ()
    known = ", ".join(sorted(observed.nodes)[:5]) or "none"
    return (
        Problem(
            object=f"node/{observed.me}",
            reason=f"the inventory has no node of this name (it has: {known}); set nodeName or NODE_NAME. "
            "Nothing is announced or removed until it appears",
            severity=Severity.ERROR,
        ),
    )


def _node_problems(nodes: Mapping[str, Node]) -> Iterable[Problem]:
    for node in nodes.values():
        if not node.addresses:
            yield Problem(
                object=f"node/{node.name}",
                field="status.addresses",
                reason="has no address yet; there is no session with it",
            )


def _own_address(peer: Peer) -> Problem:
    return Problem(
        object=peer.name,
        field="address",
        reason=f"{peer.address} is an address of this node, too; no session is set up",
        severity=Severity.ERROR,
    )


def _address_taken(peer: Peer, first: PeerName) -> Problem:
    return Problem(
        object=peer.name,
        field="address",
        reason=f"{peer.address} port {peer.port} is already the peer {first}; only that session is set up",
        severity=Severity.ERROR,
    )
