"""Pod sandboxes as the container runtime has them (CRI): what garbage collection asks, and nothing else of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """One sandbox; it exists until the kubelet has it removed, whether something runs in it or not."""

    id: str
    """What a kubelet attaches it under."""
    ready: bool
    namespace: str = ""
    name: str = ""
    uid: str = ""
    """Of its pod: a pod has a new sandbox after the node's reboot, or after a crash of the old one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxesSeen:
    """What a container runtime answered when it was asked once."""

    sandboxes: Mapping[str, Sandbox] = field(default_factory=dict)
    """By id."""
    runtime: str = ""
    """Who answered, and where: another runtime's list says nothing of this one's sandboxes."""
    failure: str = ""
    """Why nothing is known; empty while it is."""


Key = tuple[str, float]
"""An attachment: its id, and when it was attached; another one may bear the id later."""


class Listed(NamedTuple):
    """Which attachments the CRI could know. It outlives the daemon; losing it costs time and nothing else."""

    runtime: str = ""
    """Whose list it was, as :attr:`SandboxesSeen.runtime`: another one's lacks them all."""
    keys: frozenset[Key] = frozenset()
    """Those whose sandboxes were in it at some look."""
