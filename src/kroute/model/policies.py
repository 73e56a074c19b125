"""Words of routing policy: what a route is to this node, and what Kubernetes says of who announces it."""

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


class OriginState(StrEnum):
    """What the origin check says of a path, in the words of RFC 6811."""

    VALID = "valid"
    """Who announces it owns it."""
    INVALID = "invalid"
    """Somebody else owns it, or it has no business here."""
    UNKNOWN = "unknown"
    """Nothing is known about it, or nothing was asked."""
