"""The one thread that writes, reads and listens. The event loop only hands changes over and is never waited for.

Its turn: take the changes that came in, write them; hear events; compare the whole table when that is due; sleep.
"""

from __future__ import annotations

import os
import select
import threading
from asyncio import Future
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from time import monotonic
from typing import NamedTuple

from kroute.codec.rtnetlink import MalformedMessage
from kroute.codec.rtnetlink_route import RouteEvent, effective_metric
from kroute.drivers.fib.compare import Difference, difference, same, taken_over
from kroute.drivers.fib.ledger import Ledger, Stray
from kroute.drivers.fib.monitor import LinkTouched, Monitor, ObjectTouched, RouteTouched
from kroute.drivers.fib.table import KernelTable
from kroute.drivers.netlink import Overrun
from kroute.model.errors import DriverError
from kroute.model.fib import Nexthop, Nexthops, RouteFailure
from kroute.model.net import Family, Nlri

Changes = dict[Nlri, Nexthops | None]

_SETTLE = 0.06
"""Seconds between a link's change and the comparison: changes come in flocks."""
_DUTY = 9
"""A comparison that took t seconds is followed by none for 9 t: at most a tenth of the time is spent so."""
_LONGEST_WAIT = 5.0
_RETRY_AFTER_ERROR = 1.0
_EXAMPLES = 3


class Diversion(NamedTuple):
    """All routes over a leg shall take another, at once; None: no longer."""

    family: Family
    lost: Nexthop
    instead: Nexthop | None


@dataclass(slots=True)
class Tally:
    """Numbers that the writer counts up; read by anyone."""

    last_sync: float | None = None
    sync_seconds: float = 0.0
    syncs: int = 0
    heals: int = 0
    overruns: int = 0
    adopted: int = 0
    error: str = ""
    failures: tuple[RouteFailure, ...] = ()
    """Examples of what failed."""


