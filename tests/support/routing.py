"""Peers, attributes, kernels and a listener, for tests of the pure route half.

Addresses are of the documentation ranges (RFC 5737, RFC 3849): peer ``n7`` is 192.0.2.7 and 2001:db8::7, on one
link with us, 192.0.2.1 and 2001:db8::1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from kroute.model.bgp import (
    Asn,
    AsSegment,
    Attributes,
    GracefulRestart,
    Negotiated,
    Peer,
    PeerKind,
    PeerName,
    PeerRestart,
    SegmentType,
    SessionDown,
)
from kroute.model.fib import Nexthop, Nexthops, ecmp
from kroute.model.kernel import KernelRoute, KernelState, Link
from kroute.model.net import Address, Family, Nlri, family_of, nlri_of
from kroute.model.node import Node
from kroute.model.state import Origination
from kroute.plan.adj_out import Tell
from kroute.plan.paths import Path
from kroute.plan.policy import (
    EVERYTHING,
    UNASKED,
    Acceptance,
    ImportRules,
    OriginCheck,
    OriginVerdict,
    PeerRules,
    Self,
)
from kroute.plan.resolve import Resolver
from kroute.plan.routing import Routing

V4, V6 = Family.IPV4, Family.IPV6
BOTH = (V4, V6)
ASN = Asn(64512)
ME4, ME6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")
OWN_NEXTHOPS = {V4: ME4.packed, V6: ME6.packed}
SELF = Self(router_id=ME4.packed, cluster_id=b"", addresses=frozenset({ME4.packed, ME6.packed}))
LOST = SessionDown(reason="connection lost")


def n(prefix: str) -> Nlri:
    """A prefix as the tables know it."""
    return nlri_of(ip_network(prefix))


def packed(address: str) -> bytes:
    return ip_address(address).packed


def peer(number: int, kind: PeerKind = PeerKind.MESH, **changes: Any) -> Peer:
    """Node ``n<number>``; an external one is in AS 65000 + number."""
    six = changes.pop("six", False)
    values: dict[str, Any] = {
        "name": PeerName(f"node/n{number}"),
        "kind": kind,
        "address": ip_address(f"2001:db8::{number}" if six else f"192.0.2.{number}"),
        "local_address": ME6 if six else ME4,
        "asn": Asn(65000 + number) if kind is PeerKind.EXTERNAL else ASN,
        "local_asn": ASN,
        "router_id": str(ME4),
        "families": BOTH,
        "graceful_restart": GracefulRestart(restart_time=120, stale_time=300),
        "node": f"n{number}",
    }
    return Peer(**(values | changes))


def restart(**changes: Any) -> PeerRestart:
    values: dict[str, Any] = {
        "restarting": False,
        "notification": True,
        "restart_time": 120,
        "forwarding": BOTH,
        "families": BOTH,
    }
    return PeerRestart(**(values | changes))


def negotiated(of: Peer, **changes: Any) -> Negotiated:
    """What a session with a peer like ourselves agrees on; its router id follows from its name."""
    values: dict[str, Any] = {
        "asn": of.asn,
        "router_id": f"192.0.2.{of.name.rpartition('n')[2]}",
        "asn4": True,
        "message_size": 4096,
        "hold_time": 90,
        "families": of.families,
        "extended_nexthop": of.extended_nexthop,
        "restart": restart(families=of.families, forwarding=of.families),
    }
    return Negotiated(**(values | changes))


def attributes(nexthop: str = "192.0.2.2", *path: int, **changes: Any) -> Attributes:
    """Attributes with a next hop and an AS_SEQUENCE."""
    segments = (AsSegment(SegmentType.AS_SEQUENCE, path),) if path else ()
    return Attributes(**({"nexthop": packed(nexthop), "as_path": segments} | changes))


def connected(prefix: str, oif: int = 1) -> KernelRoute:
    return kernel_route(prefix, oif=oif, scope=253)


def kernel_route(prefix: str, **changes: Any) -> KernelRoute:
    network = ip_network(prefix)
    values: dict[str, Any] = {
        "family": family_of(network),
        "prefix": nlri_of(network),
        "metric": 0,
        "oif": 1,
        "gateway": None,
        "protocol": 2,
        "scope": 0,
        "kind": 1,
    }
    return KernelRoute(**(values | changes))


def kernel(*routes: KernelRoute, links: int = 2) -> KernelState:
    """A kernel with links 1, 2 … and these routes; by default the documentation networks on link 1."""
    found = routes or (connected("192.0.2.0/24"), connected("2001:db8::/64"))
    return KernelState(
        links=tuple(
            Link(index=i, name=f"eth{i}", up=True, carrier=True, mtu=1500)
            for i in range(1, links + 1)
        ),
        routes=tuple(sorted(found)),
    )


def hop(address: str, oif: int = 1) -> Nexthops:
    return (Nexthop(packed(address), oif),)


def ruled(accepted: Acceptance = EVERYTHING) -> PeerRules:
    """The rules of a peer of which this is accepted."""
    return PeerRules(imports=ImportRules(acceptance=accepted))


def ecmp_of(*addresses: str, oif: int = 1) -> Nexthops:
    return ecmp({Nexthop(packed(address), oif) for address in addresses})


def node(number: int, *pod_cidrs: str, **changes: Any) -> Node:
    """Node ``n<number>`` with IPv4 address 192.0.2.<number>."""
    values: dict[str, Any] = {
        "name": f"n{number}",
        "addresses": (ip_address(f"192.0.2.{number}"),),
        "pod_cidrs": tuple(ip_network(p) for p in pod_cidrs),
        "created": f"2026-01-01T00:00:{number % 60:02d}Z",
    }
    return Node(**(values | changes))


def dual(number: int) -> tuple[Address, Address]:
    return ip_address(f"192.0.2.{number}"), ip_address(f"2001:db8::{number}")


Told = dict[Family, dict[Nlri, Attributes]]


@dataclass(frozen=True)
class Checked:
    """An origin check of these peers: a verdict for each prefix it knows, ``unknown`` for all others."""

    peers: frozenset[PeerName] = frozenset()
    verdicts: Mapping[tuple[Family, Nlri], OriginVerdict] = field(default_factory=dict)

    def applies(self, peer: Peer) -> bool:
        return peer.name in self.peers

    def judge(
        self, attributes: Attributes, peer: Peer, family: Family, nlri: Nlri
    ) -> OriginVerdict:
        assert peer.name in self.peers
        return self.verdicts.get((family, nlri), UNASKED)

    def related(self, family: Family, nlris: Collection[Nlri]) -> list[Nlri]:
        return [nlri for nlri in nlris if (family, nlri) in self.verdicts]

    def differs(self, before: OriginCheck) -> Unequal | None:
        if not isinstance(before, Checked):
            return None
        keys = {*self.verdicts, *before.verdicts}
        return Unequal({k for k in keys if self.verdicts.get(k) != before.verdicts.get(k)})


@dataclass(frozen=True)
class Unequal:
    """The prefixes about which two checks differ."""

    keys: set[tuple[Family, Nlri]]

    def among(self, family: Family, table: Mapping[Nlri, Path]) -> list[Nlri]:
        return [nlri for nlri in table if (family, nlri) in self.keys]


@dataclass
class Listener:
    """Stands for the outside: what the kernel holds, and what each peer knows from us."""

    routing: Routing
    now: float = 0.0
    fib: dict[Family, dict[Nlri, Nexthops]] = field(default_factory=lambda: {f: {} for f in Family})
    told: dict[PeerName, Told] = field(default_factory=dict)
    ends: dict[PeerName, list[Family]] = field(default_factory=dict)

    def flush(self, most: int | None = None) -> list[Tell]:
        """Let the routing speak, and take in what it says as kernel and peers would."""
        effects = self.routing.flush(self.now, most)
        for family, changes in effects.fib.items():
            for nlri, legs in changes.items():
                if legs is None:
                    self.fib[family].pop(nlri, None)
                else:
                    self.fib[family][nlri] = legs
        for tell in effects.tells:
            for name in tell.peers:
                self._hear(name, tell)
        return effects.tells

    def _hear(self, name: PeerName, tell: Tell) -> None:
        state = self.routing.peers[name]
        assert state.established, f"{name} is told something while its session is down"
        table = self.told.setdefault(name, {f: {} for f in Family})[tell.family]
        for nlri in tell.withdrawn:
            table.pop(nlri, None)
        for found, nlris in tell.announced:
            table.update(dict.fromkeys(nlris, found))
        if tell.end_of_rib:
            self.ends.setdefault(name, []).append(tell.family)

    def heard(self, name: str, family: Family = V4) -> dict[Nlri, Attributes]:
        """What a peer knows from us in a family."""
        return self.told.get(PeerName(name), {}).get(family, {})

    # --- what happens -----------------------------------------------------------------------------

    def want(self, *peers: Peer, acceptances: dict[PeerName, Acceptance] | None = None) -> None:
        wanted = {p.name: p for p in peers}
        found = dict.fromkeys(wanted, EVERYTHING) | (acceptances or {})
        rules = {name: ruled(accepted) for name, accepted in found.items()}
        self.routing.set_peers(wanted, rules, self.now)
        for name in [n for n in self.told if n not in wanted]:
            del self.told[name]

    def up(self, of: Peer, **changes: Any) -> None:
        self.told.pop(of.name, None)
        self.ends.pop(of.name, None)
        self.routing.session_up(of.name, negotiated(of, **changes), self.now)

    def down(self, of: Peer, why: SessionDown = LOST) -> None:
        self.told.pop(of.name, None)
        self.routing.session_down(of.name, why, self.now)

    def learn(self, of: Peer, found: Attributes, *prefixes: str, family: Family = V4) -> None:
        rib, adj_in = self.routing.rib, self.routing.peers[of.name].adj_in
        rib.learn(adj_in, family, rib.judge(adj_in, found), [n(p) for p in prefixes])

    def forget(self, of: Peer, *prefixes: str, family: Family = V4) -> None:
        adj_in = self.routing.peers[of.name].adj_in
        self.routing.rib.forget(adj_in, family, [n(p) for p in prefixes])

    def end(self, of: Peer, *families: Family) -> None:
        for family in families or BOTH:
            self.routing.end_of_rib(self.routing.peers[of.name], family)

    def originate(self, *prefixes: str, complete: bool = True) -> None:
        wanted = [Origination(prefix=ip_network(p), source="test") for p in prefixes]
        self.routing.set_originations(wanted, complete)

    def world(
        self,
        state: KernelState,
        me: Self = SELF,
        own: Mapping[Family, bytes] = OWN_NEXTHOPS,
    ) -> None:
        self.routing.set_self(me, Resolver(state), own)

    @property
    def routes(self) -> dict[str, Nexthops]:
        """The kernel's IPv4 routes, readable."""
        return {_text(nlri): legs for nlri, legs in self.fib[V4].items()}


def _text(nlri: Nlri) -> str:
    return str(ip_network((nlri[1:].ljust(4, b"\0"), nlri[0])))


def listener(*peers: Peer, legs: int = 8, deferral: float = 60.0, me: Self = SELF) -> Listener:
    """A node that knows its kernel and inventory, and these peers; no session is up."""
    routing = Routing(now=0.0, legs=legs, deferral=deferral)
    found = Listener(routing)
    found.world(kernel(), me)
    found.want(*peers)
    found.originate()
    found.flush()
    return found
