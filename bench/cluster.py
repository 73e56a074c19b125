"""One real node in a simulated cluster: its control half and tables are the daemon's, all other nodes are values.

A cold start of one node: it plans, sets up its sessions' parameters, hears two prefixes from every other node, and
decides. No process, no socket, no kernel: what grows with the cluster is the node's own work, and this is how it grows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from statistics import median

from kroute.daemon.rehearsal.cluster import ALL_ON_LINK
from kroute.daemon.rehearsal.stage import Block, Stage, Voice
from kroute.model.bgp import Attributes, PeerName
from kroute.model.config import Config
from kroute.model.config_peering import Peering, Topology
from kroute.model.net import family_of, nlri_of
from kroute.model.node import Node
from plan import cluster, timed

SIZES = (250, 500, 1_000)


def cold_start(count: int) -> float:
    """Seconds until a node of a full mesh of so many has decided all its routes."""
    known = cluster(count, Config(peering=Peering(topology=Topology.FULL_MESH)))
    observed = replace(known, kernel=ALL_ON_LINK)
    voices = {PeerName(f"node/{n.name}"): _voice(n) for n in observed.nodes.values()}

    def start() -> None:
        stage = Stage(observed)
        for name in stage.peers:
            stage.hear(name, voices[name], "")
        stage.decide()
        assert sum(map(len, stage.routing.rib.loc.values())) == 2 * count

    return timed(start)


def _voice(node: Node) -> Voice:
    addresses = {family_of(a): a.packed for a in node.addresses}
    return Voice(
        tuple(
            Block(family_of(p), Attributes(nexthop=addresses[family_of(p)]), (nlri_of(p),))
            for p in node.pod_cidrs
        )
    )


def rows(only: str = "", runs: int = 5) -> Iterator[dict[str, object]]:
    """``cluster/cold-start/…`` in ms, and per node of the cluster in µs: nothing worse than linear."""
    for count in SIZES:
        name = f"cluster/cold-start/{count}"
        if only not in name:
            continue
        found = [cold_start(count) * 1e3 for _ in range(runs)]
        yield {
            "id": name,
            "value": round(median(found), 3),
            "unit": "ms",
            "ratio": {},
            "spread": [round(min(found), 3), round(max(found), 3)],
            "runs": runs,
            "note": f"one node of a full mesh plans and hears all; {median(found) / count * 1e3:.0f} µs for each "
            "other node; simulated, without sockets and kernel",
        }


if __name__ == "__main__":
    for found in rows(sys.argv[1] if len(sys.argv) > 1 else "", runs=3):
        print(
            f"{found['id']:26} {found['value']:>12} {found['unit']:9} {found['spread']} {found['note']}"
        )
