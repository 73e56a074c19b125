"""Everything about one peer, for ``kroute show peer``: configured, negotiated, timers, counters, errors, what to do."""

from __future__ import annotations

import re
from typing import Any, Final

from kroute.model.bgp import Negotiated, Peer, PeerName
from kroute.plan.declined import declined
from kroute.plan.hints import hint
from kroute.plan.peers import PeerState
from kroute.plan.queries import peer_reason
from kroute.plan.routing import Routing

Answer = dict[str, Any]

_NOTICE: Final = re.compile(r"(sent|received) NOTIFICATION (\d+)/(\d+)")


def find(routing: Routing, name: str) -> PeerName | None:
    """The peer of that name, or of it without its first part: ``tor1`` for ``peer/tor1``, ``n2`` for ``node/n2``."""
    for candidate in (name, f"peer/{name}", f"node/{name}"):
        if PeerName(candidate) in routing.peers:
            return PeerName(candidate)
    return None


def peer_page(state: PeerState, now: float, counted: Answer) -> Answer:
    """The page; ``counted`` is what the speaker counted of the present connection. No password is ever in it."""
    return {
        "name": state.peer.name,
        "kind": state.peer.kind.value,
        "node": state.peer.node,
        "description": state.peer.description,
        "state": state.state.value,
        "reason": state.hold.words(now) if state.hold else peer_reason(state),
        "hint": hint(state),
        "configured": _configured(state.peer),
        "declined": [found.words() for found in declined(state)],
        "negotiated": _negotiated(state.negotiated) if state.established else None,
        "timers": _timers(state, now, counted),
        "counters": _counters(state, counted),
        "lastError": _last_error(state, now),
        "prefixes": _prefixes(state),
        "maxPrefixes": _limit(state, now),
        "gracefulRestart": _restart(state, now),
    }


def _configured(peer: Peer) -> Answer:
    return {
        "address": str(peer.address),
        "port": peer.port,
        "localAddress": str(peer.local_address),
        "localPort": peer.local_port,
        "boundTo": peer.device,
        "asn": peer.asn or "external",
        "localAsn": peer.local_asn,
        "routerId": peer.router_id,
        "families": [f.label for f in peer.families],
        "initiate": peer.initiate.value,
        "holdTime": peer.hold_time,
        "keepalive": peer.keepalive,
        "connectRetry": peer.connect_retry,
        "password": _where_the_key_is(peer),
        "ttlSecurity": peer.ttl_security,
        "multihop": peer.multihop,
        "addPath": [f.label for f in peer.add_path],
        "addPathSend": [f.label for f in peer.add_path_send],
        "addPathSends": f"{peer.add_path_select.value}, at most {peer.add_path_max}"
        if peer.add_path_send
        else None,
        "extendedNexthop": peer.extended_nexthop,
        "shutdown": peer.shutdown,
    }


def _where_the_key_is(peer: Peer) -> str:
    if peer.password_secret is not None:
        return str(peer.password_secret)
    if peer.password_annotation:
        return "kube-router annotations of this node"
    return f"file {peer.password_file}" if peer.password_file else "none"


def _negotiated(agreed: Negotiated | None) -> Answer | None:
    if agreed is None:
        return None
    return {
        "asn": agreed.asn,
        "routerId": agreed.router_id,
        "localAddress": agreed.local_address,
        "families": [f.label for f in agreed.families],
        "holdTime": agreed.hold_time,
        "keepalive": agreed.keepalive,
        "messageSize": agreed.message_size,
        "addPath": [f.label for f in agreed.add_path],
        "addPathSend": [f.label for f in agreed.add_path_send],
        "capabilities": [
            {"name": c.name, "ours": c.ours, "theirs": c.theirs, "holds": c.holds}
            for c in agreed.capabilities
        ],
    }


def _timers(state: PeerState, now: float, counted: Answer) -> Answer:
    up = state.established
    return {
        "up": round(now - state.since, 1) if up else None,
        "down": None if up else round(now - state.since, 1),
        "silence": counted.get("silence"),
        "retryIn": counted.get("retryIn"),
    }


def _counters(state: PeerState, counted: Answer) -> Answer:
    return {
        "updates": state.updates,
        "faults": state.faults,
        "lastFault": state.last_fault,
        "flaps": state.flaps,
        "backlog": state.backlog,
        "connection": {k: v for k, v in counted.items() if k not in ("silence", "retryIn")} or None,
    }


def _last_error(state: PeerState, now: float) -> Answer | None:
    """Why the last session or attempt ended: who said so, the NOTIFICATION if there was one, and when."""
    down = state.last_down
    if state.attempt and not state.established:
        found = _NOTICE.search(state.attempt)
        by = {"sent": "us", "received": "peer"}[found[1]] if found else ""
        code = [int(found[2]), int(found[3])] if found else None
        return {"words": state.attempt, "by": by, "code": code, "ago": None}
    if down is None:
        return None
    by, notice = ("us", down.sent) if down.sent else ("peer", down.received)
    return {
        "words": down.reason,
        "by": by if notice else "",
        "code": list(notice) if notice else None,
        "ago": round(now - state.down_at, 1) if state.down_at else None,
    }


def _prefixes(state: PeerState) -> Answer:
    received = {f.label: sum(len(r.tables[f]) for r in state.ribs) for f in state.adj_in.tables}
    out, name = state.out, state.peer.name
    announced = {f.label: out.count(name, f) if out else 0 for f in state.adj_in.tables}
    stale = {f.label: state.stale_in(f) for f in state.adj_in.tables}
    return {"received": received, "announced": announced, "stale": stale}


def _limit(state: PeerState, now: float) -> Answer:
    peer = state.peer
    return {
        "limit": state.adj_in.limit,
        "warningAt": peer.max_prefixes_warning * state.adj_in.limit // 100,
        "action": "ignore the excess"
        if peer.max_prefixes_restart is None
        else f"close the session for {peer.max_prefixes_restart} s",
        "ignored": sum(state.adj_in.over.values()),
        "downFor": None if state.down_until is None else round(max(0, state.down_until - now), 1),
    }


def _restart(state: PeerState, now: float) -> Answer:
    ours, agreed = state.peer.graceful_restart, state.negotiated
    theirs = agreed.restart if agreed is not None else None
    return {
        "restartTime": ours.restart_time if ours else None,
        "staleTime": ours.stale_time if ours else None,
        "peerRestartTime": theirs.restart_time if theirs else None,
        "peerRestarted": theirs.restarting if theirs else None,
        "peerKeeps": [f.label for f in theirs.forwarding] if theirs else [],
        "endOfRibReceived": sorted(f.label for f in state.ended) if state.established else [],
        "endOfRibOwed": sorted(f.label for f in state.owed) if state.established else [],
        "staleFor": None
        if state.stale_until is None
        else round(max(0, state.stale_until - now), 1),
    }
