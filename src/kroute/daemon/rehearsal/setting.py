"""A state of the cluster that is played: what there is, and what of it has been looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kroute.daemon.rehearsal.stage import Voice
from kroute.model.bgp import PeerName
from kroute.model.config import Config
from kroute.model.kernel import KernelRoute, KernelState, Link
from kroute.model.net import Family
from kroute.model.state import Observed

ALL_ON_LINK = KernelState(
    links=(Link(index=1, name="uplink", up=True, carrier=True, mtu=1500),),
    routes=tuple(
        KernelRoute(
            family=family,
            prefix=prefix,
            metric=0,
            oif=1,
            gateway=None,
            protocol=2,
            scope=253,
            kind=1,
        )
        for family in Family
        for prefix in (b"\x01\x00", b"\x01\x80")
    ),
)
"""The kernel of a node that nobody has looked at: every address is reached directly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A state of the cluster: what is observed, and the configuration of each node."""

    observed: Observed
    """The inventory, and the configuration of every node that has none of its own."""
    configs: Mapping[str, Config] = field(default_factory=dict)
    """Configurations of single nodes."""
    kernels: Mapping[str, KernelState] = field(default_factory=dict)
    """Kernels that have been looked at; any other reaches every address directly."""
    heard: Mapping[str, Mapping[PeerName, Voice]] = field(default_factory=dict)
    """What nodes that have been looked at hear from their peers."""

    def config(self, node: str) -> Config:
        """The configuration in force on a node."""
        return self.configs.get(node, self.observed.config)

    def seen_by(self, node: str) -> Observed:
        """What one node observes."""
        return replace(
            self.observed,
            me=node,
            config=self.config(node),
            kernel=self.kernels.get(node, ALL_ON_LINK),
            routers=self.observed.routers if node in self.kernels else {},
            reports={},
            listed=True,
            services_listed=True,
            slices_listed=True,
        )
