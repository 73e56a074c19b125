"""The driver as the daemon sees it: called from the event loop, never waits for the kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from kroute.drivers.fib.lookup import lookup
from kroute.drivers.fib.monitor import Monitor
from kroute.drivers.fib.table import KernelTable
from kroute.drivers.fib.writer import Diversion, Shared, Writer
from kroute.model.fib import FibState, Lookup, Nexthop, Nexthops, Placed, RouteFailure
from kroute.model.net import Address, Family, Nlri, prefix_of
from kroute.model.problem import Problem, Severity


class Fib:
    """Keeps the routes that bear our mark in one kernel table equal to what is desired.

    The mark is the protocol id; ``former_protocols`` are ids whose routes are ours as well, to be taken over or
    removed. All methods but :meth:`close` belong to the event loop's thread. A place (prefix, table, metric)
    that another protocol holds is never taken; it becomes a problem, and ours as soon as it is vacated.
    """

    def __init__(
        self,
        *,
        protocol: int = 201,
        table: int = 254,
        metric: int = 201,
        former_protocols: tuple[int, ...] = (),
        nexthop_objects: bool = False,
        audit_interval: float = 60.0,
        event_buffer: int = 8 << 20,
        netns: str | None = None,
        on_state: Callable[[FibState], None] | None = None,
    ) -> None:
        """Open the sockets; nothing is read or written before :meth:`start`.

        Args:
            protocol: rtm_protocol of our routes.
            table: routing table id.
            metric: our own metric; 0 means the kernel's default.
            former_protocols: ids of earlier configurations.
            nexthop_objects: let routes point at kernel nexthop objects; see :meth:`divert`.
            audit_interval: seconds between comparisons of the whole table.
            event_buffer: octets of events that the kernel keeps for us.
            netns: path of a network namespace to work in, for tests.
            on_state: called in the event loop whenever the writer has come to rest.

        Raises:
            Unsupported: no CAP_NET_ADMIN, or no netlink.
        """
        self.protocol, self.table, self.metric = protocol, table, metric
        self.protocols = frozenset({protocol, *former_protocols})
        self._options: dict[str, Any] = {
            "protocol": protocol,
            "table": table,
            "metric": metric,
            "former_protocols": former_protocols,
            "nexthop_objects": nexthop_objects,
            "netns": netns,
        }
        self._kernel = KernelTable(**self._options)
        monitor = Monitor(
            port=self._kernel.port,
            protocol=protocol,
            table=table,
            metric=metric,
            buffer=event_buffer,
            nexthop_objects=nexthop_objects,
            netns=netns,
        )
        self._shared = Shared()
        self._on_state = on_state
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Future[None] | None = None
        self._writer = Writer(
            table=self._kernel,
            monitor=monitor,
            shared=self._shared,
            audit_interval=audit_interval,
            on_rest=self._rests,
            on_end=self._ends,
        )

    def start(self) -> None:
        """Start the writer: it reads the table first, then writes what it was told. Needs a running loop."""
        self._loop = asyncio.get_running_loop()
        self._writer.start()

    async def run(self) -> None:
        """Start and stay until cancelled, for a TaskGroup.

        Raises:
            RuntimeError: the writer ended by a bug, which is the cause.
        """
        self.start()
        self._ended = asyncio.get_running_loop().create_future()
        try:
            await self._ended
        finally:
            await asyncio.to_thread(self.close)
        raise RuntimeError("the FIB writer ended") from self._writer.crash

    def close(self) -> None:
        """Stop the writer once its present batch is done. Nothing is removed from the kernel (law 4)."""
        with self._shared.lock:
            if self._shared.closing:
                return
            self._shared.closing = True
        if self._writer.is_alive():
            self._writer.wake()
            self._writer.join()
        self._writer.dispose()

    def update(self, family: Family, changes: Mapping[Nlri, Nexthops | None]) -> None:
        """Desire these routes, and no longer those with None. The last word on a prefix counts.

        Removal of a route that was desired in this life is carried out even before in sync; that of any
        other waits for :meth:`complete` or :meth:`release`.
        """
        shared = self._shared
        with shared.lock:
            desired, dirty = shared.desired[family], shared.dirty[family]
            if None in changes.values():
                for nlri, nexthops in changes.items():
                    if nexthops is not None:
                        desired[nlri] = dirty[nlri] = nexthops
                    elif desired.pop(nlri, None) is not None:
                        dirty[nlri] = None
            else:
                desired.update(changes)  # type: ignore[arg-type]
                dirty.update(changes)
        self._nudge()

    def release(self, family: Family, nlris: Iterable[Nlri]) -> None:
        """These routes of an earlier life may go although we are not in sync; desired ones stay."""
        shared = self._shared
        with shared.lock:
            desired, dirty = shared.desired[family], shared.dirty[family]
            dirty.update((nlri, None) for nlri in nlris if nlri not in desired)
        self._nudge()

    def leftovers(self, family: Family) -> dict[Nlri, Nexthops]:
        """Routes of an earlier life that nobody desires and that wait to be removed, as far as we know."""
        held, desired = self._kernel.ledgers[family].held(), self._shared.desired[family]
        return {nlri: legs for nlri, legs in held.items() if nlri not in desired}

    def divert(self, family: Family, lost: Nexthop, instead: Nexthop | None) -> None:
        """Let all routes over a leg (of any weight) take another at once; None: let them take it again.

        One message to the kernel, however many routes; what is desired stays as it is, and each route
        follows its next :meth:`update`. Without nexthop objects this does nothing.
        """
        with self._shared.lock:
            self._shared.diversions.append(Diversion(family, lost, instead))
        self._nudge()

    def complete(self, in_sync: bool) -> None:
        """Whether what is desired is all there is, so that own routes nobody desires may go (law 2)."""
        with self._shared.lock:
            if in_sync and not self._shared.complete:
                self._shared.compare = True
            self._shared.complete = in_sync
        self._nudge()

    def resync(self) -> None:
        """Compare the whole table as soon as possible."""
        with self._shared.lock:
            self._shared.compare = True
        self._nudge()

    async def quiesced(self) -> None:
        """Return once all that was told is written or refused and nothing but the next audit is due.

        Returns at once where no writer runs.

        Raises:
            RuntimeError: the writer ended by a bug, which is the cause.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._writer.is_alive():
            with self._shared.lock:
                self._shared.waiters.append(waiter)
            self._writer.wake()
            await waiter
        if self._writer.crash is not None:
            raise RuntimeError("the FIB writer ended") from self._writer.crash

    def desired(self, family: Family) -> Mapping[Nlri, Nexthops]:
        """What is desired now; a live view."""
        return MappingProxyType(self._shared.desired[family])

    async def installed(self, family: Family) -> dict[Nlri, Nexthops]:
        """What the kernel holds under our mark, dumped for the asking (about 1 ms per 1,000 routes).

        Of several routes for one prefix it is the one that stands where it is desired.

        Raises:
            DriverError: the kernel did not answer.
        """
        return await asyncio.to_thread(self._installed, family)

    def lookup(self, address: Address) -> Lookup:
        """The route by which the kernel forwards an address, ours or another's. Waits for the kernel; any thread.

        Raises:
            DriverError: the kernel did not answer.
        """
        return lookup(address, self._options["netns"])

    def believed(self, family: Family, nlri: Nlri) -> Nexthops | None:
        """What the kernel holds for one prefix as far as we know, without asking it."""
        ledger = self._kernel.ledgers[family]
        return ledger.installed.get(nlri, ledger.aside.get(nlri))

    def failure(self, family: Family, nlri: Nlri) -> RouteFailure | None:
        """Why a desired route is not in the kernel, if it is not and that is known."""
        ledger = self._kernel.ledgers[family]
        if (reason := ledger.failed.get(nlri)) is not None:
            return RouteFailure(family=family, nlri=nlri, reason=reason)
        if (owner := ledger.foreign.get(nlri)) is not None:
            reason = f"protocol {owner} holds this prefix with our metric"
            return RouteFailure(family=family, nlri=nlri, reason=reason, owner=owner)
        return None

    def state(self) -> FibState:
        """How things stand."""
        tally, ledgers, shared = self._writer.tally, self._kernel.ledgers, self._shared
        with shared.lock:
            pending = sum(map(len, shared.dirty.values()))
            desired = {family: len(routes) for family, routes in shared.desired.items()}
            rests = shared.asleep and shared.quiet and not pending
        return FibState(
            complete=shared.complete,
            synced=rests and tally.last_sync is not None and not tally.error,
            pending=pending,
            desired=desired,
            installed={
                f: len(ledger.installed) + len(ledger.aside) for f, ledger in ledgers.items()
            },
            failed=sum(len(ledger.failed) for ledger in ledgers.values()),
            foreign=sum(len(ledger.foreign) for ledger in ledgers.values()),
            failures=tally.failures,
            last_sync=tally.last_sync,
            sync_seconds=tally.sync_seconds,
            syncs=tally.syncs,
            batches=self._kernel.batches,
            written=self._kernel.written,
            heals=tally.heals,
            overruns=tally.overruns,
            adopted=tally.adopted,
            nexthop_objects=len(self._kernel.objects or ()),
            error=tally.error,
        )

    # --- inside

    def _nudge(self) -> None:
        """Wake the writer if it sleeps, and only then: it costs a system call."""
        if self._shared.asleep:
            self._shared.asleep = False
            self._writer.wake()

    def _installed(self, family: Family) -> dict[Nlri, Nexthops]:
        reader = KernelTable(**self._options)
        try:
            reading = reader.read(family)
        finally:
            reader.close()
        desired = self._shared.desired[family]
        found = reading.own
        for nlri, have in found.items():
            want = desired.get(nlri)
            if type(want) is Placed and reader.place_of(family, want) is None:
                found[nlri] = Placed(have, want.place)
        for place, routes in reading.aside.items():
            for nlri, have in routes.items():
                want = desired.get(nlri)
                if isinstance(want, Placed) and reader.place_of(family, want) == place:
                    found[nlri] = Placed(have, want.place)
                else:
                    found.setdefault(nlri, Placed(have, place))
        return found

    def _rests(self, waiters: list[asyncio.Future[None]]) -> None:
        """In the writer's thread: it has gone to sleep."""
        self._call(self._report, waiters)

    def _ends(self) -> None:
        """In the writer's thread: it will do no more."""
        self._call(self._end)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    def _report(self, waiters: list[asyncio.Future[None]]) -> None:
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        if self._on_state is not None:
            self._on_state(self.state())

    def _end(self) -> None:
        with self._shared.lock:
            waiters, self._shared.waiters = self._shared.waiters, []
        for waiter in (*waiters, self._ended):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)


def problems_of(state: FibState) -> tuple[Problem, ...]:
    """What is wrong with the kernel's table: one problem per kind, with an example."""
    found = []
    if state.error:
        reason = f"{state.error}; the kernel forwards as before and is asked again"
        found.append(Problem(object="fib", reason=reason, severity=Severity.ERROR))
    for count, kind, owned in (
        (state.failed, "refused by the kernel", False),
        (state.foreign, "kept out by others' routes", True),
    ):
        example = next((each for each in state.failures if bool(each.owner) is owned), None)
        if count and example is not None:
            where = prefix_of(example.family, example.nlri)
            reason = f"{count} routes {kind}, such as {where}: {example.reason}"
            found.append(Problem(object="fib", reason=reason))
    return tuple(found)
