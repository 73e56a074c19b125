"""Questions people ask, as pure functions of the daemon's memory.

Each answer is a list of plain mappings with stable keys: `kroute show … -o json` prints them as they are, the
tables show a choice of the same keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from kroute.model.fib import Nexthops, place_of, place_words
from kroute.model.net import Family, Nlri, Prefix, address_of, family_of, nlri_of, prefix_of
from kroute.model.node import Node
from kroute.model.policies import OriginClass, OriginState
from kroute.model.problem import Problem, Severity
from kroute.model.reason import Reason
from kroute.model.state import Desired, Observed
from kroute.model.topology import Role
from kroute.plan.add_path import MOST
from kroute.plan.clashes import clash_problems
from kroute.plan.decision import explain
from kroute.plan.declined import declined, declined_problems, declined_story
from kroute.plan.origin_report import origin_problems
from kroute.plan.paths import Multipath, Path, Selection
from kroute.plan.routing import PeerState, Routing
from kroute.plan.service_queries import service_story, told_to
from kroute.plan.told_queries import told, told_words

Answer = dict[str, Any]


def peers(
    routing: Routing, now: float, roles: Mapping[str, Role] = MappingProxyType({})
) -> Iterator[Answer]:
    """Every configured peer and its session; ``roles`` are those of the nodes, by name."""
    for state in sorted(routing.peers.values(), key=lambda s: s.peer.name):
        yield _peer(state, now, roles.get(state.peer.node))


def _peer(state: PeerState, now: float, role: Role | None) -> Answer:
    peer, negotiated = state.peer, state.negotiated if state.established else None
    return {
        "name": peer.name,
        "kind": peer.kind.value,
        "node": peer.node,
        "role": f"{role.duty.value}: {role.why}" if role and role.why else "",
        "address": str(peer.address),
        "localAddress": str(peer.local_address),
        "asn": negotiated.asn if negotiated else peer.asn or None,
        "state": state.state.value,
        "uptime": round(now - state.since, 1) if state.established else None,
        "families": [f.label for f in (negotiated.families if negotiated else peer.families)],
        "holdTime": negotiated.hold_time if negotiated else peer.hold_time,
        "received": state.places.paths,
        "stale": sum(map(state.stale_in, Family)),
        "announced": state.out.count(peer.name) if state.out else 0,
        "endOfRib": sorted(f.label for f in state.ended) if state.established else [],
        "limit": state.adj_in.limit,
        "overLimit": sum(state.adj_in.over.values()),
        "updates": state.updates,
        "flaps": state.flaps,
        "faults": state.faults,
        "lastFault": state.last_fault,
        "backlog": state.backlog,
        "routerId": negotiated.router_id if negotiated else "",
        "hold": state.hold.kind.value if state.hold else "",
        "reason": state.hold.words(now) if state.hold else peer_reason(state),
    }


def peer_reason(state: PeerState) -> str:
    """Why a session is not up, or not all that it was to be, in words; empty when it is."""
    if state.established:
        return "; ".join(found.brief() for found in declined(state))
    if state.peer.shutdown:
        return f'shut down by its configuration: "{state.peer.shutdown}"'
    parts = [state.last_down.reason if state.last_down else "", state.attempt]
    return "; ".join(p for p in parts if p) or "connecting"


def routes(routing: Routing, rejected: bool = False) -> Iterator[Answer]:
    """Every prefix with what was selected; or the paths that were not, each with its reason."""
    for family in Family:
        for nlri in sorted(routing.rib.candidates[family], key=lambda n: (n[1:], n[0])):
            if rejected:
                yield from _unused(routing, family, nlri)
            else:
                yield _route(routing, family, nlri)


def _route(routing: Routing, family: Family, nlri: Nlri) -> Answer:
    selection = routing.rib.loc[family].get(nlri)
    verdicts = explain(routing.rib.rivals(family, nlri), routing.rib.legs)
    used = [(p, why) for p, is_used, why in verdicts if is_used]
    why = used[0][1] if used else verdicts[0][2]
    return {
        "prefix": str(prefix_of(family, nlri)),
        "family": family.label,
        "selected": selection is not None,
        "from": [p.source.name for p, _ in used],
        "best": selection.best.source.name if selection else "",
        "nexthop": _address(selection.best) if selection else "",
        "nexthops": legs(selection.nexthops if selection else None),
        **place(selection.nexthops if selection else None),
        "local": bool(selection and selection.best.is_local),
        "seeded": bool(selection and selection.best.is_seeded),
        "paths": len(verdicts),
        "stale": any(_is_stale(routing, p, family, nlri) for p, _ in used),
        "origin": selection.best.outcome.origin.value if selection else "",
        "why": why.why.value,
        "reason": why.text,
    }


def _unused(routing: Routing, family: Family, nlri: Nlri) -> Iterator[Answer]:
    for path, used, why in explain(routing.rib.rivals(family, nlri), routing.rib.legs):
        if not used:
            yield {
                "prefix": str(prefix_of(family, nlri)),
                "family": family.label,
                "from": path.source.name,
                "nexthop": _address(path),
                "origin": path.outcome.origin.value,
                "why": why.why.value,
                "rule": why.rule,
                "reason": why.text,
            }


def _address(path: Path) -> str:
    hop = path.attributes.nexthop
    return str(address_of(hop)) if hop else ""


def _is_stale(routing: Routing, path: Path, family: Family, nlri: Nlri) -> bool:
    state = routing.peers.get(path.source.peer.name) if path.source.peer else None
    return bool(state and state.is_stale(path, family, nlri))


def legs(nexthops: Nexthops | None) -> list[Answer]:
    """The kernel legs of a route."""
    return [
        {
            "gateway": str(address_of(leg.gateway)) if leg.gateway else "",
            "oif": leg.oif,
            "weight": leg.weight,
        }
        for leg in nexthops or ()
    ]


def place(nexthops: Nexthops | None) -> Answer:
    """Table and metric that import policy set for the kernel's route; None where it has the FIB's own."""
    table, metric = place_of(nexthops)
    return {"table": table or None, "metric": metric or None}


def nodes(observed: Observed, desired: Desired, routing: Routing) -> Iterator[Answer]:
    """Every node of the inventory, its sessions, and how many of its podCIDRs are routed."""
    by_node: dict[str, list[PeerState]] = {}
    for state in routing.peers.values():
        by_node.setdefault(state.peer.node, []).append(state)
    for node in sorted(observed.nodes.values(), key=lambda n: n.name):
        sessions = by_node.get(node.name, [])
        owned = [
            p for p in node.pod_cidrs if desired.owners.get((family_of(p), nlri_of(p))) == node.name
        ]
        role = desired.roles.get(node.name)
        yield {
            "name": node.name,
            "own": node.name == observed.me,
            "role": role.duty.value if role else "",
            "zone": role.zone if role else "",
            "why": role.why if role else "",
            "addresses": [str(a) for a in node.addresses],
            "podCIDRs": [str(p) for p in node.pod_cidrs],
            "refusedPodCIDRs": [str(p) for p in node.pod_cidrs if p not in owned],
            "sessions": len(sessions),
            "established": sum(s.established for s in sessions),
            "routed": sum(_is_routed(routing, p) for p in owned),
            "seeded": sum(_is_seeded(routing, p) for p in owned),
        }


def _is_routed(routing: Routing, prefix: Prefix) -> bool:
    family = family_of(prefix)
    return nlri_of(prefix) in routing.rib.loc[family]


def _is_seeded(routing: Routing, prefix: Prefix) -> bool:
    selection = routing.rib.loc[family_of(prefix)].get(nlri_of(prefix))
    return selection is not None and selection.best.is_seeded


def seeded(routing: Routing) -> dict[Family, int]:
    """How many prefixes the inventory alone vouches for now, of each family."""
    return {
        family: sum(routing.rib.loc[family].get(nlri) is path for nlri, path in list(table.items()))
        for family, table in routing.seeds.adj_in.tables.items()
    }


def problems(
    desired: Desired, routing: Routing, now: float, patience: float = 10.0
) -> tuple[Problem, ...]:
    """Everything that is wrong: what the plan says, and what sessions and routes say."""
    found = [*desired.problems]
    for state in routing.peers.values():
        found += _session_problems(state, now, patience)
        found += declined_problems(state)
        found += origin_problems(state)
        found += clash_problems(routing, state, desired.owners)
    return tuple(sorted(found, key=lambda p: (p.severity, p.object, p.field, p.reason)))


def _session_problems(state: PeerState, now: float, patience: float) -> Iterable[Problem]:
    name = state.peer.name
    if not (state.established or state.dispensable) and now - state.since > patience:
        yield Problem(
            object=name,
            field="session",
            reason=f"not established for {int(now - state.since)} s: {peer_reason(state)}",
        )
    yield from _limit_problems(state, now)
    if state.places.ignored:
        words = f"told more than {MOST} paths to some prefixes, {state.places.ignored} in all; they are ignored"
        yield Problem(object=name, field="addPath", reason=words)
    if state.faults:
        yield Problem(
            object=name,
            field="update",
            reason=f"{state.faults} faulty UPDATEs (RFC 7606), last: {state.last_fault}",
        )


def _limit_problems(state: PeerState, now: float) -> Iterable[Problem]:
    """What a peer's limit of prefixes has to say: exceeded, or soon reached."""
    name, adj_in = state.peer.name, state.adj_in
    over, limit = sum(adj_in.over.values()), adj_in.limit
    if state.down_until is not None:
        left = max(0, round(state.down_until - now))
        words = f"announced more than its limit of {limit} prefixes; its session stays down for {left} s more"
        yield Problem(object=name, field="maxPrefixes", reason=words, severity=Severity.ERROR)
        return
    if over:
        excess = "1 prefix" if over == 1 else f"{over} prefixes"
        words = f"announced {excess} over its limit of {limit}, which we ignore"
        yield Problem(object=name, field="maxPrefixes", reason=words, severity=Severity.ERROR)
        return
    for family, table in adj_in.tables.items():
        if 100 * len(table) >= state.peer.max_prefixes_warning * limit:
            share = 100 * len(table) // limit
            words = (
                f"announces {len(table)} {family.label} prefixes, {share} % of its limit of {limit}"
            )
            yield Problem(object=name, field="maxPrefixesWarning", reason=words)


