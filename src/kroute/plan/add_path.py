"""Several paths to a prefix from one peer (RFC 7911, receive).

The tables below know one path of a source to a prefix. So the paths that a peer tells to one prefix are spread over
sources: the first free place is the peer's own Adj-RIB-In, the next ones lie in further ones that exist as long as the
session does. When it ends, what is left of them is folded into the first, so that graceful restart, limits and all else
that looks at a peer between sessions sees one table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
                place = _lowest_free(ids)
                if place >= MOST:
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
        """The peer's parameters or rules changed: the further tables take them over from the first."""
        first = self.ribs[0]
        for more in self.ribs[1:]:
            more.limit = first.limit
            more.source.adopt(first.source.peer)
            more.source.router_id, more.source.pass_on = (
                first.source.router_id,
                first.source.pass_on,
            )

    def fold(self, rib: Rib) -> None:
        """The session is over: keep one path to each prefix, in the first table."""
        first = self.ribs[0]
        for more in self.ribs[1:]:
            for family, table in more.tables.items():
                for nlri, path in list(table.items()):
                    if nlri not in first.tables[family]:
                        kept = rib.judge(first, path.base.attributes)
                        rib.learn(first, family, kept, (nlri,))
                rib.forget(more, family, list(table))
        del self.ribs[1:]
        self._ids = {f: {} for f in Family}
        self._twins.clear()
        self.ignored = 0

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
