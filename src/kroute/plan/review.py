"""Judging stored announcements again when the world around them changes: slice by slice, so that nobody is held up.

A new policy, origin check, kernel or own identity holds at once for whatever arrives from then on. What is stored
already is put on a list here and judged by :meth:`Review.advance`, some prefixes at a time; until its turn comes, a
prefix stays as it was decided. The law that makes any order right: each stored path is judged as the rules of this
moment would, or it is on the list. A change in the middle of a review only adds to the list, or takes the place of an
older entry that asked for no more; and what is left of a review is always done by the newest rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from kroute.model.net import Family, Nlri
from kroute.plan.adj_in import AdjRibIn
from kroute.plan.paths import Path
from kroute.plan.policy import Classes, Concern, ImportRules, OriginCheck, Self
from kroute.plan.policy.changes import concerned
from kroute.plan.policy.classes import Listed
from kroute.plan.resolve import Resolver

if TYPE_CHECKING:
    from kroute.plan.rib import Rib

MOST_JOBS = 4
"""Entries for one table of one peer; more become one that asks for everything, so that the list cannot grow."""


class Work(Enum):
    """What is to be done with stored prefixes."""

    ADMIT = auto()
    """Send them through the import pipeline again."""
    SETTLE = auto()
    """Resolve their next hops again."""
    ALL = auto()
    """Both, and decide them again, whatever comes of it."""
    DECIDE = auto()
    """Decide them again, with the paths that there are."""


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """An entry of the list. ``keys`` are the prefixes as they were when it was written, of which ``done`` are done."""

    work: Work
    adj_in: AdjRibIn | None
    """The peer's table; None: all candidates of the family."""
    family: Family
    keys: list[Nlri]
    only: Concern | None = None
    """Which prefixes to look at; None: all."""
    hops: frozenset[bytes] | None = None
    """Which next hops to look at; None: all."""
    done: int = 0
    first: int = 0
    """Where in the table the first of ``keys`` stood, as all of them are gone through in turn."""

    @property
    def left(self) -> int:
        """How many prefixes are still to be looked at."""
        return len(self.keys) - self.done

    def replaces(self, older: Job) -> bool:
        """Whether nothing of an older entry for the same table is left to do once this one is done."""
        whole = self.only is None and self.hops is None
        return whole and self.work in (Work.ALL, older.work)


