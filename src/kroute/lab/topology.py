"""A containerlab topology as values: the subset that network namespaces can stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kroute.lab import schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A host path shown inside a node at ``target``."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node with defaults, kind and group already merged in.

    ``bridge_in`` is set for a switch: the name of the node whose network namespace the bridge ``name`` lives in
    (its own name for a bridge that stands alone). Switches run nothing.
    """

    name: str
    kind: str = "linux"
    image: str = ""
    group: str = ""
    hostname: str = ""
    binds: tuple[Bind, ...] = ()
    exec: tuple[tuple[str, ...], ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    startup_delay: float = 0.0
    bridge_in: str = ""

    @property
    def is_switch(self) -> bool:
        """Whether this is a bridge, not something that runs programs."""
        return self.kind == "bridge"

    @property
    def bridge(self) -> str:
        """The bridge's interface name: what stands before the bar in ``br0|sw``."""
        return self.name.split("|", 1)[0]

    @property
    def namespace_owner(self) -> str:
        """The node whose network namespace this node's interfaces are in."""
        return self.bridge_in or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One end of a link."""

    node: str
    interface: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A virtual cable between two interfaces; ``mtu`` in bytes."""

    a: Endpoint
    b: Endpoint
    mtu: int = schema.DEFAULT_MTU


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """A whole file. ``warnings`` name what was read and has no effect on the namespaces back-end."""

    name: str
    path: Path
    nodes: Mapping[str, Node]
    links: Sequence[Link]
    warnings: Sequence[str] = ()

    @property
    def running(self) -> tuple[Node, ...]:
        """The nodes that run programs, in the file's order."""
        return tuple(node for node in self.nodes.values() if not node.is_switch)
