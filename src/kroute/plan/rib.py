"""The routing tables: an Adj-RIB-In for each peer, the candidates of each prefix, and the Loc-RIB.

This is the fast road: prefixes are their NLRI bytes, an attribute block is judged once (it becomes a
:class:`~kroute.plan.paths.Path`), a prefix with one candidate is not compared with anything, and changed prefixes collect in a latest-wins map
until :meth:`Rib.decide`. Whole recomputation and any order of increments end in the same tables; a property test
holds them to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from kroute.model.bgp import Attributes, Peer
from kroute.model.net import Family, Nlri
from kroute.plan.decision import select
from kroute.plan.paths import Path, Selection, Source
from kroute.plan.policy import EVERYTHING, Acceptance, Self, import_refusal
from kroute.plan.resolve import Resolver

Candidates = Path | tuple[Path, ...]
"""The paths known for a prefix; a single one, by far the commonest, stands for itself."""


class AdjRibIn:
    """What one peer has announced, and the judged paths that its attribute blocks became."""

    __slots__ = (
        "_accepted",
        "_refused",
        "acceptance",
        "limit",
        "over",
        "source",
        "stale",
        "tables",
    )

    def __init__(self, peer: Peer | None, acceptance: Acceptance = EVERYTHING) -> None:
        self.source = Source(peer)
        self.acceptance = acceptance
        self.limit = peer.max_prefixes if peer else 1 << 32
        self.tables: dict[Family, dict[Nlri, Path]] = {f: {} for f in Family}
        self.stale: dict[Family, set[Nlri]] = {}
        """Prefixes learned before the session was lost and not announced again yet (RFC 4724 §4.2)."""
        self.over: dict[Family, int] = {}
        """Prefixes refused because the limit was reached."""
        self._accepted: dict[int, Path] = {}
        self._refused: dict[int, Path] = {}

    def __len__(self) -> int:
        return sum(map(len, self.tables.values()))

    def known(self, attributes: Attributes) -> Path | None:
        """The path that an attribute block became, if it has been judged."""
        return self._accepted.get(id(attributes))

    def remember(self, path: Path, refused: Path | None) -> None:
        """Keep a judged block; those that no route uses any more are dropped now and then, or churn would grow this."""
        if len(self._accepted) > 1024 + 2 * len(self):
            used = {id(p.attributes) for table in self.tables.values() for p in table.values()}
            self._accepted = {k: v for k, v in self._accepted.items() if k in used}
            self._refused = {k: v for k, v in self._refused.items() if k in used}
        self._accepted[id(path.attributes)] = path
        if refused is not None:
            self._refused[id(path.attributes)] = refused

    def variant(self, path: Path, family: Family, nlri: Nlri) -> Path:
        """The path as it counts for one prefix: refused where the peer's acceptance does not name it."""
        exact = self.acceptance.exact
        key = id(path.attributes)
        if exact is None or (family, nlri) in exact:
            return self._accepted[key]
        return self._refused[key]

    def paths(self) -> Iterator[Path]:
        """Every judged path, accepted and refused variants."""
        yield from self._accepted.values()
        yield from self._refused.values()

    def forget_judgements(self) -> None:
        """Drop all judged blocks; the tables keep theirs until they are replaced."""
        self._accepted.clear()
        self._refused.clear()


class Change(NamedTuple):
    """What :meth:`Rib.decide` found for one prefix: its selection before and now."""

    before: Selection | None
    now: Selection | None


