"""Several paths to a prefix from one peer (RFC 7911, receive).

The tables below know one path of a source to a prefix. So the paths that a peer tells to one prefix are spread over
sources: the first free place is the peer's own Adj-RIB-In, the next ones lie in further ones that exist as long as the
session does, or as stale paths of it stay (RFC 4724): all of them, so that traffic stays shared while a reflector
restarts. A new session without path identifiers in a family folds what is left of it into the first table.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import Final

from kroute.model.net import Family, Nlri
from kroute.plan.adj_in import AdjRibIn
from kroute.plan.paths import Path
from kroute.plan.rib import Rib

MOST: Final = 16
"""Paths to one prefix that are kept of one peer; further ones are counted and ignored."""

ID_SIZE: Final = 4
"""Octets of a path identifier, which stands before the prefix (RFC 7911 §3)."""

_TWINS: Final = 8192


class Places:
    """Where the paths of one peer are: which Adj-RIB-In holds which path identifier of a prefix."""

    def __init__(self, first: AdjRibIn) -> None:
        self.ribs = [first]
        """The peer's own Adj-RIB-In, and the further ones."""
        self.ignored = 0
        """Announcements of paths beyond :data:`MOST` in the present session."""
        self._ids: dict[Family, dict[Nlri, dict[bytes, int]]] = {f: {} for f in Family}
        self._twins: dict[tuple[int, Path], Path] = {}

    def learn(self, rib: Rib, family: Family, path: Path, entries: Iterable[bytes]) -> None:
        """The peer announces prefixes, each with its path identifier before it, with a judged attribute block."""
        found: dict[int, list[Nlri]] = {}
        for entry in entries:
            key, nlri = entry[:ID_SIZE], entry[ID_SIZE:]
            ids = self._ids[family].setdefault(nlri, {})
            place = ids.get(key)
            if place is None:
                place = self._free_place(family, nlri, ids)
                if place is None:
                    self.ignored += 1
                    continue
                ids[key] = place
            found.setdefault(place, []).append(nlri)
        for place, nlris in found.items():
            rib.learn(self._rib(rib, place), family, self._twin(rib, place, path), nlris)

    def forget(self, rib: Rib, family: Family, entries: Iterable[bytes]) -> None:
        """The peer withdraws paths; unknown ones are no error."""
        found: dict[int, list[Nlri]] = {}
        for entry in entries:
            nlri = entry[ID_SIZE:]
            ids = self._ids[family].get(nlri, {})
            place = ids.pop(entry[:ID_SIZE], None)
            if not ids:
                self._ids[family].pop(nlri, None)
            if place is not None:
                found.setdefault(place, []).append(nlri)
        for place, nlris in found.items():
            if place < len(self.ribs):
                rib.forget(self.ribs[place], family, nlris)

    def follow(self) -> None:
        """What is known of the peer, or its parameters, changed: the further tables take it over from the first."""
        first = self.ribs[0]
        for more in self.ribs[1:]:
            more.limit, source = first.limit, more.source
            source.adopt(first.source.peer)
            source.router_id = first.source.router_id
            source.pass_on, source.leaving = first.source.pass_on, first.source.leaving

    def rest(self, rib: Rib, kept: Container[Family]) -> None:
        """The session is over: all paths of families that are kept are stale now, the others go."""
        for table in self.ribs:
            for family, known in table.tables.items():
                if family in kept and known:
                    table.stale[family] = set(known)
                else:
                    table.stale.pop(family, None)
                    rib.forget(table, family, list(known))
        self._ids = {f: self._held(f) for f in Family}
        self._twins.clear()
        self.ignored = 0
        self._shrink()

    def sweep(self, rib: Rib, family: Family) -> None:
        """What is still stale in a family goes."""
        ids = self._ids[family]
        for place, table in enumerate(self.ribs):
            gone = table.stale.pop(family, set())
            for nlri in gone:
                left = {k: p for k, p in ids.get(nlri, {}).items() if p != place}
                if left:
                    ids[nlri] = left
                else:
                    ids.pop(nlri, None)
            rib.forget(table, family, gone)
        self._shrink()

    def fold(self, rib: Rib, family: Family) -> None:
        """A new session has no path identifiers in a family: one stale path to each prefix stays."""
        first = self.ribs[0]
        for more in self.ribs[1:]:
            table = more.tables[family]
            for nlri, path in list(table.items()):
                if nlri not in first.tables[family]:
                    kept = rib.judge(first, path.base.attributes)
                    rib.learn(first, family, kept, (nlri,))
                    first.stale.setdefault(family, set()).add(nlri)
            rib.forget(more, family, list(table))
            more.stale.pop(family, None)
        self._ids[family].clear()
        self._shrink()

    def has_ids(self, family: Family) -> bool:
        """Whether what the peer has told in a family had identifiers."""
        return bool(self._ids[family])

    def entries(self, family: Family) -> Iterator[bytes]:
        """All that the peer has told in a family with identifiers, each before its prefix."""
        return (key + nlri for nlri, ids in self._ids[family].items() for key in ids)

    def paths_to(self, family: Family, nlri: Nlri) -> Iterator[tuple[int | None, Path]]:
        """The peer's paths to a prefix, each with its identifier; None where it told none."""
        known = {place: key for key, place in self._ids[family].get(nlri, {}).items()}
        for place, rib in enumerate(list(self.ribs)):
            path = rib.tables[family].get(nlri)
            if path is not None:
                key = known.get(place)
                yield None if key is None else int.from_bytes(key, "big"), path

    @property
    def paths(self) -> int:
        """Paths that the peer's tables hold in all."""
        return sum(map(len, self.ribs))

    def _held(self, family: Family) -> dict[Nlri, dict[bytes, int]]:
        """The identifiers whose paths are there: others were refused for the limit of prefixes."""
        tables = [rib.tables[family] for rib in self.ribs]
        found: dict[Nlri, dict[bytes, int]] = {}
        for nlri, ids in self._ids[family].items():
            held = {k: p for k, p in ids.items() if p < len(tables) and nlri in tables[p]}
            if held:
                found[nlri] = held
        return found

    def _free_place(self, family: Family, nlri: Nlri, ids: dict[bytes, int]) -> int | None:
        """A place for one more path to a prefix: a free one, else that of a stale path; None where there is neither."""
        lowest = _lowest_free(ids)
        if lowest < MOST:
            return lowest
        for key, place in ids.items():
            if place < len(self.ribs) and nlri in self.ribs[place].stale.get(family, ()):
                del ids[key]
                return place
        return None

    def _shrink(self) -> None:
        """Further tables without a path are not needed."""
        while len(self.ribs) > 1 and not len(self.ribs[-1]):
            self.ribs.pop()

    def _rib(self, rib: Rib, place: int) -> AdjRibIn:
        first = self.ribs[0]
        while place >= len(self.ribs):
            more = AdjRibIn(first.source.peer, first.rules)
            more.source.place = len(self.ribs)
            self.ribs.append(more)
            self.follow()
            rib.take_over(more)
        return self.ribs[place]

    def _twin(self, rib: Rib, place: int, path: Path) -> Path:
        """The same block as the path of another place's source."""
        if not place:
            return path
        found = self._twins.get((place, path))
        if found is None:
            if len(self._twins) >= _TWINS:
                self._twins.clear()
            found = rib.judge(self.ribs[place], path.attributes)
            self._twins[place, path] = found
        return found


def _lowest_free(ids: dict[bytes, int]) -> int:
    taken = set(ids.values())
    return next(place for place in range(len(taken) + 1) if place not in taken)
