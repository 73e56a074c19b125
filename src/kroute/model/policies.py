"""Words of routing policy: what a route is to this node."""

from __future__ import annotations

from enum import StrEnum


class OriginClass(StrEnum):
    """What a prefix is to this node; each route is of exactly one class."""

    OWN_PODS = "ownPods"
    """A podCIDR of this node, announced by it."""
    PEER_PODS = "peerPods"
    """A podCIDR that the inventory gives to another node."""
    SERVICE = "service"
    """An address or aggregate of a service."""
    DEFAULT = "default"
    """0.0.0.0/0 or ::/0."""
    EXTERNAL = "external"
    """All else."""
