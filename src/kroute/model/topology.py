"""What part each node plays among the nodes, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Duty(StrEnum):
    """What a node does for the others."""

    MESH = "mesh"
    """It peers with every other node (of its group) and passes nothing on."""
    REFLECTOR = "reflector"
    """It reflects between its clients and the other reflectors (RFC 4456)."""
    CLIENT = "client"
    """It peers with reflectors only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One node's part. ``why`` is for people: "rank 1 of zone a", "served by n1, n7"."""

    duty: Duty
    zone: str = ""
    why: str = ""