def why(observed: Observed, desired: Desired, routing: Routing, prefix: Prefix) -> Answer:
    """The whole story of the route for a prefix, object to next hop, or where it ends.

    The route is the longest known prefix that covers this one and has a usable path. Longer ones that have none are
    told of, for somebody announced them; the longest is answered for where none is usable.
    """
    family = family_of(prefix)
    known = _covering(routing, family, prefix)
    owner, owned = _owner(desired, observed, prefix)
    story: list[str] = []
    if owner is not None:
        story.append(f"node {owner.name} owns {owned} (spec.podCIDRs)")
    elif of_services := service_story(observed, prefix):
        story += of_services
    else:
        story.append(f"no node of the inventory owns {prefix}")
    if not known:
        story.append(_missing(routing, observed, owner))
        return {"prefix": str(prefix), "routed": False, "story": story, "paths": [], "told": []}
    nlri = known[-1] if known[-1] in routing.rib.loc[family] else known[0]
    selection = routing.rib.loc[family].get(nlri)
    paths: list[Answer] = []
    for each in known:
        _tell(routing, family, each, story, paths)
    story.append(_outcome(routing, family, nlri, selection))
    to = told(routing, family, nlri)
    story += told_words(to)
    story += declined_story(routing, family, nlri)
    return {
        "prefix": str(prefix_of(family, nlri)),
        "routed": selection is not None,
        "story": story,
        "nexthops": legs(selection.nexthops if selection else None),
        **place(selection.nexthops if selection else None),
        "paths": paths,
        "told": to,
    }


