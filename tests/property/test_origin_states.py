"""Any history of inventory, configuration and announcements ends in the states that its end alone gives (law 1)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from kroute.model.bgp import Attributes, Peer, PeerKind
from kroute.model.config import Config, OriginCheck, OriginMode
from kroute.model.config_peering import Accept, PeerConfig, Peering
from kroute.model.inventory import Listed, NodeChanged, NodeGone
from kroute.model.node import Node
from kroute.model.state import Observed
from kroute.plan import plan
from kroute.plan.observe import ConfigChanged, observe
from kroute.plan.origin import origin_check
from kroute.plan.origin_report import origin_problems, tally
from kroute.plan.policy import UNCHECKED
from support.routing import V4, Listener, attributes, listener, packed, peer

RANGES = ["10.244.0.0/24", "10.244.1.0/24", "10.244.0.0/16", "10.244.1.128/25"]
PREFIXES = [*RANGES, "0.0.0.0/0", "10.0.0.0/8", "10.244.1.7/32", "10.96.0.1/32", "203.0.113.0/24"]
NUMBERS = (2, 3, 4)

MESH, REFLECTOR, TOR = (
    peer(2),
    replace(peer(3, PeerKind.REFLECTOR), node=""),
    replace(peer(4, PeerKind.EXTERNAL), name="peer/tor", node="", configured="tor"),
)
PEERS = {p.name: p for p in (MESH, REFLECTOR, TOR)}

some_node = st.builds(
    Node,
    name=st.sampled_from([f"n{i}" for i in NUMBERS]),
    addresses=st.lists(
        st.sampled_from([ip_address(f"192.0.2.{i}") for i in NUMBERS]), max_size=2, unique=True
    ).map(tuple),
    pod_cidrs=st.lists(st.sampled_from(RANGES).map(ip_network), max_size=2, unique=True).map(tuple),
    created=st.sampled_from(["", "2026-01-01T00:00:00Z"]),
)
some_config = st.builds(
    lambda mode, accept, ranges: Config(
        peering=Peering(
            peers=(
                PeerConfig(name="tor", address=ip_address("192.0.2.4"), asn=65004, accept=accept),
            )
        ),
        origin_check=OriginCheck(mode=mode, cluster_ranges=ranges),
    ),
    st.sampled_from([OriginMode.ENFORCE, OriginMode.ENFORCE, OriginMode.WARN, OriginMode.OFF]),
    st.sampled_from(list(Accept)),
    st.sampled_from([(), (ip_network("10.96.0.0/12"),)]),
)
some_attributes = st.builds(
    lambda hop, originator: attributes(
        f"192.0.2.{hop}", originator_id=packed(f"192.0.2.{originator}") if originator else None
    ),
    st.sampled_from([*NUMBERS, 9]),
    st.sampled_from([None, None, *NUMBERS]),
)
said = st.tuples(
    st.sampled_from(sorted(PEERS)),
    st.lists(st.sampled_from(PREFIXES), min_size=1, unique=True),
    st.none() | some_attributes,
)
some_list = st.builds(
    Listed, st.lists(some_node, max_size=3, unique_by=lambda node: node.name).map(tuple)
)
step = st.one_of(
    st.builds(NodeChanged, some_node),
    st.builds(NodeChanged, some_node),
    st.builds(NodeGone, st.sampled_from([f"n{i}" for i in NUMBERS])),
    st.builds(ConfigChanged, some_config),
    some_list,
    said,
    said,
)


class World:
    """The route half of a node, an observation, and who has announced what."""

    def __init__(self, observed: Observed) -> None:
        self.observed = observed
        self.said: dict[tuple[str, str], Attributes] = {}
        self.node: Listener = listener(*PEERS.values())
        for each in PEERS.values():
            self.node.up(each, router_id=str(each.address))

    def take(self, event: Any) -> None:
        """An event of the inventory, the configuration or a peer."""
        if isinstance(event, tuple):
            name, prefixes, found = event
            self.announce(PEERS[name], found, prefixes)
            return
        self.observed = observe(self.observed, event)
        self.check()

    def check(self) -> None:
        """Put the check of what is observed in force."""
        before = self.node.routing.rib.origin_check
        owners = plan(self.observed).owners
        self.node.routing.set_origin_check(origin_check(self.observed, owners, before))
        self.node.flush()

    def announce(self, of: Peer, found: Attributes | None, prefixes: list[str]) -> None:
        """A peer announces prefixes, or withdraws them (None)."""
        for prefix in prefixes:
            self.said.pop((of.name, prefix), None)
            if found is not None:
                self.said[of.name, prefix] = found
        if found is None:
            self.node.forget(of, *prefixes)
        else:
            self.node.learn(of, found, *prefixes)
        self.node.flush()

    def states(self) -> Any:
        """What the tables say of each announcement, what the kernel has, and what people are told."""
        routing = self.node.routing
        tables = {
            (name, nlri): (path.outcome.origin, path.outcome.objection, path.refusal)
            for name, state in routing.peers.items()
            for nlri, path in state.adj_in.tables[V4].items()
        }
        told = [p for s in routing.peers.values() for p in origin_problems(s)]
        return tables, self.node.routes, told, tally(routing)


@settings(max_examples=200, deadline=None)
@given(some_list, st.lists(step, max_size=25))
def test_any_history_ends_in_the_states_that_its_end_gives(listed: Listed, history: list[Any]):
    world = World(Observed(me="n1", config=Config()))
    for event in [listed, *history]:
        world.take(event)
    born = World(world.observed)
    born.check()
    for (name, prefix), found in sorted(world.said.items(), key=lambda item: item[0]):
        born.announce(PEERS[name], found, [prefix])
    assert world.states() == born.states()
    late = World(world.observed)
    for (name, prefix), found in world.said.items():
        late.announce(PEERS[name], found, [prefix])
    assert late.node.routing.rib.origin_check is UNCHECKED
    late.check()
    assert late.states() == born.states()