class Review:
    """What is left to be judged again, and the changes that make it so."""

    def __init__(self, rib: Rib) -> None:
        self._rib = rib
        self._jobs: dict[tuple[int, Family], list[Job]] = {}
        """By table, in the order in which they began to wait."""

    @property
    def left(self) -> int:
        """Stored announcements that wait to be judged again; 0 when all are judged by what is known now."""
        return sum(job.left for jobs in list(self._jobs.values()) for job in list(jobs))

    @property
    def going_on(self) -> bool:
        """Whether any wait."""
        return bool(self._jobs)

    # --- what changes ---------------------------------------------------------------------------------

    def rejudge(self, ribs: Iterable[AdjRibIn], me: Self, resolver: Resolver) -> None:
        """Own identity or the kernel's networks changed: judge and resolve again the paths that it concerns."""
        rib = self._rib
        moved = resolver.differs(rib.resolver)
        same_self = me == rib.me
        rib.me, rib.resolver = me, resolver
        if same_self and moved is not None and not moved:
            return
        # Paths that stand in no table now, but may be announced again, see by it that they are out of date.
        rib.outdate()
        for adj_in in ribs:
            self._ask(Work.SETTLE, adj_in, hops=moved if same_self else None)

    def accept(self, adj_in: AdjRibIn, rules: ImportRules) -> None:
        """A peer's import rules changed: its stored announcements are judged by the new ones, no refresh needed."""
        if rules == adj_in.rules:
            return
        before, adj_in.rules = adj_in.rules, rules
        self._recheck(adj_in, concerned(before, rules))

    def check_origins(self, ribs: Iterable[AdjRibIn], check: OriginCheck) -> None:
        """The origin check has new data: judge again the stored announcements that it may see differently."""
        before = self._rib.origin_check
        changed = check.differs(before)
        self._rib.origin_check = check
        for adj_in in ribs:
            peer = adj_in.source.peer
            if peer is None or not (before.applies(peer) or check.applies(peer)):
                continue
            same_peers = before.applies(peer) and check.applies(peer)
            self._recheck(adj_in, changed if same_peers else None)

    def classify(self, ribs: Iterable[AdjRibIn], classes: Classes, *, told: bool) -> None:
        """Prefixes are something else to this node: ask those import rules again that ask for it.

        ``told``: what is told depends on it as well, so that the prefixes are decided again.
        """
        asking = [adj_in for adj_in in ribs if adj_in.rules.asks_kind]
        before, self._rib.classes = self._rib.classes, classes
        if not asking and not told:
            return
        changed = classes.differs(before)
        for adj_in in asking:
            self._recheck(adj_in, changed)
        for family in Family if told else ():
            known = self._rib.candidates[family]
            if changed is not None:
                self._rib.touch(family, changed.among(family, known))
            else:
                self._add(Job(work=Work.DECIDE, adj_in=None, family=family, keys=list(known)))

    def revisit(self, adj_in: AdjRibIn) -> None:
        """What is known of a peer itself changed: judge all its paths and decide all its prefixes again."""
        # Blocks that stand in no table themselves, but whose variants do, see by it that they are out of date.
        self._rib.outdate()
        self._rib.take_over(adj_in)
        self._ask(Work.ALL, adj_in)

    def _recheck(self, adj_in: AdjRibIn, only: Concern | None) -> None:
        self._rib.take_over(adj_in)
        self._ask(Work.ADMIT, adj_in, only=only)

    # --- the list ---------------------------------------------------------------------------------------

    def _ask(
        self,
        work: Work,
        adj_in: AdjRibIn,
        *,
        only: Concern | None = None,
        hops: frozenset[bytes] | None = None,
    ) -> None:
        for family, table in adj_in.tables.items():
            # A few prefixes by name are quicker found now than looked for among all.
            named = only.among(family, table) if isinstance(only, Listed) else table
            self._add(
                Job(work=work, adj_in=adj_in, family=family, keys=list(named), only=only, hops=hops)
            )

    def _add(self, job: Job) -> None:
        if not job.keys:
            return
        place = id(job.adj_in), job.family
        known = self._jobs.setdefault(place, [])
        if len(known) >= MOST_JOBS and job.adj_in is not None:
            keys = list(job.adj_in.tables[job.family])
            job = Job(work=Work.ALL, adj_in=job.adj_in, family=job.family, keys=keys)
        replaced = [older for older in known if job.replaces(older)]
        if replaced:
            # Begin where the older one stopped, and after all who have not begun: everything gets its turn, however
            # often it is asked for again.
            job.first = (replaced[0].first + replaced[0].done) % len(job.keys)
            job.keys = job.keys[job.first :] + job.keys[: job.first]
            if replaced[0].done:
                self._jobs[place] = self._jobs.pop(place)
        known[:] = [*(older for older in known if older not in replaced), job]

    def advance(self, most: int | None = None) -> None:
        """Judge so many stored prefixes again, those that wait longest first; None: all."""
        room = most
        while self._jobs and room != 0:
            place, jobs = next(iter(self._jobs.items()))
            job = jobs[0]
            keys = job.keys[job.done : None if room is None else job.done + room]
            job.done += len(keys)
            if not job.left:
                del jobs[0]
            if not jobs:
                del self._jobs[place]
            self._do(job, keys)
            if room is not None:
                room -= len(keys)

    def _do(self, job: Job, keys: list[Nlri]) -> None:
        if job.adj_in is None:
            self._rib.touch(job.family, keys)
            return
        table = job.adj_in.tables[job.family]
        some = {nlri: path for nlri in keys if (path := table.get(nlri)) is not None}
        if job.work is not Work.SETTLE:
            self._admit(job, some)
        if job.work is not Work.ADMIT:
            self._settle(job, [nlri for nlri in some if nlri in table])

    def _admit(self, job: Job, some: Mapping[Nlri, Path]) -> None:
        """Send prefixes through the import pipeline, all of an attribute block together."""
        assert job.adj_in is not None
        by_block: dict[int, tuple[Path, list[Nlri]]] = {}
        for nlri in some if job.only is None else job.only.among(job.family, some):
            block = some[nlri].base
            by_block.setdefault(id(block), (block, []))[1].append(nlri)
        for block, those in by_block.values():
            self._rib.admit(job.adj_in, job.family, block, those)

    def _settle(self, job: Job, keys: list[Nlri]) -> None:
        """Judge paths again, and have the prefixes decided of those that have become others."""
        assert job.adj_in is not None
        rib, table = self._rib, job.adj_in.tables[job.family]
        for path in {table[nlri] for nlri in keys}:
            if job.hops is None or path.hop in job.hops:
                rib.settle(path)
        everything = job.work is Work.ALL
        rib.touch(job.family, [n for n in keys if everything or table[n] in rib.stirred])
