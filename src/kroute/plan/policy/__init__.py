"""Import and export: which paths are taken from a peer, which are told to one, and how they are changed.

Every refusal carries its reason (law 6). Safe by default: an external peer is told the node's own prefixes and
nothing else, and nothing is taken from it unless configured (RFC 8212).
"""

from __future__ import annotations

from kroute.plan.policy.exports import (
    NO_ADVERTISE,
    PASSES_ON,
    ExportRules,
    exported,
    passes_on,
    quad,
)
from kroute.plan.policy.imports import (
    DEFAULT_ROUTE,
    EVERYTHING,
    TAKE_ALL,
    UNRULED,
    Acceptance,
    ImportRules,
    PeerRules,
    acceptance,
)
from kroute.plan.policy.loops import Self, import_refusal
from kroute.plan.policy.origin import (
    UNASKED,
    UNCHECKED,
    Concern,
    OriginCheck,
    OriginVerdict,
    Unchecked,
)

__all__ = [
    "DEFAULT_ROUTE",
    "EVERYTHING",
    "NO_ADVERTISE",
    "PASSES_ON",
    "TAKE_ALL",
    "UNASKED",
    "UNCHECKED",
    "UNRULED",
    "Acceptance",
    "Concern",
    "ExportRules",
    "ImportRules",
    "OriginCheck",
    "OriginVerdict",
    "PeerRules",
    "Self",
    "Unchecked",
    "acceptance",
    "exported",
    "import_refusal",
    "passes_on",
    "quad",
]
