"""Pods of the own node as Kubernetes has them: what garbage collection asks, and nothing else of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """One pod, whatever its phase: one that ends or has ended is known until its object is gone."""

    namespace: str
    name: str
    uid: str
    mirror_of: str = ""
    """The uid that the kubelet gave to a static pod, for which this object stands; empty for any other pod."""

    @property
    def key(self) -> str:
        """Namespace and name."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodsSeen:
    """What an API server says of the own node's pods."""

    pods: Mapping[str, Pod] = field(default_factory=dict)
    """By :attr:`Pod.key`."""
    since: float = 0.0
    """Since when this has been followed without a gap, in seconds of the monotonic clock."""
    failure: str = "they have not been listed yet"
    """Why it is not known now; empty while it is."""
