"""Import and export: which paths are taken from a peer, which are told to one, and how they are changed.

Every refusal carries its reason, and the rule that decided (law 6). Safe by default: an external peer is told the
node's own prefixes and nothing else, and nothing is taken from it unless configured (RFC 8212).

==============  ==============================================================================
``loops``       what no configuration can allow
``origin``      the place of the origin check, which another module fills
``imports``     the import pipeline of a peer
``exports``     what a peer is told, in which words, and why something is not
``compile``     configured policies to compiled ones, bound to a peer
``rules``       the walk of a route through a policy; ``matching`` and ``actions`` are its parts
``classes``     what a prefix is to this node
==============  ==============================================================================
"""

from __future__ import annotations

from dataclasses import dataclass

from kroute.plan.policy.classes import DEFAULT_ROUTE, Classes
from kroute.plan.policy.exports import (
    PASSES_ON,
    UNWISHED,
    Export,
    ExportRules,
    ExportWish,
    Several,
    Told,
    exported,
    quad,
    sources,
)
from kroute.plan.policy.imports import (
    EVERYTHING,
    TAKE_ALL,
    Acceptance,
    ImportRules,
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
    "PASSES_ON",
    "TAKE_ALL",
    "UNASKED",
    "UNCHECKED",
    "UNRULED",
    "UNWISHED",
    "Acceptance",
    "Classes",
    "Concern",
    "Export",
    "ExportRules",
    "ExportWish",
    "ImportRules",
    "OriginCheck",
    "OriginVerdict",
    "PeerRules",
    "Self",
    "Several",
    "Told",
    "Unchecked",
    "acceptance",
    "exported",
    "import_refusal",
    "quad",
    "sources",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRules:
    """All that policy says about one peer, both ways."""

    imports: ImportRules = TAKE_ALL
    exports: ExportWish = UNWISHED
    pass_on: bool = False
    """Whether internal peers are told what this external peer has told us."""


UNRULED = PeerRules()
