"""One file per topology: each names the peers of the own node as a function of all nodes.

To add one: a file here with ``peers(view) -> Iterator[Peer]``, its name in ``model.config.Topology``, a line in
:data:`TOPOLOGIES`, a scenario in ``tests/scenarios`` and a lab.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from kroute.model.bgp import Peer
from kroute.model.config import Topology
from kroute.plan.sessions import View
from kroute.plan.topologies import full_mesh, route_reflector

TOPOLOGIES: Final[dict[Topology, Callable[[View], Iterator[Peer]]]] = {
    Topology.FULL_MESH: full_mesh.peers,
    Topology.ROUTE_REFLECTOR: route_reflector.peers,
    Topology.NONE: lambda _view: iter(()),
}
