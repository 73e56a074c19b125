"""One file per topology: each arranges the own node's sessions and all nodes' roles as a function of all nodes.

To add one: a file here with ``arrange(view) -> Arrangement``, its name in ``model.config.Topology``, a line in
:data:`TOPOLOGIES`, a scenario in ``tests/scenarios`` and a lab.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kroute.model.config_peering import Topology
from kroute.plan.arrangement import Arrangement
from kroute.plan.sessions import View
from kroute.plan.topologies import auto, full_mesh, route_reflector

TOPOLOGIES: Final[dict[Topology, Callable[[View], Arrangement]]] = {
    Topology.FULL_MESH: full_mesh.arrange,
    Topology.ROUTE_REFLECTOR: route_reflector.arrange,
    Topology.AUTO: auto.arrange,
    Topology.NONE: lambda _view: Arrangement(words="explicit peers only"),
}