def _tell(
    routing: Routing, family: Family, nlri: Nlri, story: list[str], paths: list[Answer]
) -> None:
    """Add what is known of one prefix: a sentence, and an answer, for each of its paths."""
    found = prefix_of(family, nlri)
    for path, used, reason in explain(routing.rib.rivals(family, nlri), routing.rib.legs):
        what = "used" if used else "not used"
        story.append(f"{found} from {path.describe()}: {what}, {reason.text}")
        if path.outcome.rules:
            story.append(f"import rules that it met: {', '.join(path.outcome.rules)}")
        story += _origin(path, reason)
        paths.append(
            {
                "prefix": str(found),
                "from": path.source.name,
                "nexthop": _address(path),
                "used": used,
                "origin": path.outcome.origin.value,
                "why": reason.why.value,
                "rules": list(path.outcome.rules),
                "reason": reason.text,
            }
        )


def _origin(path: Path, said: Reason) -> Iterator[str]:
    """What the origin check has to say, where the verdict does not say it."""
    origin, objection = path.outcome.origin, path.outcome.objection
    if objection is not None and objection != said:
        yield f"the origin check calls it invalid: {objection.text}"
    elif origin is OriginState.VALID:
        yield "the origin check calls it valid: it leads to the node that owns it"


def _covering(routing: Routing, family: Family, prefix: Prefix) -> list[Nlri]:
    """The known prefixes that cover one, the longest first, down to the first that has a usable path."""
    found: list[Nlri] = []
    for length in range(prefix.prefixlen, -1, -1):
        candidate = nlri_of(prefix.supernet(new_prefix=length))
        if candidate in routing.rib.candidates[family]:
            found.append(candidate)
            if candidate in routing.rib.loc[family]:
                break
    return found


