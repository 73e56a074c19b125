"""Adj-RIB-Out of peers that are told several paths to a prefix (RFC 7911, send).

A path identifier stands for who told us the path, so it is the same for all prefixes, for all peers, over re-decisions
and over restarts: a peer that keeps our routes while we are away finds them again under their names. There is one path
of a source to a prefix, so identifiers of a prefix are distinct, and one is never given to another source.

What replaces a path is told before the path is withdrawn, so that a peer is at no time without any.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from hashlib import blake2b
from typing import Final, NamedTuple

from kroute.model.bgp import Attributes, PeerName
from kroute.model.net import Family, Nlri
from kroute.model.reason import Reason, Why
from kroute.model.session_keys import PathSelect
from kroute.plan.adj_out import AdjRibOut, Change, Heard, Tell, Words
from kroute.plan.decision import in_order
from kroute.plan.paths import Path, Selection, Source
from kroute.plan.policy import Classes, ExportRules, Several, Told

Rivals = Callable[[Family, Nlri], tuple[Path, ...]]
"""Every path known for a prefix (:meth:`kroute.plan.rib.Rib.rivals`)."""

Gone = dict[str, list[bytes]]
"""Entries to withdraw, by source."""

News = dict[tuple[int, str], tuple[Attributes, list[bytes]]]
"""Entries to announce, by attributes (and their identity) and source."""

BETTER_ONES: Final = Reason(Why.NOT_CHOSEN, "a better path is told (addPathSelect: equal)")
SAME_HOP: Final = Reason(Why.NOT_CHOSEN, "another path with the same next hop is told")
ENOUGH: Final = Reason(Why.NOT_CHOSEN, "as many better paths as addPathMax allows are told")


class PathIds:
    """The identifiers of all sources that anybody has been told paths of: 4 octets, never zero.

    They follow from the source's name; two that would be alike are told apart by who came first.
    """

    def __init__(self) -> None:
        self._ids: dict[str, bytes] = {}
        self._taken: set[int] = {0}

    def of(self, source: Source) -> bytes:
        """The identifier of a source's paths."""
        if not source.path_id:
            source.path_id = self._named(f"{source.name}#{source.place}")
        return source.path_id

    def _named(self, name: str) -> bytes:
        found = self._ids.get(name)
        if found is None:
            number = int.from_bytes(blake2b(name.encode(), digest_size=4).digest(), "big")
            while number in self._taken:
                number = (number + 1) % (1 << 32)
            self._taken.add(number)
            found = self._ids[name] = number.to_bytes(4, "big")
        return found


class Entry(NamedTuple):
    """One path to a prefix as it is told: its identifier, and what :data:`~kroute.plan.adj_out.Heard` says."""

    path_id: bytes
    heard: Heard


Entries = tuple[Entry, ...] | None
"""All that is told of a prefix, best first; None or empty: nothing."""

Errand = tuple[list[bytes], bytes]
"""Where a prefix is to be written, and the path identifier to be written before it."""


