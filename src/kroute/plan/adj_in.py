"""Adj-RIB-In: what peers have announced (RFC 4271 §3.2)."""

from __future__ import annotations

from kroute.model.bgp import Peer
from kroute.model.net import Family, Nlri
from kroute.plan.paths import Path, Source
from kroute.plan.policy import TAKE_ALL, ImportRules


class AdjRibIn:
    """What one peer has announced."""

    __slots__ = ("is_plain", "is_sieved", "limit", "over", "rules", "source", "stale", "tables")

    def __init__(
        self, peer: Peer | None, rules: ImportRules = TAKE_ALL, *, seeded: bool = False
    ) -> None:
        self.source = Source(peer, seeded=seeded)
        self.rules = rules
        self.is_plain = rules.is_plain
        """Whether no stage of the import pipeline looks at this peer's paths (see :meth:`Rib.take_over`)."""
        self.is_sieved = False
        """Whether only the origin check does, which has nothing to say of nearly all prefixes."""
        self.limit = peer.max_prefixes if peer else 1 << 32
        self.tables: dict[Family, dict[Nlri, Path]] = {f: {} for f in Family}
        self.stale: dict[Family, set[Nlri]] = {}
        """Prefixes learned before the session was lost and not announced again yet (RFC 4724 §4.2)."""
        self.over: dict[Family, int] = {}
        """Prefixes refused because the limit was reached."""

    def __len__(self) -> int:
        return sum(map(len, self.tables.values()))