def _owner(
    desired: Desired, observed: Observed, prefix: Prefix
) -> tuple[Node, Prefix] | tuple[None, None]:
    """The node that a prefix belongs to, and its podCIDR, once claims are settled."""
    family = family_of(prefix)
    for length in range(prefix.prefixlen, -1, -1):
        owned = prefix.supernet(new_prefix=length)
        name = desired.owners.get((family, nlri_of(owned)))
        if name is not None and name in observed.nodes:
            return observed.nodes[name], owned
    return None, None


def _missing(routing: Routing, observed: Observed, owner: Node | None) -> str:
    if owner is None:
        return "and no peer has announced a prefix that covers it"
    if owner.name == observed.me:
        return "it is our own, but nothing is announced: the inventory has not been listed yet"
    sessions = [s for s in routing.peers.values() if s.peer.node == owner.name]
    if not sessions:
        return f"there is no session with {owner.name} and no other peer has announced it"
    return "; ".join(
        f"session {s.peer.name} is up but it has not announced it"
        if s.established
        else f"session {s.peer.name} is down: {peer_reason(s)}"
        for s in sessions
    )


def _outcome(routing: Routing, family: Family, nlri: Nlri, selection: Selection | None) -> str:
    if selection is None:
        return "no path is usable: nothing is installed"
    if selection.best.is_local:
        source = routing.own.sources.get((family, nlri), "originated here")
        return _own_outcome(routing, selection.best, source, prefix_of(family, nlri))
    count = len(selection.paths) if isinstance(selection, Multipath) else 1
    words = place_words(place_of(selection.nexthops))
    aside = f", as import policy says in {words}" if words else ""
    return f"installed with {len(selection.nexthops or ())} next hop(s) from {count} path(s){aside}"


def _own_outcome(routing: Routing, path: Path, source: str, prefix: Prefix) -> str:
    wish = path.origination
    if wish is None or wish.kind is OriginClass.OWN_PODS:
        return f"it is our own ({source}); the kernel reaches it through the pod bridge"
    to = ", ".join(told_to(routing, prefix)) or "nobody: no session with a peer that takes it is up"
    rest = "; what no more specific route takes is dropped (blackhole)" if wish.blackhole else ""
    return f"we announce it ({source}), told to {to}{rest}"
