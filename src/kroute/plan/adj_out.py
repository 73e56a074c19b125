"""Adj-RIB-Out: what peers have been told. Peers with equal export rules share one table and one encoding."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kroute.model.bgp import Attributes, PeerName
from kroute.model.net import Family, Nlri
from kroute.model.policies import OriginState
from kroute.plan.paths import Path, Selection
from kroute.plan.policy import Classes, Export, ExportRules, Told
from kroute.plan.policy.matching import Place
from kroute.plan.rib import Decided

if TYPE_CHECKING:
    from kroute.plan.joining import Joining, Stretch

Heard = tuple[Attributes, str]
"""What a prefix was announced with, and the peer that it came from and that is not told (empty: all are)."""

Words = dict[Nlri, Any]
"""What is told of prefixes, as a table keeps it: :data:`Heard`, or what stands for it where several paths are told."""

Change = tuple[Nlri, Any, Any]
"""A prefix, what was told of it and what is to be told now; None or empty: nothing."""


@dataclass(slots=True, kw_only=True)
class Tell:
    """UPDATEs to be encoded and sent to some peers: withdrawals, announcements by attributes, then End-of-RIB.

    Where the rules have path identifiers in the family, they stand before the prefixes, and announcements go first.
    """

    peers: tuple[PeerName, ...]
    rules: ExportRules
    family: Family
    announced: list[tuple[Attributes, list[Nlri]]] = field(default_factory=list)
    withdrawn: list[Nlri] = field(default_factory=list)
    end_of_rib: bool = False


class AdjRibOut:
    """The table of one set of export rules, and the peers that follow it.

    ``classes`` say what prefixes are to this node; who changes them has the prefixes concerned decided again.
    """

    def __init__(self, rules: ExportRules, classes: Classes) -> None:
        self.rules = rules
        self.classes = classes
        self.members: set[PeerName] = set()
        self.joinings: list[Joining] = []
        """Of the members, those that have yet to be told some of the table."""
        self.unfilled: deque[Stretch] = deque()
        """What of the Loc-RIB the table has not taken in yet; until it has, nobody is told anything."""
        self._nexthops = dict(rules.nexthops)
        self.tables: dict[Family, dict[Nlri, Heard]] = {f: {} for f, _ in rules.nexthops}
        self._exports: dict[tuple[int, Family], Export] = {}
        self._sources: Counter[tuple[Family, str]] = Counter()
        """How many prefixes of a family came from which peer."""

    @property
    def words(self) -> Mapping[Family, Words]:
        """What is told, by family and prefix."""
        return self.tables

    @property
    def scraps(self) -> list[dict[Any, Any]]:
        """What is of no use when nobody follows the table any more."""
        return [*self.words.values(), self._exports]

    def fill(self, family: Family, some: Iterable[Nlri], loc: Mapping[Nlri, Selection]) -> None:
        """Take in prefixes of the Loc-RIB, but for what is there only until a review gets to it."""
        table = self.tables[family]
        for nlri in some:
            selection = loc.get(nlri)
            if nlri in table or selection is None or not selection.best.eligible:
                continue
            told = self._told(family, nlri, selection)
            if told is not None:
                table[nlri] = told
                self._sources[family, told[1]] += 1

    def follow(self, family: Family, decided: Decided) -> list[Tell]:
        """Bring the table up to date; what its members have to be told."""
        if family not in self.tables:
            return []
        changes = self._changes(family, decided.selected)
        if not self.joinings:
            return self.messages(family, changes, self.members)
        known = list(changes)
        if self.unfilled:
            return []
        tells = self.messages(
            family, known, self.members.difference(*(j.peers for j in self.joinings))
        )
        for joining in self.joinings:
            tells += self.messages(family, joining.catch(family, known), joining.peers)
        return tells

    def _changes(
        self, family: Family, selected: Mapping[Nlri, Selection | None]
    ) -> Iterator[Change]:
        """Bring the table up to date; what is told otherwise than before."""
        table = self.tables[family]
        for nlri, selection in selected.items():
            old = table.get(nlri)
            new = self._told(family, nlri, selection)
            if new == old:
                continue
            if old is not None:
                self._sources[family, old[1]] -= 1
            if new is None:
                del table[nlri]
            else:
                table[nlri] = new
                self._sources[family, new[1]] += 1
            yield nlri, old, new

    def messages(
        self, family: Family, changes: Iterable[Change], peers: Set[PeerName]
    ) -> list[Tell]:
        """What these peers have to be told of changes; a source is not told its own path."""
        gone: dict[tuple[str, str], list[Nlri]] = {}
        news: dict[tuple[int, str], tuple[Attributes, list[Nlri]]] = {}
        for nlri, old, new in changes:
            if new is None:
                # Who told it has not been told it.
                gone.setdefault(("", old[1]), []).append(nlri)
                continue
            if old is not None and old[1] != new[1] and new[1]:
                # The new source must lose what it was told before; it knows its own path already.
                gone.setdefault((new[1], ""), []).append(nlri)
            news.setdefault((id(new[0]), new[1]), (new[0], []))[1].append(nlri)
        return self._tells(family, gone, news, peers)

    def entries(self, family: Family) -> Mapping[bytes, Heard]:
        """What is told in a family: keys are prefixes, behind their path identifiers where the family has any."""
        return self.tables.get(family, {})

    def has(self, family: Family, nlri: Nlri) -> bool:
        """Whether a prefix is told."""
        return nlri in self.tables.get(family, ())

    def size(self, family: Family) -> int:
        """How many entries the table has in a family."""
        return len(self.tables[family])

    def told(self, family: Family, peer: PeerName) -> Iterator[bytes]:
        """The entries of a family that a peer has been told."""
        return (n for n, (_, source) in self.entries(family).items() if source != peer)

    def reconsider(self) -> None:
        """What is known of a path's source changed: export rules must look at its paths again."""
        self._exports.clear()

    def count(self, peer: PeerName, family: Family | None = None) -> int:
        """How many prefixes (paths, where several are told) a peer has been told, in one family or in all."""
        return sum(
            self.size(f) - self._sources[f, peer] for f in self.tables if family in (None, f)
        )

    def verdict(self, family: Family, nlri: Nlri, path: Path) -> Told:
        """What becomes of a path's prefix towards these peers, and why."""
        export = self._exports.get((id(path), family))
        if export is None or export.path is not path:
            if len(self._exports) > 1024 + 2 * sum(map(self.size, self.tables)):
                self._exports.clear()
            export = self._exports[id(path), family] = Export(
                self.rules, path, family, self._nexthops.get(family)
            )
        if export.fixed is not None:
            return export.fixed
        kind = self.classes.kind(path, family, nlri)
        state = OriginState.VALID if path.is_local else path.outcome.origin
        return export.told(Place(family, nlri, kind, state))

    def verdicts(
        self, family: Family, nlri: Nlri, selection: Selection
    ) -> Iterable[tuple[Path, Told]]:
        """The paths to a prefix that come into question here, and what becomes of each."""
        return [(selection.best, self.verdict(family, nlri, selection.best))]

    def _told(self, family: Family, nlri: Nlri, selection: Selection | None) -> Heard | None:
        if selection is None:
            return None
        path = selection.best
        attributes = self.verdict(family, nlri, path).attributes
        return (
            None if attributes is None else (attributes, "" if path.is_local else path.source.name)
        )

    def _tells(
        self,
        family: Family,
        gone: Mapping[tuple[str, str], list[Nlri]],
        news: Mapping[tuple[int, str], tuple[Attributes, list[Nlri]]],
        peers: Set[PeerName],
    ) -> list[Tell]:
        tells: dict[tuple[PeerName, ...], Tell] = {}
        others: dict[str, tuple[PeerName, ...]] = {}

        def tell(to: tuple[PeerName, ...]) -> Tell | None:
            if not to:
                return None
            return tells.setdefault(to, Tell(peers=to, rules=self.rules, family=family))

        def all_but(source: str) -> tuple[PeerName, ...]:
            if source not in others:
                others[source] = tuple(sorted(peers - {PeerName(source)}))
            return others[source]

        for (only, but), nlris in gone.items():
            found = tell(tuple(peers & {PeerName(only)}) if only else all_but(but))
            if found is not None:
                found.withdrawn += nlris
        for (_, source), (attributes, nlris) in news.items():
            found = tell(all_but(source))
            if found is not None:
                found.announced.append((attributes, nlris))
        return list(tells.values())
