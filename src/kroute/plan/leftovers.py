"""Kernel routes of an earlier life that may go before every expected peer has spoken (law 2).

A route that nobody has announced in this life stays while somebody who is still silent may announce it. But a silent
node can only tell of routes that lead to itself: one dead neighbour need not keep the routes of all nodes that left the
cluster while we were away, whose podCIDRs and addresses the inventory has not got any more.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from kroute.model.bgp import PeerKind
from kroute.model.fib import Nexthops
from kroute.model.net import Family, Nlri
from kroute.model.state import Vouched
from kroute.plan.peers import PeerState
from kroute.plan.seed import passes_on

Key = tuple[Family, Nlri]


class Guard:
    """What silent peers may still announce."""

    def __init__(self, vouched: Vouched, peers: Iterable[PeerState]) -> None:
        self.everything = vouched.discovers
        """Somebody is silent who may announce any prefix with any next hop."""
        self._gateways: set[bytes] = set()
        self._named: set[Key] = set()
        states = list(peers)
        reflected = any(s.has_spoken and _reflects_for_us(s) for s in states)
        for state in states:
            if state.is_silent:
                self._add(vouched, state, reflected)

    def _add(self, vouched: Vouched, state: PeerState, reflected: bool) -> None:
        exact, node = state.adj_in.rules.acceptance.exact, state.peer.node
        if exact is not None:
            self._named |= exact
        elif node and (not passes_on(state.peer) or (reflected and _reflects_for_us(state))):
            # What another reflector of the cluster has not told, this one will not, but for what is its own.
            known = vouched.nodes.get(node)
            self._gateways |= {a.packed for a in known.addresses} if known else set()
        else:
            self.everything = True

    def releases(
        self, family: Family, left: Mapping[Nlri, Nexthops], owned: Container[Key]
    ) -> list[Nlri]:
        """The routes of an earlier life that none of them can announce, and that no node of the inventory owns."""
        if self.everything:
            return []
        return [
            nlri
            for nlri, legs in left.items()
            if legs
            and (family, nlri) not in owned
            and (family, nlri) not in self._named
            and all(leg.gateway and leg.gateway not in self._gateways for leg in legs)
        ]


def _reflects_for_us(state: PeerState) -> bool:
    """Whether it is a reflector among the cluster's nodes: all of those tell their clients the same."""
    return state.peer.kind is PeerKind.REFLECTOR and bool(state.peer.node)
