"""One real node in a simulated cluster: its control half and tables are the daemon's, all other nodes are values.

A cold start of one node: it plans, sets up its sessions' parameters, hears two prefixes from every other node, and
decides. No process, no socket, no kernel: what grows with the cluster is the node's own work, and this is how it grows.
And ``kroute plan`` as people run it, which plays every node of the cluster twice.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

from harness.figures import Row, plain
from harness.subjects import node, write_nodes
from kroute.daemon.rehearsal.setting import ALL_ON_LINK
from kroute.daemon.rehearsal.stage import Block, Stage, Voice
from kroute.model.bgp import Attributes, PeerName
from kroute.model.config import Config
from kroute.model.config_peering import Peering, Topology
from kroute.model.net import family_of, nlri_of
from kroute.model.node import Node
from plan import cluster, timed

SIZES = (250, 500, 1_000)
REHEARSED = (50, 100, 250, 500, 1_000)
"""Nodes whose whole cluster is played, most of them by a few that are like them."""


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


def rehearsal(count: int) -> float:
    """Seconds that ``kroute plan`` takes to say what becomes of a full mesh of so many that gets three reflectors."""
    nodes = [
        node(f"n{i}", f"10.1.{i >> 8}.{i & 255}", f"10.{64 + (i >> 8)}.{i & 255}.0/24")
        for i in range(1, count + 1)
    ]
    after = {
        "peering": {"topology": "routeReflector", "routeReflector": {"nodes": ["n1", "n2", "n3"]}}
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_nodes(folder / "nodes.json", nodes)
        (folder / "before.yaml").write_text("{}")
        (folder / "after.yaml").write_text(json.dumps(after))
        program = Path(sys.executable).with_name("kroute")
        files = (
            "--objects",
            "nodes.json",
            "--from-config",
            "before.yaml",
            "--config",
            "after.yaml",
        )
        command = [str(program), "plan", "--all", *files]

        def play() -> None:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode in (1, 4), done.stderr

        return timed(play)


def rows(only: str = "", runs: int = 5) -> Iterator[Row]:
    """``cluster/cold-start/…`` in ms, and per node of the cluster in µs; ``cluster/rehearsal/…`` in s."""
    for count in SIZES:
        name = f"cluster/cold-start/{count}"
        if only in name:
            found = [cold_start(count) * 1e3 for _ in range(runs)]
            each = median(found) / count * 1e3
            note = f"one node of a full mesh plans and hears all; {each:.0f} µs for each other node; simulated"
            yield plain(name, "ms", found, note)
    for count in REHEARSED:
        name = f"cluster/rehearsal/{count}"
        if only in name:
            note = "kroute plan --all: a full mesh gets three reflectors"
            yield plain(name, "s", [rehearsal(count) for _ in range(runs)], note)


if __name__ == "__main__":
    for found in rows(sys.argv[1] if len(sys.argv) > 1 else "", runs=3):
        print(
            f"{found['id']:26} {found['value']:>12} {found['unit']:9} {found['spread']} {found['note']}"
        )