@dataclass(slots=True)
class Shared:
    """What the event loop and the writer both touch, under ``lock``."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    desired: dict[Family, dict[Nlri, Nexthops]] = field(
        default_factory=lambda: {family: {} for family in Family}
    )
    dirty: dict[Family, Changes] = field(default_factory=lambda: {family: {} for family in Family})
    complete: bool = False
    """Removals are allowed."""
    compare: bool = True
    """Somebody asked for a comparison."""
    closing: bool = False
    asleep: bool = False
    """The writer waits in poll and must be woken."""
    quiet: bool = False
    """When it fell asleep, nothing but the next audit was due."""
    diversions: list[Diversion] = field(default_factory=list)
    """Told by the event loop, not yet carried out."""
    waiters: list[Future[None]] = field(default_factory=list)
    """Resolved when it falls asleep so."""


class Writer(threading.Thread):
    """See the module.

    ``on_rest`` is called in this thread whenever the writer goes to sleep, with the waiters whose wait is over;
    ``on_end`` as the last thing of all.
    """

    def __init__(
        self,
        *,
        table: KernelTable,
        monitor: Monitor,
        shared: Shared,
        audit_interval: float,
        on_rest: Callable[[list[Future[None]]], None],
        on_end: Callable[[], None],
    ) -> None:
        """Get ready; :meth:`start` starts. The thread owns both sockets from then on."""
        super().__init__(name="fib", daemon=True)
        self.tally = Tally()
        self.crash: Exception | None = None
        """What ended the thread before it was told to end: a bug."""
        self._table, self._monitor, self._shared = table, monitor, shared
        self._audit_interval, self._on_rest, self._on_end = audit_interval, on_rest, on_end
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        self._poll.register(monitor.fileno(), select.POLLIN)
        self._compare_at = monotonic()
        self._settling = True
        """A comparison is due for a reason, not just as an audit."""
        self._retry_at: float | None = None
        self._written_meanwhile: dict[Family, set[Nlri]] | None = None

    def wake(self) -> None:
        """Make the writer look again; from any thread."""
        os.eventfd_write(self._wake, 1)

    def run(self) -> None:
        """Work until told to close; then close the sockets."""
        try:
            while not self._shared.closing:
                self._turn()
        except Exception as crash:  # noqa: BLE001  told to whoever awaits run() or quiesced()
            self.crash = crash
        finally:
            self._on_end()

    def dispose(self) -> None:
        """Close the sockets, once the thread has ended or if it never began."""
        self._monitor.close()
        self._table.close()
        os.close(self._wake)

    def _turn(self) -> None:
        try:
            self._hear()
            if self.tally.syncs:
                self._divert()
                self._write_dirty()
            self._compare_if_due()
            self._retry_if_due()
        except Overrun as lost:
            self.tally.overruns += 1
            self._compare_by(monotonic() + _SETTLE)
            self.tally.error = str(lost)
        except (DriverError, MalformedMessage) as failure:
            self.tally.error = str(failure)
            self._compare_by(monotonic() + _RETRY_AFTER_ERROR)
        self._sleep()

    # --- changes from the event loop

    def _take(self) -> dict[Family, Changes]:
        shared = self._shared
        with shared.lock:
            work, shared.dirty = shared.dirty, {family: {} for family in Family}
        return work

    def _divert(self) -> None:
        """Before all other writing: one message each saves more packets than anything else could."""
        shared, objects = self._shared, self._table.objects
        with shared.lock:
            diversions, shared.diversions = shared.diversions, []
        if objects is not None:
            for family, lost, instead in diversions:
                objects.divert(family, lost, instead)

    def _write_dirty(self) -> None:
        """Write all that came in, also what comes in while writing."""
        while any(self._shared.dirty.values()) and not self._shared.closing:
            for family, changes in self._take().items():
                if changes:
                    self._write(family, changes)

    def _write(self, family: Family, changes: Mapping[Nlri, Nexthops | None]) -> None:
        if self._written_meanwhile is not None:
            self._written_meanwhile[family].update(changes)
        self._table.write(family, changes)
        if self._table.ledgers[family].contested:
            ours = self._table.settle_contested(family)
            desired = self._shared.desired[family]
            again = {nlri: want for nlri in ours if (want := desired.get(nlri)) is not None}
            self._table.write(family, again)

    # --- events

    def _hear(self) -> None:
        touched: set[int] = set()
        healed: dict[Family, Changes] = {family: {} for family in Family}
        try:
            for event in self._monitor.events():
                if isinstance(event, LinkTouched):
                    touched.add(event.ifindex)
                elif isinstance(event, ObjectTouched):
                    self._compare_by(monotonic() + _SETTLE)
                else:
                    self._route_touched(*event, healed)
        finally:
            self._links_touched(touched)
            for family, changes in healed.items():
                if changes:
                    self._write(family, changes)

    def _links_touched(self, indexes: set[int]) -> None:
        oifs = self._table.oifs
        concerns = not indexes.isdisjoint(oifs) or (indexes and 0 in oifs)
        if concerns or (indexes and self._unwritten() and self._table.objects is not None):
            self._compare_by(monotonic() + _SETTLE)
        elif indexes and self._unwritten():
            self._retry_at = self._retry_at or monotonic() + _SETTLE

    def _route_touched(
        self, what: RouteTouched, event: RouteEvent, healed: dict[Family, Changes]
    ) -> None:
        family, nlri = event.family, event.nlri
        ledger, shared = self._table.ledgers[family], self._shared
        want = shared.desired[family].get(nlri)
        match what:
            case RouteTouched.TAKEN:
                if ledger.installed.pop(nlri, None) is not None and want is not None:
                    ledger.foreign[nlri] = event.form.protocol
            case RouteTouched.VACATED:
                if nlri in ledger.foreign:
                    healed[family][nlri] = want
            case RouteTouched.ASIDE:
                if nlri in ledger.aside or nlri in ledger.foreign:
                    self._compare_by(monotonic() + _SETTLE)
            case RouteTouched.LOST:
                ledger.installed.pop(nlri, None)
                if event.added:
                    self._changed_under_our_mark(event, want, healed)
                elif want is not None and nlri not in ledger.aside:
                    self.tally.heals += 1
                    healed[family][nlri] = want

    def _changed_under_our_mark(
        self, event: RouteEvent, want: Nexthops | None, healed: dict[Family, Changes]
    ) -> None:
        """Somebody wrote a route with our protocol and metric; it stays only if it is what we want."""
        held = self._table.nexthops_of(event.form)
        self._table.ledgers[event.family].installed[event.nlri] = held
        if want is None and not self._shared.complete:
            return
        if want is None or not same(want, held):
            self.tally.heals += 1
            healed[event.family][event.nlri] = want

    # --- comparisons

    def _compare_by(self, moment: float) -> None:
        tally = self.tally
        if tally.last_sync is not None:
            rest = min(_DUTY * tally.sync_seconds, _LONGEST_WAIT)
            moment = max(moment, tally.last_sync + rest)
        self._compare_at = min(self._compare_at, moment)
        self._settling = True

    def _compare_if_due(self) -> None:
        shared = self._shared
        if shared.compare:
            self._compare_at = 0.0
        if monotonic() < self._compare_at:
            return
        with shared.lock:
            shared.compare = False
        self._compare_at = monotonic() + self._audit_interval
        self._retry_at = None
        self._settling = False
        started = monotonic()
        used = {nhid for family in Family for nhid in self._compare(family)}
        if shared.complete and self._table.objects is not None:
            desired = {family: dict(routes) for family, routes in shared.desired.items()}
            ways = [(family, set(routes.values())) for family, routes in desired.items()]
            self._table.prune_objects(used, ways)
        tally = self.tally
        tally.last_sync, tally.sync_seconds = monotonic(), monotonic() - started
        tally.syncs += 1
        tally.error = ""

    def _compare(self, family: Family) -> set[int]:
        """Read a family and write what differs; the nexthop objects that its routes used until then."""
        table, shared = self._table, self._shared
        ledger = table.ledgers[family]
        meanwhile: dict[Family, set[Nlri]] = {each: set() for each in Family}
        self._written_meanwhile = meanwhile if self.tally.syncs else None
        try:
            reading = table.read(family, self._write_dirty if self.tally.syncs else _nothing)
        finally:
            self._written_meanwhile = None
        with shared.lock:
            desired = dict(shared.desired[family])
        taken = taken_over(family, table.metric, reading.strays, table.table)
        found = difference(desired, reading, taken, partial(table.place_of, family))
        _keep_recent(found, ledger, meanwhile[family])
        if not self.tally.syncs:
            self.tally.adopted += found.adopted
        ledger.installed, ledger.aside = found.installed, found.aside
        for place, nlris in found.superseded.items():
            reading.strays[Stray(table.protocol, place.metric, place.table)] = nlris
        ledger.failed.clear()
        ledger.foreign.clear()
        self._write(family, found.missing)
        if shared.complete:
            self._remove_stale(family, reading.strays)
        return reading.nhids

    def _remove_stale(self, family: Family, strays: Mapping[Stray, list[Nlri]]) -> None:
        """What bears our mark and nobody wants; strays only once their place is filled."""
        ledger, desired = self._table.ledgers[family], self._shared.desired[family]
        stale = [nlri for nlri in ledger.held() if nlri not in desired]
        self._write(family, dict.fromkeys(stale))
        own = self._table.table, effective_metric(family, self._table.metric)
        for mark, nlris in strays.items():
            in_place = (mark.table, mark.metric) == own
            kept = desired.keys() - ledger.aside.keys() if in_place and ledger.aside else desired
            unfilled = kept if in_place else {*ledger.failed, *ledger.foreign}
            gone = [nlri for nlri in nlris if nlri not in desired or nlri not in unfilled]
            self._table.remove_strays(family, mark, gone)

    # --- what failed

    def _unwritten(self) -> bool:
        return any(ledger.failed or ledger.foreign for ledger in self._table.ledgers.values())

    def _retry_if_due(self) -> None:
        if self._retry_at is None or monotonic() < self._retry_at:
            return
        self._retry_at = None
        for family, ledger in self._table.ledgers.items():
            desired = self._shared.desired[family]
            again = {nlri: desired.get(nlri) for nlri in (*ledger.failed, *ledger.foreign)}
            self._write(family, again)

    # --- sleep

    def _sleep(self) -> None:
        shared = self._shared
        with shared.lock:
            told = any(shared.dirty.values()) or shared.diversions
            waiting = bool(self.tally.syncs) and told
            if waiting or shared.compare or shared.closing:
                return
            shared.asleep = True
            shared.quiet = self._retry_at is None and not self._settling
            waiters: list[Future[None]] = []
            if shared.quiet:
                waiters, shared.waiters = shared.waiters, []
        self.tally.failures = examples(self._table.ledgers)
        self._on_rest(waiters)
        due = min(self._compare_at, self._retry_at or self._compare_at)
        ready = self._poll.poll(max(0.0, due - monotonic()) * 1000)
        shared.asleep = False
        if any(descriptor == self._wake for descriptor, _ in ready):
            os.eventfd_read(self._wake)


def _keep_recent(found: Difference, ledger: Ledger, recent: set[Nlri]) -> None:
    """What was written while the dump was read is known better than the dump knows it."""
    for nlri in recent:
        found.missing.pop(nlri, None)
        found.installed.pop(nlri, None)
        if (have := ledger.installed.get(nlri)) is not None:
            found.installed[nlri] = have
        found.aside.pop(nlri, None)
        if (there := ledger.aside.get(nlri)) is not None:
            found.aside[nlri] = there


def examples(ledgers: Mapping[Family, Ledger]) -> tuple[RouteFailure, ...]:
    """The first few of what failed and of what is kept out, of each family."""
    found = []
    for family, ledger in ledgers.items():
        for nlri, reason in islice(ledger.failed.items(), _EXAMPLES):
            found.append(RouteFailure(family=family, nlri=nlri, reason=reason))
        for nlri, owner in islice(ledger.foreign.items(), _EXAMPLES):
            reason = f"protocol {owner} holds this prefix with our metric"
            found.append(RouteFailure(family=family, nlri=nlri, reason=reason, owner=owner))
    return tuple(found)


def _nothing() -> None:
    """Before the first comparison nothing may be written: what is there is not known yet."""
