"""The routing tables: an Adj-RIB-In for each peer, the candidates of each prefix, and the Loc-RIB.

This is the fast road: prefixes are their NLRI bytes, an attribute block is judged once (it becomes a
:class:`~kroute.plan.paths.Path`), a prefix with one candidate is not compared with anything, and changed
prefixes collect in a latest-wins map until :meth:`Rib.decide`. Whole recomputation and any order of
increments end in the same tables; a property test holds them to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kroute.model.bgp import Attributes
from kroute.model.fib import OWN_PLACE, Nexthops, placed
from kroute.model.net import Family, Nlri
from kroute.plan.adj_in import AdjRibIn
from kroute.plan.decision import select
from kroute.plan.paths import Path, Selection, Source
from kroute.plan.policy import (
    UNCHECKED,
    Classes,
    Concern,
    ImportRules,
    OriginCheck,
    Self,
    import_refusal,
)
from kroute.plan.policy.changes import concerned
from kroute.plan.resolve import CONNECTED_METRIC, NOT_CONNECTED, Resolver

BULK = 8
"""Prefixes of one step from which on it pays to look whether all of them are new, and then to take them as one."""

Candidates = Path | tuple[Path, ...]
"""The paths known for a prefix; a single one, by far the commonest, stands for itself."""


class Decided(NamedTuple):
    """What :meth:`Rib.decide` found in one family."""

    selected: dict[Nlri, Selection | None]
    """Every prefix decided anew."""
    kernel: dict[Nlri, Nexthops | None]
    """Of these, the legs of those whose legs are not as they were; None: not for the kernel (any more)."""
    own: bool
    """Whether what this node announces of its own may have changed; most batches are others' routes alone."""


