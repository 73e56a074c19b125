"""What this node announces of its own, as paths in the RIB: prefixes that are told alike share one."""

from __future__ import annotations

from collections.abc import Iterable

from kroute.model.net import Family, Nlri, family_of, nlri_of
from kroute.model.policies import OriginClass
from kroute.model.state import Origination
from kroute.plan.adj_in import AdjRibIn
from kroute.plan.paths import Path
from kroute.plan.rib import Rib


class OwnRoutes:
    """The node's own table. ``sources`` says in words why each prefix is there."""

    def __init__(self, rib: Rib) -> None:
        self.adj_in = AdjRibIn(None)
        self.sources: dict[tuple[Family, Nlri], str] = {}
        self._rib = rib
        self._paths: dict[tuple[object, ...], Path] = {}
        """Local paths by all that tells them apart; thousands of prefixes share a few."""

    def take(self, wanted: Iterable[Origination], *, complete: bool, pending: bool) -> None:
        """Take over what is wanted; ``complete``: absence now means withdrawal, but not of services while something of
        them is ``pending``.
        """
        sources: dict[tuple[Family, Nlri], str] = {}
        news: dict[tuple[Family, Path], list[Nlri]] = {}
        for wish in wanted:
            family, nlri = family_of(wish.prefix), nlri_of(wish.prefix)
            sources[family, nlri] = wish.source
            path = self._path(wish)
            if self.adj_in.tables[family].get(nlri) is not path:
                news.setdefault((family, path), []).append(nlri)
        for (family, path), nlris in news.items():
            self._rib.learn(self.adj_in, family, path, nlris)
        if complete:
            for family, table in self.adj_in.tables.items():
                gone = [n for n, path in table.items() if (family, n) not in sources]
                kept = {n for n in gone if pending and _is_service(table[n])}
                self._rib.forget(self.adj_in, family, [n for n in gone if n not in kept])
            self._forget_paths()
        self.sources = sources if complete and not pending else {**self.sources, **sources}

    def _path(self, wish: Origination) -> Path:
        """The local path that all wishes share which differ in prefix and source only."""
        key = (wish.kind, wish.attributes, wish.internal, wish.blackhole)
        path = self._paths.get(key)
        if path is None:
            path = self._paths[key] = self._rib.judge(self.adj_in, wish.attributes)
            path.origination = wish
            if wish.blackhole:
                path.nexthops = ()
        return path

    def _forget_paths(self) -> None:
        """Drop the local paths of which no prefix is left."""
        used = {id(path) for table in self.adj_in.tables.values() for path in table.values()}
        self._paths = {k: p for k, p in self._paths.items() if id(p) in used}


def _is_service(path: Path) -> bool:
    """Whether a local path is that of a service's address."""
    return path.origination is not None and path.origination.kind is OriginClass.SERVICE