class Rib:
    """All paths, and the selection for each prefix."""

    def __init__(self, me: Self, resolver: Resolver, legs: int = 8) -> None:
        self.me = me
        self.resolver = resolver
        self.legs = legs
        self.candidates: dict[Family, dict[Nlri, Candidates]] = {f: {} for f in Family}
        self.loc: dict[Family, dict[Nlri, Selection]] = {f: {} for f in Family}
        self._dirty: dict[Family, dict[Nlri, None]] = {f: {} for f in Family}

    # --- learning ----------------------------------------------------------------------------------

    def learn(
        self, rib: AdjRibIn, family: Family, attributes: Attributes, nlris: Sequence[Nlri]
    ) -> None:
        """A peer announces prefixes with these attributes."""
        table = rib.tables[family]
        path = rib.known(attributes) or self._judge(rib, attributes)
        if len(table) + len(nlris) > rib.limit:
            nlris = self._within_limit(rib, family, nlris)
        if rib.acceptance.exact is None:
            self._enter(rib, family, path, nlris)
        else:
            for nlri in nlris:
                self._enter(rib, family, rib.variant(path, family, nlri), (nlri,))
        stale = rib.stale.get(family)
        if stale:
            stale.difference_update(nlris)

    def _enter(self, rib: AdjRibIn, family: Family, path: Path, nlris: Sequence[Nlri]) -> None:
        table = rib.tables[family]
        candidates = self.candidates[family]
        dirty = self._dirty[family]
        for nlri in nlris:
            old = table.get(nlri)
            if old is path:
                continue
            table[nlri] = path
            rivals = candidates.get(nlri)
            if rivals is None or rivals is old:
                candidates[nlri] = path
            else:
                candidates[nlri] = _with(rivals, path)
            dirty[nlri] = None

    def forget(self, rib: AdjRibIn, family: Family, nlris: Iterable[Nlri]) -> None:
        """A peer withdraws prefixes; unknown ones are no error (RFC 4271 §4.3)."""
        table = rib.tables[family]
        candidates = self.candidates[family]
        dirty = self._dirty[family]
        stale = rib.stale.get(family)
        for nlri in nlris:
            if table.pop(nlri, None) is None:
                continue
            left = _without(candidates[nlri], rib.source)
            if left is None:
                del candidates[nlri]
            else:
                candidates[nlri] = left
            dirty[nlri] = None
            if stale:
                stale.discard(nlri)

    def _within_limit(self, rib: AdjRibIn, family: Family, nlris: Sequence[Nlri]) -> list[Nlri]:
        """Prefixes that are known already or still find room; the others are counted and dropped."""
        table = rib.tables[family]
        room = rib.limit - len(table)
        kept = []
        for nlri in dict.fromkeys(nlris):
            if nlri not in table:
                if room <= 0:
                    rib.over[family] = rib.over.get(family, 0) + 1
                    continue
                room -= 1
            kept.append(nlri)
        return kept

    def _judge(self, rib: AdjRibIn, attributes: Attributes) -> Path:
        peer = rib.source.peer
        refusal = import_refusal(peer, attributes, self.me) if peer else None
        path = self._resolved(Path(rib.source, attributes, refusal))
        outside = rib.acceptance.refusal()
        rib.remember(path, Path(rib.source, attributes, refusal or outside) if outside else None)
        return path

    def _resolved(self, path: Path) -> Path:
        """Set the kernel legs of a path, and whether the decision process may use it."""
        if path.is_local:
            path.eligible = True
            return path
        found = self.resolver.resolve(path.attributes.nexthop) if path.refusal is None else None
        path.nexthops = found.nexthops if found else None
        path.igp_metric = found.metric if found else 0
        path.eligible = found is not None
        return path

    # --- deciding ----------------------------------------------------------------------------------

    def decide(self) -> dict[Family, dict[Nlri, Change]]:
        """Select anew for every changed prefix; the prefixes whose selection changed."""
        changed: dict[Family, dict[Nlri, Change]] = {}
        for family, dirty in self._dirty.items():
            if dirty:
                self._dirty[family] = {}
                changed[family] = self._decide(family, dirty)
        return changed

    def _decide(self, family: Family, dirty: Iterable[Nlri]) -> dict[Nlri, Change]:
        candidates, loc, legs = self.candidates[family], self.loc[family], self.legs
        changed: dict[Nlri, Change] = {}
        for nlri in dirty:
            rivals = candidates.get(nlri)
            now: Selection | None
            if rivals is None:
                now = None
            elif type(rivals) is Path:
                now = rivals if rivals.eligible else None
            else:
                now = select(rivals, legs)  # type: ignore[arg-type]
            before = loc.get(nlri)
            if now is None:
                if before is None:
                    continue
                del loc[nlri]
            else:
                loc[nlri] = now
            changed[nlri] = Change(before, now)
        return changed

    def rivals(self, family: Family, nlri: Nlri) -> tuple[Path, ...]:
        """Every path known for a prefix, eligible or not."""
        known = self.candidates[family].get(nlri)
        return () if known is None else (known,) if isinstance(known, Path) else known

    # --- when the world around the paths changes ------------------------------------------------------

    def rejudge(self, ribs: Iterable[AdjRibIn], me: Self, resolver: Resolver) -> None:
        """Own identity or the kernel's networks changed: judge and resolve again the paths that it concerns."""
        moved = resolver.differs(self.resolver)
        same_self = me == self.me
        self.me, self.resolver = me, resolver
        if same_self and not moved:
            return
        for rib in ribs:
            changed = {
                id(path)
                for path in rib.paths()
                if (not same_self or path.attributes.nexthop in moved) and self._rejudge(rib, path)
            }
            self._touch(rib, changed)

    def _rejudge(self, rib: AdjRibIn, path: Path) -> bool:
        """Judge one path again; whether anything came out differently."""
        before = (path.refusal, path.nexthops, path.igp_metric)
        peer, outside = rib.source.peer, rib.acceptance.refusal()
        refusal = import_refusal(peer, path.attributes, self.me) if peer else None
        path.refusal = refusal or (outside if path.refusal == outside else None)
        self._resolved(path)
        return before != (path.refusal, path.nexthops, path.igp_metric)

    def accept(self, rib: AdjRibIn, acceptance: Acceptance) -> None:
        """A peer's acceptance changed: its stored announcements are judged by the new one, no refresh needed."""
        if acceptance == rib.acceptance:
            return
        rib.acceptance = acceptance
        rib.forget_judgements()
        for family, table in rib.tables.items():
            for nlri, old in list(table.items()):
                path = rib.known(old.attributes) or self._judge(rib, old.attributes)
                self._enter(rib, family, rib.variant(path, family, nlri), (nlri,))

    def _touch(self, rib: AdjRibIn, changed: set[int]) -> None:
        if not changed:
            return
        for family, table in rib.tables.items():
            self._dirty[family].update(
                (nlri, None) for nlri, path in table.items() if id(path) in changed
            )

    def touch_all(self, family: Family) -> None:
        """Decide every prefix of a family again."""
        self._dirty[family].update(dict.fromkeys(self.candidates[family]))


def _with(rivals: Candidates, path: Path) -> Candidates:
    """The rivals with this path in place of an older one of its source."""
    others = _without(rivals, path.source)
    if others is None:
        return path
    return (others, path) if isinstance(others, Path) else (*others, path)


def _without(rivals: Candidates, source: Source) -> Candidates | None:
    if isinstance(rivals, Path):
        return None if rivals.source is source else rivals
    left = tuple(p for p in rivals if p.source is not source)
    return None if not left else left[0] if len(left) == 1 else left
