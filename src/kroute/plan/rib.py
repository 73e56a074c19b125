"""The routing tables: an Adj-RIB-In for each peer, the candidates of each prefix, and the Loc-RIB.

This is the fast road: prefixes are their NLRI bytes, an attribute block is judged once (it becomes a
:class:`~kroute.plan.paths.Path`), a prefix with one candidate is not compared with anything, and changed
prefixes collect in a latest-wins map until :meth:`Rib.decide`. Whole recomputation and any order of
increments end in the same tables; a property test holds them to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from operator import is_
from typing import NamedTuple

from kroute.model.bgp import Attributes
from kroute.model.fib import OWN_PLACE, Nexthops, placed
from kroute.model.net import Family, Nlri
from kroute.plan.adj_in import AdjRibIn
from kroute.plan.candidates import Candidates, by_path, with_path, without
from kroute.plan.decision import select
from kroute.plan.outcome import PLAIN
from kroute.plan.paths import Path, Selection
from kroute.plan.policy import (
    UNCHECKED,
    Classes,
    OriginCheck,
    Self,
    import_refusal,
)
from kroute.plan.resolve import CONNECTED_METRIC, NOT_CONNECTED, Resolver
from kroute.plan.review import Review

BULK = 8
"""Prefixes told at once from which on it pays to look whether all of them are new, and then to take them as one."""


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
        self._new: dict[Family, list[dict[Nlri, Path]]] = {f: [] for f in Family}
        """Prefixes that had no candidate when a peer announced them, and with which path. What happened to them since
        is in ``_dirty`` as well, and decided after them."""
        self._moved: set[Path] = set()
        """Paths whose legs changed since the last review began: what they say now may not be what was installed."""
        self.stirred: set[Path] = set()
        """Paths that have become others since the last review began."""
        self._epoch = object()
        self._own_touched = False
        self.review = Review(self)

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
            self._enter(rib, family, dict.fromkeys(nlris, path))
        else:
            self._admit(rib, family, path, nlris)
        stale = rib.stale.get(family)
        if stale:
            stale.difference_update(nlris)

    def learn_each(
        self, rib: AdjRibIn, family: Family, paths: Sequence[Path], nlris: Sequence[Nlri]
    ) -> None:
        """A peer announces prefixes, each with the judged block in the same place: as if one after the other."""
        if len(rib.tables[family]) + len(nlris) > rib.limit:
            for path, nlri in zip(paths, nlris, strict=True):
                self.learn(rib, family, path, (nlri,))
            return
        block = dict(zip(nlris, paths, strict=True))
        if not rib.is_plain:
            asked = self.origin_check.related(family, block) if rib.is_sieved else list(block)
            for path, some in by_path({nlri: block.pop(nlri) for nlri in asked}).items():
                self.learn(rib, family, path, some)
        self._own_touched |= rib.source.is_local
        epoch = self._epoch
        for path in block.values():
            if path.epoch is not epoch:
                self._rejudge(path)
        self._enter(rib, family, block)
        stale = rib.stale.get(family)
        if stale:
            stale.difference_update(block)

    def _admit(self, rib: AdjRibIn, family: Family, path: Path, nlris: Sequence[Nlri]) -> None:
        """Send prefixes through the peer's import pipeline, and enter the variants that come out."""
        peer = rib.source.peer
        check = self.origin_check if peer and self.origin_check.applies(peer) else None
        for outcome, some in rib.rules.outcomes(path, check, self.classes, family, nlris):
            variant = path.variant(outcome)
            if variant.epoch is not self._epoch:
                self._rejudge(variant)
            self._enter(rib, family, dict.fromkeys(some, variant))

    def _enter(self, rib: AdjRibIn, family: Family, block: dict[Nlri, Path]) -> None:
        """Put a peer's prefixes and their paths into its table, and among the candidates."""
        table = rib.tables[family]
        candidates = self.candidates[family]
        if len(block) >= BULK and rib.source.peer and candidates.keys().isdisjoint(block):
            table.update(block)
            candidates.update(block)
            self._new[family].append(block)
            return
        dirty = self._dirty[family]
        for nlri, path in block.items():
            old = table.get(nlri)
            if old is path:
                continue
            table[nlri] = path
            rivals = candidates.get(nlri)
            if rivals is None or rivals is old:
                candidates[nlri] = path
            else:
                candidates[nlri] = with_path(rivals, path)
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
            left = without(candidates[nlri], rib.source)
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
        kept: dict[Nlri, None] = {}
        for nlri in nlris:
            if nlri not in table and nlri not in kept:
                if room <= 0:
                    rib.over[family] = rib.over.get(family, 0) + 1
                    continue
                room -= 1
            kept[nlri] = None
        return list(kept)

    def _settle(self, path: Path) -> None:
        """Ask the import policy and the resolver about a path."""
        path.epoch = self._epoch
        peer, outcome, attributes = path.source.peer, path.outcome, path.attributes
        if peer is None and path.is_local:
            path.eligible = True
            return
        received = attributes if outcome is PLAIN else path.base.attributes
        refusal = import_refusal(peer, received, self.me, attributes.nexthop) or outcome.refusal
        path.refusal = refusal
        found = self.resolver.resolve(path.hop) if refusal is None else None
        if peer is None and found is not None and found.metric != CONNECTED_METRIC:
            path.refusal, found = NOT_CONNECTED, None
        if found is None:
            path.nexthops, path.igp_metric, path.eligible = None, 0, False
        else:
            path.nexthops, path.igp_metric = found
            if outcome.place is not OWN_PLACE:
                path.nexthops = placed(found.nexthops, outcome.place)
            path.eligible = True

    def _rejudge(self, path: Path) -> None:
        """Judge a path again, and note it if policy or resolver say anything new."""
        fresh, legs = path.epoch is None, path.nexthops
        before = (path.refusal, legs, path.igp_metric)
        self._settle(path)
        if fresh:
            return  # it stands nowhere yet
        if path.nexthops != legs:
            self._moved.add(path)
        if before != (path.refusal, path.nexthops, path.igp_metric):
            self.stirred.add(path)

    # --- deciding ----------------------------------------------------------------------------------

    def decide(self, most: int | None = None) -> dict[Family, Decided]:
        """Select anew for every changed prefix; before, go on with the review: ``most`` stored prefixes, None: all."""
        self.review.advance(most)
        decided = {}
        for family in Family:
            dirty, new = self._dirty[family], self._new[family]
            if dirty or new:
                self._dirty[family], self._new[family] = {}, []
                decided[family] = self._decide(family, dirty, new)
        if not self.review.going_on:
            # Until then, prefixes may still stand there with a path that became another under them.
            self._moved.clear()
            self.stirred.clear()
        self._own_touched = False
        return decided

    def _decide(
        self,
        family: Family,
        dirty: Iterable[Nlri],
        new: Iterable[dict[Nlri, Path]],
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
        self, family: Family, new: Iterable[dict[Nlri, Path]]
    ) -> tuple[dict[Nlri, Selection | None], dict[Nlri, Nexthops | None]]:
        """Select the only path of prefixes that had none; the kernel is told of all, whatever it had of them."""
        selected: dict[Nlri, Selection | None] = {}
        kernel: dict[Nlri, Nexthops | None] = {}
        for block in new:
            paths = block.values()
            path = next(iter(paths))
            if all(map(is_, paths, repeat(path))):
                chosen = block if path.eligible else {}
                kernel |= dict.fromkeys(chosen, path.nexthops)
            else:
                chosen = {nlri: path for nlri, path in block.items() if path.eligible}
                kernel |= {nlri: path.nexthops for nlri, path in chosen.items()}
            self.loc[family].update(chosen)
            selected.update(chosen)
        return selected, kernel

    def rivals(self, family: Family, nlri: Nlri) -> tuple[Path, ...]:
        """Every path known for a prefix, eligible or not."""
        known = self.candidates[family].get(nlri)
        return () if known is None else (known,) if isinstance(known, Path) else known

    # --- for the review, when the world around the paths changes ---------------------------------------

    def outdate(self) -> None:
        """All paths are out of date, and judged again when they are met next."""
        self._epoch = object()

    def touch(self, family: Family, nlris: Iterable[Nlri]) -> None:
        """Have prefixes decided again."""
        self._dirty[family].update(dict.fromkeys(nlris))

    def settle(self, path: Path) -> None:
        """Judge a path again that is out of date; one that becomes another is :attr:`stirred`."""
        if path.epoch is not self._epoch:
            self._rejudge(path)

    def admit(self, rib: AdjRibIn, family: Family, block: Path, nlris: Sequence[Nlri]) -> None:
        """Send stored prefixes of a block, as received, through the peer's import pipeline again."""
        self.settle(block)
        if rib.is_plain:
            self._enter(rib, family, dict.fromkeys(nlris, block))
        else:
            self._admit(rib, family, block, nlris)

    def take_over(self, rib: AdjRibIn) -> None:
        """See whether a peer's paths can stay on the fast road, past the import pipeline."""
        peer, unruled = rib.source.peer, rib.rules.is_plain
        rib.is_sieved = unruled and peer is not None and self.origin_check.applies(peer)
        rib.is_plain = unruled and not rib.is_sieved
