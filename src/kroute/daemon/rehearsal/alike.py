"""Whether anything that decides about a node's routes differs: if not, it need not hear everybody twice, or at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kroute.daemon.rehearsal.cluster import Cluster
from kroute.daemon.rehearsal.stage import Stage, Voice
from kroute.model.bgp import Initiate, Peer
from kroute.plan.origin import Origins


class Comparison:
    """Compares voices of two clusters; those that many nodes hear are compared once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], bool] = {}

    def alike(self, before: Cluster, old: Stage, after: Cluster, new: Stage) -> bool:
        """Whether a node would have the same routes in both clusters, as nothing that decides about them differs."""
        return _surroundings(old) == _surroundings(new) and self._hear_alike(
            before, old, after, new
        )

    def _hear_alike(self, before: Cluster, old: Stage, after: Cluster, new: Stage) -> bool:
        was = {name: (voice, called) for name, voice, called in before.heard_by(old)}
        for name, voice, called in after.heard_by(new):
            said = was.pop(name, None)
            if said is None or said[1] != called or not self._same(said[0], voice):
                return False
        return not was

    def _same(self, one: Voice, other: Voice) -> bool:
        key = (id(one), id(other))
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = one.blocks == other.blocks
        return known


def _surroundings(stage: Stage) -> tuple[Any, ...]:
    """All that paths are judged by on a node, but for what they say themselves."""
    routing, observed = stage.routing, stage.control.observed
    rib = routing.rib
    peers = {n: (_as_paths_see(s.peer), s.rules) for n, s in routing.peers.items()}
    own = {f: {n: p.attributes for n, p in t.items()} for f, t in routing.local.tables.items()}
    check = rib.origin_check
    known = check.truth if isinstance(check, Origins) else check
    fixed = (rib.me, rib.legs, known, observed.kernel, observed.config.fib)
    return peers, own, fixed


def _as_paths_see(peer: Peer) -> Peer:
    """The peer without what concerns its session alone. A field that is not named here counts."""
    return replace(
        peer,
        hold_time=0,
        keepalive=None,
        connect_retry=None,
        local_port=None,
        description="",
        password_file="",
        password_secret=None,
        password_annotation=False,
        initiate=Initiate.BOTH,
        ttl_security=None,
        multihop=None,
        port=0,
    )