class Rib:
    """All paths, and the selection for each prefix."""

    def __init__(self, me: Self, resolver: Resolver, legs: int = 8) -> None:
        self.me = me
        self.resolver = resolver
        self.origin_check: OriginCheck = UNCHECKED
        self.classes = Classes()
        self._legs = legs
        self.candidates: dict[Family, dict[Nlri, Candidates]] = {f: {} for f in Family}
        self.loc: dict[Family, dict[Nlri, Selection]] = {f: {} for f in Family}
        self._dirty: dict[Family, dict[Nlri, None]] = {f: {} for f in Family}
        self._new: dict[Family, list[tuple[Path, Sequence[Nlri]]]] = {f: [] for f in Family}
        """Prefixes that had no candidate when a peer announced them, and with which path. What happened to them since
        is in ``_dirty`` as well, and decided after them."""
        self._moved: set[Path] = set()
        """Paths whose legs changed since the last decision: what they say now is not what was installed."""
        self._epoch = object()
        self._own_touched = False

    @property
    def legs(self) -> int:
        """Most legs of an ECMP route."""
        return self._legs

    @legs.setter
    def legs(self, legs: int) -> None:
        """Take another limit over; routes with several paths are decided again."""
        if legs == self._legs:
            return
        self._legs = legs
        for family, table in self.candidates.items():
            several = (nlri for nlri, rivals in table.items() if isinstance(rivals, tuple))
            self._dirty[family].update(dict.fromkeys(several))

    # --- learning ----------------------------------------------------------------------------------

    def judge(self, rib: AdjRibIn, attributes: Attributes) -> Path:
        """What an attribute block of a peer becomes; to be done once for each distinct block."""
        path = Path(rib.source, attributes)
        self._settle(path)
        return path

    def learn(self, rib: AdjRibIn, family: Family, path: Path, nlris: Sequence[Nlri]) -> None:
        """A peer announces prefixes with a judged attribute block."""
        table = rib.tables[family]
        self._own_touched |= rib.source.is_local
        if path.epoch is not self._epoch:
            self._rejudge(path)
        if len(table) + len(nlris) > rib.limit:
            nlris = self._within_limit(rib, family, nlris)
        if rib.is_plain or (rib.is_sieved and not self.origin_check.related(family, nlris)):
            self._enter(rib, family, path, nlris)
        else:
            self._admit(rib, family, path, nlris)
        stale = rib.stale.get(family)
        if stale:
            stale.difference_update(nlris)

    def _admit(self, rib: AdjRibIn, family: Family, path: Path, nlris: Sequence[Nlri]) -> None:
        """Send prefixes through the peer's import pipeline, and enter the variants that come out."""
        peer = rib.source.peer
        check = self.origin_check if peer and self.origin_check.applies(peer) else None
        for outcome, some in rib.rules.outcomes(path, check, self.classes, family, nlris):
            variant = path.variant(outcome)
            if variant.epoch is not self._epoch:
                self._rejudge(variant)
            self._enter(rib, family, variant, some)

    def _enter(self, rib: AdjRibIn, family: Family, path: Path, nlris: Sequence[Nlri]) -> None:
        table = rib.tables[family]
        candidates = self.candidates[family]
        if len(nlris) >= BULK and path.source.peer and candidates.keys().isdisjoint(nlris):
            block = dict.fromkeys(nlris, path)
            table.update(block)
            candidates.update(block)
            self._new[family].append((path, nlris))
            return
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
        self._own_touched |= rib.source.is_local
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

    def _settle(self, path: Path) -> None:
        """Ask the import policy and the resolver about a path."""
        path.epoch = self._epoch
        peer, nexthop = path.source.peer, path.attributes.nexthop
        if path.is_local:
            path.eligible = True
            return
        received, outcome = path.base.attributes, path.outcome
        path.refusal = import_refusal(peer, received, self.me, nexthop) or outcome.refusal
        found = self.resolver.resolve(path.hop) if path.refusal is None else None
        if peer is None and found is not None and found.metric != CONNECTED_METRIC:
            path.refusal, found = NOT_CONNECTED, None
        if found is None:
            path.nexthops, path.igp_metric, path.eligible = None, 0, False
        else:
            path.nexthops, path.igp_metric = found
            if outcome.place is not OWN_PLACE:
                path.nexthops = placed(found.nexthops, outcome.place)
            path.eligible = True

    def _rejudge(self, path: Path) -> bool:
        """Judge a path again; whether policy or resolver say anything new."""
        before, legs = (path.refusal, path.nexthops, path.igp_metric), path.nexthops
        self._settle(path)
        if path.nexthops != legs:
            self._moved.add(path)
        return before != (path.refusal, path.nexthops, path.igp_metric)

    # --- deciding ----------------------------------------------------------------------------------

    def decide(self) -> dict[Family, Decided]:
        """Select anew for every changed prefix."""
        decided = {}
        for family in Family:
            dirty, new = self._dirty[family], self._new[family]
            if dirty or new:
                self._dirty[family], self._new[family] = {}, []
                decided[family] = self._decide(family, dirty, new)
        self._moved.clear()
        self._own_touched = False
        return decided

    def _decide(
        self,
        family: Family,
        dirty: Iterable[Nlri],
        new: Iterable[tuple[Path, Sequence[Nlri]]],
    ) -> Decided:
        candidates, loc, legs = self.candidates[family], self.loc[family], self.legs
        moved = self._moved
        chosen: dict[tuple[Path, ...], Selection | None] = {}
        """What was selected of equal rivals in this turn: routes that two reflectors tell share one answer."""
        selected, kernel = self._adopt(family, new)
        for nlri in dirty:
            rivals = candidates.get(nlri)
            now: Selection | None
            if rivals is None:
                now = None
            elif type(rivals) is Path:
                now = rivals if rivals.eligible else None
            else:
                assert isinstance(rivals, tuple)
                try:
                    now = chosen[rivals]
                except KeyError:
                    now = chosen[rivals] = select(rivals, legs)
            before = loc.get(nlri)
            if now is not None:
                loc[nlri] = now
                hops = now.nexthops
            elif before is not None:
                del loc[nlri]
                hops = None
            else:
                continue
            selected[nlri] = now
            installed = None if before is None else before.nexthops
            if (hops is not installed and (hops != installed)) or (moved and before in moved):
                kernel[nlri] = hops
        return Decided(selected, kernel, self._own_touched)

    def _adopt(
        self, family: Family, new: Iterable[tuple[Path, Sequence[Nlri]]]
    ) -> tuple[dict[Nlri, Selection | None], dict[Nlri, Nexthops | None]]:
        """Select the only path of prefixes that had none; the kernel is told of all, whatever it had of them."""
        selected: dict[Nlri, Selection | None] = {}
        kernel: dict[Nlri, Nexthops | None] = {}
        for path, nlris in new:
            if path.eligible:
                block = dict.fromkeys(nlris, path)
                self.loc[family].update(block)
                selected.update(block)
                kernel.update(dict.fromkeys(nlris, path.nexthops))
        return selected, kernel

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
        if same_self and moved is not None and not moved:
            return
        # Paths that stand in no table now, but may be announced again, see by the epoch that they are out of date.
        self._epoch = object()
        concerned = None if not same_self else moved
        for rib in ribs:
            paths = {id(p): p for table in rib.tables.values() for p in table.values()}
            self._touch(rib, {k for k, path in paths.items() if self._is_changed(path, concerned)})

    def _is_changed(self, path: Path, concerned: frozenset[bytes] | None) -> bool:
        """Judge a path again if its next hop is concerned (None: all are); whether the verdict is another."""
        if concerned is not None and path.hop not in concerned:
            path.epoch = self._epoch
            return False
        return self._rejudge(path)

    def accept(self, rib: AdjRibIn, rules: ImportRules) -> None:
        """A peer's import rules changed: its stored announcements are judged by the new ones, no refresh needed."""
        if rules == rib.rules:
            return
        before, rib.rules = rib.rules, rules
        self.recheck(rib, concerned(before, rules))

    def check_origins(self, ribs: Iterable[AdjRibIn], check: OriginCheck) -> None:
        """The origin check has new data: judge again the stored announcements that it may see differently."""
        changed, before = check.differs(self.origin_check), self.origin_check
        self.origin_check = check
        for rib in ribs:
            peer = rib.source.peer
            if peer is None or not (before.applies(peer) or check.applies(peer)):
                continue
            same_peers = before.applies(peer) and check.applies(peer)
            self.recheck(rib, changed if same_peers else None)

    def classify(self, ribs: Iterable[AdjRibIn], classes: Classes, *, told: bool) -> None:
        """Prefixes are something else to this node: ask those import rules again that ask for it.

        ``told``: what is told depends on it as well, so that the prefixes are decided again.
        """
        changed = classes.differs(self.classes)
        self.classes = classes
        for rib in ribs:
            if rib.rules.asks_kind:
                self.recheck(rib, changed)
        for family in Family if told else ():
            known = self.candidates[family]
            those = known if changed is None else changed.among(family, known)
            self._dirty[family].update(dict.fromkeys(those))

    def recheck(self, rib: AdjRibIn, only: Concern | None = None) -> None:
        """Send a peer's stored announcements through its import pipeline again, ``only`` some of them if asked so."""
        self.take_over(rib)
        for family, table in rib.tables.items():
            some: Iterable[Nlri] = table if only is None else only.among(family, table)
            by_block: dict[int, tuple[Path, list[Nlri]]] = {}
            for nlri in some:
                block = table[nlri].base
                by_block.setdefault(id(block), (block, []))[1].append(nlri)
            for block, those in by_block.values():
                if block.epoch is not self._epoch:
                    self._rejudge(block)
                if rib.is_plain:
                    self._enter(rib, family, block, those)
                else:
                    self._admit(rib, family, block, those)

    def take_over(self, rib: AdjRibIn) -> None:
        """See whether a peer's paths can stay on the fast road, past the import pipeline."""
        peer, unruled = rib.source.peer, rib.rules.is_plain
        rib.is_sieved = unruled and peer is not None and self.origin_check.applies(peer)
        rib.is_plain = unruled and not rib.is_sieved

    def revisit(self, rib: AdjRibIn) -> None:
        """What is known of a peer itself changed: judge all its paths and decide all its prefixes again."""
        # Blocks that stand in no table themselves, but whose variants do, see by the epoch that they are out of date.
        self._epoch = object()
        self.recheck(rib)
        for family, table in rib.tables.items():
            for path in {id(p): p for p in table.values()}.values():
                self._rejudge(path)
            self._dirty[family].update(dict.fromkeys(table))

    def _touch(self, rib: AdjRibIn, changed: set[int]) -> None:
        if not changed:
            return
        for family, table in rib.tables.items():
            self._dirty[family].update(
                (nlri, None) for nlri, path in table.items() if id(path) in changed
            )


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
