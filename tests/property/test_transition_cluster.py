"""Make before break in a whole cluster: whatever the order in which nodes hear of a new topology, sessions come up and
messages arrive, no kernel is without a route to any pod for a moment. Messages take less than half a second.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import hypothesis.strategies as st
from hypothesis import given, settings

from kroute.model.bgp import PeerKind
from kroute.model.config import Bgp, Config, Seeding
from kroute.model.config_peering import Auto, Peering, RouteReflector, Topology
from kroute.plan.peers import Held
from support.cluster import Cluster
from support.routing import node

SIZE = 5
NODES = [
    replace(node(i, f"10.244.{i}.0/24"), labels={"zone": "ab"[i % 2]}) for i in range(1, SIZE + 1)
]


def reflected_by(*names: str, zones: bool = False) -> Peering:
    return Peering(
        topology=Topology.ROUTE_REFLECTOR,
        route_reflector=RouteReflector(nodes=names, zone_label="zone" if zones else ""),
    )


TOPOLOGIES = {
    "mesh": Peering(),
    "by n1": reflected_by("n1"),
    "by n2": reflected_by("n2"),
    "by n2 and n3": reflected_by("n2", "n3"),
    "by zone": reflected_by("n1", "n4", zones=True),
    "chosen": Peering(topology=Topology.AUTO, auto=Auto(threshold=3, hysteresis=0)),
    "in the band": Peering(topology=Topology.AUTO, auto=Auto(threshold=3, hysteresis=3)),
}


def config(topology: str) -> Config:
    # Without seeds: they would hide what the sessions lose.
    return Config(
        peering=TOPOLOGIES[topology],
        bgp=Bgp(seeding=Seeding(enabled=False)),
    )


def settled(topology: str) -> Cluster:
    """A cluster in which all is as this topology has it."""
    cluster = Cluster(NODES, config(topology))
    for _ in cluster.settle():
        pass
    assert cluster.lacking() == []
    return cluster


def something(cluster: Cluster, data: st.DataObject) -> None:
    """A message arrives, a session comes up, or time passes at a node."""
    happens = [
        *(("deliver", link) for link, wire in cluster.wires.items() if wire),
        *(("connect", link) for link in cluster.connectable()),
        *(("tick", (n, "")) for n in cluster.nodes),
    ]
    what, (a, b) = data.draw(st.sampled_from(happens))
    if what == "tick":
        cluster.wait()
        cluster.machines[a].tick()
    else:
        getattr(cluster, what)(a, b)
    assert cluster.lacking() == []


def some_steps(cluster: Cluster, data: st.DataObject, wanted: Config) -> None:
    """Nodes hear of a configuration one after the other, and anything else happens in between, within the time."""
    for name in data.draw(st.permutations(sorted(cluster.nodes))):
        for _ in range(data.draw(st.integers(0, 8))):
            something(cluster, data)
        cluster.configure(name, wanted)
        assert cluster.lacking() == []


def pass_by(cluster: Cluster, seconds: int) -> None:
    """Time passes in which nobody connects, but what is said is heard."""
    for _ in range(seconds):
        while busy := [link for link, wire in cluster.wires.items() if wire]:
            for link in busy:
                cluster.deliver(*link)
                assert cluster.lacking() == []
        cluster.now += 1.0
        for machine in cluster.machines.values():
            machine.tick()
            assert cluster.lacking() == []


def all_steps(cluster: Cluster) -> None:
    """Everything happens that can, then the time of the transition passes."""
    for _ in cluster.settle():
        assert cluster.lacking() == []
    cluster.now += 130.0
    for _ in cluster.settle():
        assert cluster.lacking() == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(sorted(TOPOLOGIES)), min_size=2, max_size=3), st.data())
def test_no_kernel_loses_a_route_while_the_topology_changes(
    topologies: list[str], data: st.DataObject
):
    cluster = settled(topologies[0])
    for topology in topologies[1:]:
        some_steps(cluster, data, config(topology))
        all_steps(cluster)
    expected = settled(topologies[-1]).sessions()
    for name, sessions in cluster.sessions().items():
        # What is left of a mesh may stay in the band, nothing else does.
        assert sessions == expected[name] or (
            topologies[-1] == "in the band" and sessions > expected[name]
        )
    holds = {
        state.hold.kind
        for machine in cluster.machines.values()
        for state in machine.routing.peers.values()
        if state.hold
    }
    assert holds <= {Held.SPARE}


def test_in_the_band_the_mesh_stays_and_reflectors_reflect():
    cluster = settled("mesh")
    for name in cluster.nodes:
        cluster.configure(name, config("in the band"))
    all_steps(cluster)
    assert {len(others) for others in cluster.sessions().values()} == {SIZE - 1}
    kinds = {s.peer.kind for m in cluster.machines.values() for s in m.routing.peers.values()}
    assert kinds == {PeerKind.MESH, PeerKind.CLIENT, PeerKind.REFLECTOR}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(sorted(TOPOLOGIES)), min_size=3, max_size=5), st.data())
def test_a_change_in_the_middle_of_another_loses_no_route_either(
    topologies: list[str], data: st.DataObject
):
    """However long sessions take to come up: what counts is the time since the newest change."""
    cluster = settled(topologies[0])
    for topology in topologies[1:]:
        some_steps(cluster, data, config(topology))
        for _ in itertools.islice(cluster.settle(), data.draw(st.sampled_from([0, 0, 5, 40]))):
            assert cluster.lacking() == []
        pass_by(cluster, data.draw(st.sampled_from([0, 100])))
    all_steps(cluster)
    expected = settled(topologies[-1]).sessions()
    for name, sessions in cluster.sessions().items():
        assert sessions == expected[name] or (
            topologies[-1] == "in the band" and sessions > expected[name]
        )


def test_time_counts_from_the_newest_change() -> None:
    """Nobody connects for 300 seconds, in which three changes follow each other; each alone would have 120."""
    cluster = settled("by n1")
    for topology in ("mesh", "by n2", "by n2 and n3"):
        for name in cluster.nodes:
            cluster.configure(name, config(topology))
            assert cluster.lacking() == []
        pass_by(cluster, 100)
    all_steps(cluster)
    assert cluster.sessions() == settled("by n2 and n3").sessions()
