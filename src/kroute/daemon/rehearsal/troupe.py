"""The reports of a cluster of principals and extras: principals first, then extras by what samples came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kroute.daemon.rehearsal.alike import Comparison
from kroute.daemon.rehearsal.casting import Casting, Group, Unsuited
from kroute.daemon.rehearsal.cluster import Cluster, Spread
from kroute.daemon.rehearsal.compare import report
from kroute.daemon.rehearsal.crowd import Crowd, Crowds, Custom, Sample, common, install, sample_of
from kroute.daemon.rehearsal.stage import Stage
from kroute.model.node import Node
from kroute.model.rehearsal import NodeReport


class Played(NamedTuple):
    """A principal's report, and of a sample what extras of its group have of it."""

    report: NodeReport
    before: Sample | None = None
    after: Sample | None = None
    news: frozenset[str] = frozenset()
    """Who tells it something else than before."""


class Troupe:
    """The nodes of two clusters, with their parts. ``before`` None: there was no cluster."""

    def __init__(
        self,
        casting: Casting,
        before: Cluster | None,
        after: Cluster,
        nodes: Mapping[str, Node],
    ) -> None:
        """``nodes``: all of them, before or after."""
        self._before, self._after = before, after
        self._comparison = Comparison()
        self._groups = casting.groups
        self._group_of = casting.group_of
        self._crowds = Crowds(casting, nodes)
        self._customs: dict[str, Custom] = {}
        """What each node's group does alike."""

    def reports(self, spread: Spread, wanted: Sequence[str]) -> list[NodeReport]:
        """The reports of some nodes; of all there are, where there are extras.

        Raises:
            Unsuited: nodes that are cast as extras are none.
        """
        extras = {name for group in self._groups for name in group.extras}
        principals = [name for name in wanted if name not in extras]
        played: dict[str, Played] = dict(
            zip(principals, spread(self._principal, principals), strict=True)
        )
        for group in self._groups:
            custom = self._custom(group, [played[name] for name in group.samples])
            self._customs |= dict.fromkeys((*group.extras, *group.samples), custom)
        self._prove(played)
        return [self._extra(n) if n in extras else played[n].report for n in wanted]

    def _custom(self, group: Group, samples: Sequence[Played]) -> Custom:
        was = [s.before for s in samples if s.before is not None]
        will = [s.after for s in samples if s.after is not None]
        return Custom(
            before=common(group, was, self._before.own if self._before is not None else {}),
            after=common(group, will, self._after.own),
            news=frozenset(name for sample in samples for name in sample.news),
        )

    def _prove(self, played: Mapping[str, Played]) -> None:
        """The proof of it: a sample that is looked at as if it were an extra must come to what it has come to."""
        for group in self._groups:
            if any(self._extra(name) != played[name].report for name in group.samples):
                raise Unsuited(group.extras)

    def _principal(self, name: str) -> Played:
        """A node that hears everybody in both clusters, unless it would learn the same in both."""
        old = self._before.stage(name) if self._before and name in self._before.nodes else None
        new = self._after.stage(name) if name in self._after.nodes else None
        alike, sample = self._is_alike(old, new), name in self._group_of
        if sample or not alike:
            if old is not None and self._before is not None:
                self._before.hears(old)
            if new is not None:
                self._after.hears(new)
        found = self._report(old, new, {}, counted=not alike)
        if not sample:
            return Played(found)
        was, will = (None if stage is None else sample_of(stage) for stage in (old, new))
        return Played(found, was, will, self._news(old, new))

    def _extra(self, name: str) -> NodeReport:
        """A node that has planned its sessions with principals alone, by what its group does alike."""
        custom = self._customs[name]
        old = self._before.extra(name) if self._before and name in self._before.nodes else None
        new = self._after.extra(name) if name in self._after.nodes else None
        alike = not custom.news - {name} and self._is_alike(old, new)
        for stage, kernel in ((old, custom.before), (new, custom.after)):
            if stage is not None:
                install(stage, kernel)
        return self._report(old, new, self._crowds.around(name, old, new), counted=not alike)

    def _report(
        self,
        old: Stage | None,
        new: Stage | None,
        crowd: Crowd,
        *,
        counted: bool,
    ) -> NodeReport:
        return report(old, new, self._before, self._after, self._comparison, crowd, counted=counted)

    def _is_alike(self, old: Stage | None, new: Stage | None) -> bool:
        if self._before is None or old is None or new is None:
            return False
        return self._comparison.alike(self._before, old, self._after, new)

    def _news(self, old: Stage | None, new: Stage | None) -> frozenset[str]:
        if self._before is None or old is None or new is None:
            return frozenset()
        return self._comparison.news(self._before, old, self._after, new)