class Tally:
    """How often entries took the place of others; prefixes that fare alike share both."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: dict[tuple[int, int], tuple[tuple[Entry, ...], tuple[Entry, ...], int]] = {}

    def add(self, old: tuple[Entry, ...], new: tuple[Entry, ...]) -> None:
        """Once more."""
        key = id(old), id(new)
        known = self.counts.get(key)
        self.counts[key] = old, new, 1 if known is None else known[2] + 1


class Turn:
    """What prefixes with equal rivals share while many are looked at: the search, and mostly the whole answer."""

    __slots__ = ("entries", "ranks")

    def __init__(self) -> None:
        self.ranks: dict[tuple[Path, ...], list[Path]] = {}
        self.entries: dict[tuple[Path, ...], tuple[Entry, ...]] = {}


class AdjRibOutPaths(AdjRibOut):
    """The table of export rules with several paths in some families; others are as in any Adj-RIB-Out.

    ``rivals`` are asked for when a prefix has been decided. ``paths`` holds each prefix's entries, best first.
    """

    def __init__(
        self,
        rules: ExportRules,
        classes: Classes,
        several: Several,
        rivals: Rivals,
        ids: PathIds,
    ) -> None:
        super().__init__(rules, classes)
        self.paths: dict[Family, dict[Nlri, tuple[Entry, ...]]] = {
            f: {} for f in self.tables if f in several.families
        }
        self._several = several
        self._rivals = rivals
        self._ids = ids
        self._count: Counter[Family] = Counter()
        self._is_blind = rules.announce is None and rules.wish.policy is None
        """Whether it never matters which prefix a path is for."""

    @property
    def words(self) -> Mapping[Family, Words]:
        """What is told, by family and prefix."""
        return {**self.tables, **self.paths}

    def fill(self, family: Family, some: Iterable[Nlri], loc: Mapping[Nlri, Selection]) -> None:
        """Take in prefixes of the Loc-RIB."""
        table = self.paths.get(family)
        if table is None:
            super().fill(family, some, loc)
            return
        turn, tally = Turn(), Tally()
        for nlri in some:
            if nlri in loc and nlri not in table and (entries := self._wanted(family, nlri, turn)):
                table[nlri] = entries
                tally.add((), entries)
        self._account(family, tally)

    def _changes(
        self, family: Family, selected: Mapping[Nlri, Selection | None]
    ) -> Iterator[Change]:
        """Bring the table up to date; what is told otherwise than before."""
        table = self.paths.get(family)
        if table is None:
            yield from super()._changes(family, selected)
            return
        turn, tally = Turn(), Tally()
        for nlri in selected:
            old, new = table.get(nlri, ()), self._wanted(family, nlri, turn)
            if new == old:
                continue
            tally.add(old, new)
            if new:
                table[nlri] = new
            else:
                del table[nlri]
            yield nlri, old, new
        self._account(family, tally)

    def messages(
        self, family: Family, changes: Iterable[Change], peers: Set[PeerName]
    ) -> list[Tell]:
        """What these peers have to be told of changes, announcements first; a source is not told its own path."""
        # The table may have lost a family, and all of it is to be withdrawn as it was told.
        if not self.rules.has_ids(family):
            return super().messages(family, changes, peers)
        gone: Gone = {}
        news: News = {}
        known: dict[tuple[int, int], tuple[Entries, Entries, list[Errand]]] = {}
        for nlri, old, new in changes:
            found = known.get((id(old), id(new)))
            if found is None:
                # The entries stay referred to, so that no others can have their ids.
                found = known[id(old), id(new)] = old, new, _compare(old, new, gone, news)
            for entries, path_id in found[2]:
                entries.append(path_id + nlri)
        to = {source: tuple(sorted(peers - {PeerName(source)})) for source in gone}
        to |= {source: tuple(sorted(peers - {PeerName(source)})) for _, source in news}
        announcing: dict[tuple[PeerName, ...], Tell] = {}
        for (_, source), (attributes, entries) in news.items():
            if names := to[source]:
                tell = announcing.setdefault(names, self._tell(names, family))
                tell.announced.append((attributes, entries))
        withdrawing: dict[tuple[PeerName, ...], Tell] = {}
        for source, entries in gone.items():
            if names := to[source]:
                withdrawing.setdefault(names, self._tell(names, family)).withdrawn += entries
        return [*announcing.values(), *withdrawing.values()]

    def _tell(self, peers: tuple[PeerName, ...], family: Family) -> Tell:
        return Tell(peers=peers, rules=self.rules, family=family)

    def entries(self, family: Family) -> Mapping[bytes, Heard]:
        """What is told in a family; keys are path identifier and prefix where it has several paths."""
        table = self.paths.get(family)
        if table is None:
            return super().entries(family)
        return {e.path_id + nlri: e.heard for nlri, found in table.items() for e in found}

    def has(self, family: Family, nlri: Nlri) -> bool:
        """Whether a prefix is told."""
        return nlri in self.paths.get(family, ()) or super().has(family, nlri)

    def size(self, family: Family) -> int:
        """How many paths the table has in a family."""
        return self._count[family] if family in self.paths else super().size(family)

    def verdicts(
        self, family: Family, nlri: Nlri, selection: Selection
    ) -> Iterable[tuple[Path, Told]]:
        """Every usable path to a prefix, best first, and what becomes of it towards these peers."""
        if family not in self.paths:
            return super().verdicts(family, nlri, selection)
        return self._each(family, nlri)

    def _each(self, family: Family, nlri: Nlri) -> Iterator[tuple[Path, Told]]:
        rivals, equal_only = self._rivals(family, nlri), self._several.select is PathSelect.EQUAL
        equal = list(in_order(rivals, PathSelect.EQUAL))
        chosen = dict(self._chosen(family, nlri, self._rivals(family, nlri), Turn()))
        for path in in_order(rivals, PathSelect.ALL):
            told = self.verdict(family, nlri, path)
            if told.attributes is not None and path not in chosen:
                reason = ENOUGH if len(chosen) == self._several.most else SAME_HOP
                if equal_only and path not in equal:
                    reason = BETTER_ONES
                told = Told(None, reason, told.rules)
            yield path, told

    # --- what to tell of a prefix ---------------------------------------------------------------------

    def _wanted(self, family: Family, nlri: Nlri, turn: Turn) -> tuple[Entry, ...]:
        """The entries that a prefix has now."""
        rivals, of = self._rivals(family, nlri), self._ids.of
        if self._is_blind and (known := turn.entries.get(rivals)) is not None:
            return known
        found = turn.entries[rivals] = tuple(
            Entry(of(path.source), (attributes, "" if path.is_local else path.source.name))
            for path, attributes in self._chosen(family, nlri, rivals, turn)
        )
        return found

    def _chosen(
        self, family: Family, nlri: Nlri, rivals: tuple[Path, ...], turn: Turn
    ) -> Iterator[tuple[Path, Attributes]]:
        """The paths that are told, best first: policy is asked first, then as many as are allowed. Of equal paths with
        one next hop the best will do, for they are told so that traffic can be shared.
        """
        select = self._several.select
        if select is PathSelect.ALL:
            ordered: Iterable[Path] = in_order(rivals, select)
        elif (known := turn.ranks.get(rivals)) is not None:
            ordered = known
        else:
            ordered = turn.ranks[rivals] = list(in_order(rivals, select))
        hops: set[bytes] = set()
        left = self._several.most
        for path in ordered:
            attributes = self.verdict(family, nlri, path).attributes
            if attributes is None:
                continue
            if select is PathSelect.EQUAL and attributes.nexthop in hops:
                continue
            hops.add(attributes.nexthop)
            yield path, attributes
            left -= 1
            if not left:
                return

    def _account(self, family: Family, tally: Tally) -> None:
        for old, new, times in tally.counts.values():
            for entries, change in ((old, -times), (new, times)):
                for _, (_, source) in entries:
                    self._sources[family, source] += change
                    self._count[family] += change


def _compare(old: Entries, new: Entries, gone: Gone, news: News) -> list[Errand]:
    """What is to be said of every prefix whose entries change like this."""
    before, now = dict(old or ()), dict(new or ())
    errands = []
    for path_id, (_, source) in before.items():
        if path_id not in now:
            errands.append((gone.setdefault(source, []), path_id))
    for path_id, heard in now.items():
        if before.get(path_id) != heard:
            attributes, source = heard
            entries = news.setdefault((id(attributes), source), (attributes, []))[1]
            errands.append((entries, path_id))
    return errands
