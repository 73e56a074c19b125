"""One routing table: writes in batches, reads whole, remembers what it holds and what was refused.

Used by the writer thread only. Nothing here waits but for the kernel itself.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, repeat
from typing import Any, NamedTuple

from kroute.codec.rtnetlink import KernelError, MalformedMessage
from kroute.codec.rtnetlink_dump import RouteDump
from kroute.codec.rtnetlink_route import (
    RTM_F_CLONED,
    RTN_BLACKHOLE,
    RTN_UNICAST,
    RouteAction,
    RouteEncoder,
    RouteForm,
    Template,
    effective_metric,
    patched,
    refused_route,
)
from kroute.drivers.fib.objects import KernelObjects
from kroute.drivers.netlink import Overrun, RouteSocket, reason_of
from kroute.model.errors import DriverError
from kroute.model.fib import Nexthop, Nexthops
from kroute.model.net import Family, Nlri

BATCH = 256
"""Messages per send: fewer cost system calls, more lose errors in a small receive buffer."""
_TEMPLATES_KEPT = 4096
_DUMP_ATTEMPTS = 5
GONE = (errno.ESRCH, errno.ENODEV, errno.ENOENT)
"""Refusals of a removal that mean: gone already."""

OTHER: Nexthops = (Nexthop(None, -1),)
"""Stands for a route of ours whose form is none we would write; equal to no desired one."""


class Stray(NamedTuple):
    """A mark of ours from an earlier configuration."""

    protocol: int
    metric: int


@dataclass(slots=True)
class Ledger:
    """What is known of one family."""

    installed: dict[Nlri, Nexthops] = field(default_factory=dict)
    """What the kernel holds under our protocol and metric, as far as we know."""
    failed: dict[Nlri, str] = field(default_factory=dict)
    """Refused by the kernel: its words."""
    foreign: dict[Nlri, int] = field(default_factory=dict)
    """Prefixes whose place another protocol holds: its number."""
    contested: list[Nlri] = field(default_factory=list)
    """Refused because something is there (EEXIST), owner not looked up yet."""


@dataclass(slots=True)
class Reading:
    """One dump of what bears our marks."""

    own: dict[Nlri, Nexthops] = field(default_factory=dict)
    """Under today's protocol and metric."""
    strays: dict[Stray, list[Nlri]] = field(default_factory=dict)
    """Under former protocols or other metrics."""
    nhids: set[int] = field(default_factory=set)
    """Nexthop objects that any of them uses."""


class KernelTable:
    """The routes of one table that bear our marks."""

    def __init__(
        self,
        *,
        protocol: int,
        table: int,
        metric: int,
        former_protocols: tuple[int, ...] = (),
        nexthop_objects: bool = False,
        netns: str | None = None,
    ) -> None:
        """Open the sockets.

        Raises:
            Unsupported: no netlink here, or no right to change routes.
        """
        self.protocol, self.metric = protocol, metric
        self.protocols = (protocol, *(other for other in former_protocols if other != protocol))
        self.ledgers = {family: Ledger() for family in Family}
        self.oifs: set[int] = set()
        """Interfaces that routes written so far leave by."""
        self.batches = self.written = self.overruns = 0
        self._encoder = RouteEncoder(table=table, protocol=protocol, metric=metric)
        self._templates: dict[Family, dict[Nexthops, Template]] = {family: {} for family in Family}
        self._removals = {family: self._encoder.removal(family) for family in Family}
        self._netns = netns
        self._socket = socket = RouteSocket(netns=netns)
        socket.require_admin()
        self.objects: KernelObjects | None = None
        """None where routes name their next hops themselves."""
        if nexthop_objects:
            self.objects = KernelObjects(protocol=protocol, socket=socket, netns=netns)

    @property
    def port(self) -> int:
        """Port id of the socket that writes; events that bear it are our own."""
        return self._socket.port

    def close(self) -> None:
        """Close the sockets; the kernel keeps the routes."""
        self._socket.close()

    def write(self, family: Family, changes: Mapping[Nlri, Nexthops | None]) -> None:
        """Install and remove; what is installed so already is left out. Additions go before removals.

        Refusals end in the ledger.

        Raises:
            DriverError: the socket failed; :class:`Overrun`: refusals were lost. A read is due.
        """
        removals: list[Nlri] = []
        parts: list[bytes] = []
        ledger = self.ledgers[family]
        installed, templates = ledger.installed, self._templates[family]
        known, put = installed.get, parts.append
        _forget(ledger.failed, changes)
        _forget(ledger.foreign, changes)
        items = iter(changes.items())
        last: Nexthops | None = None
        while True:
            left = BATCH
            for nlri, want in islice(items, BATCH):
                left -= 1
                have = known(nlri)
                if have == want:
                    continue
                if want is None:
                    removals.append(nlri)
                    continue
                if want is not last:
                    add, replace, tails = templates.get(want) or self._template(family, want)
                    last = want
                put((add if have is None else replace)[nlri[0]] + nlri[1:] + tails[len(nlri)])
                installed[nlri] = want
            if parts:
                self._send(family, parts)
                parts.clear()
            if left:
                break
        if removals:
            self._remove(family, removals)

    def remove_strays(self, family: Family, stray: Stray, nlris: list[Nlri]) -> None:
        """Remove routes under another mark of ours.

        Raises:
            DriverError: as :meth:`write`.
        """
        template = self._encoder.removal(family, protocol=stray.protocol, metric=stray.metric)
        for batch in batches(nlris):
            self._send(family, [patched(template.add, template.tails, batch)], len(batch))

    def read(self, family: Family, between: Callable[[], None] = lambda: None) -> Reading:
        """Dump what bears our marks; ``between`` is called now and then and may write.

        Raises:
            DriverError: the kernel did not answer to the end.
        """
        if self.objects is not None:
            self.objects.compare()
        reading = Reading()
        metric = effective_metric(family, self.metric)
        for protocol in self.protocols:
            for form, nlris in self._dump(family, protocol, self._ours, between).items():
                reading.nhids.add(form.nhid)
                if form.protocol == self.protocol and form.metric == metric:
                    reading.own.update(zip(nlris, repeat(self.nexthops_of(form))))
                elif form.protocol in self.protocols:
                    stray = Stray(form.protocol, form.metric)
                    reading.strays.setdefault(stray, []).extend(nlris)
        return reading

    def nexthops_of(self, form: RouteForm) -> Nexthops:
        """The next hops of a route under our mark; :data:`OTHER` if we would not write it so."""
        if form.kind == RTN_BLACKHOLE:
            return ()
        if form.kind != RTN_UNICAST:
            return OTHER
        if self.objects is None:
            return form.nexthops if form.nexthops and not form.nhid else OTHER
        return (form.nhid and self.objects.legs_of(form.nhid)) or OTHER

    def prune_objects(
        self, used: set[int], desired: Iterable[tuple[Family, Iterable[Nexthops]]]
    ) -> None:
        """Remove our nexthop objects that no route uses or shall use.

        Raises:
            DriverError: as :meth:`write`.
        """
        if self.objects is not None and self.objects.prune(used, desired):
            for templates in self._templates.values():
                templates.clear()

    def settle_contested(self, family: Family) -> list[Nlri]:
        """Find out who holds the places that could not be taken; returns those that are ours after all.

        Raises:
            DriverError: the table could not be read.
        """
        ledger = self.ledgers[family]
        contested, ledger.contested = set(ledger.contested), []
        place = self._encoder.table, effective_metric(family, self.metric)
        ours: list[Nlri] = []
        for form, nlris in self._dump(
            family, 0, wanted=lambda form: (form.table, form.metric) == place
        ).items():
            for nlri in contested.intersection(nlris):
                ledger.failed.pop(nlri, None)
                if form.protocol in self.protocols:
                    ledger.installed[nlri] = OTHER
                    ours.append(nlri)
                else:
                    ledger.foreign[nlri] = form.protocol
        return ours

    def _template(self, family: Family, nexthops: Nexthops) -> Template:
        kept = self._templates[family]
        if len(kept) >= _TEMPLATES_KEPT:
            kept.clear()
        self.oifs.update(leg.oif for leg in nexthops)
        nhid = self.objects.ensure(family, nexthops) if self.objects is not None else 0
        template = kept[nexthops] = self._encoder.template(family, nexthops, nhid)
        return template

    def _remove(self, family: Family, nlris: list[Nlri]) -> None:
        template = self._removals[family]
        ledger = self.ledgers[family]
        for batch in batches(nlris):
            for nlri in batch:
                ledger.installed.pop(nlri, None)
            self._send(family, [patched(template.add, template.tails, batch)], len(batch))

    def _send(self, family: Family, parts: list[bytes], count: int = 0) -> None:
        """One send; the kernel has carried out all of it on return, so that errors wait already."""
        self._socket.send(b"".join(parts))
        self.batches += 1
        self.written += count or len(parts)
        try:
            refusals = self._socket.refusals()
        except Overrun:
            self.overruns += 1
            raise
        for refusal in refusals:
            self._note(refusal)

    def _note(self, refusal: KernelError) -> None:
        refused = refused_route(refusal)
        if refused is None:
            raise DriverError(f"netlink: refused, and not said what: {reason_of(refusal)}")
        action, family, nlri = refused
        ledger = self.ledgers[family]
        if action is RouteAction.REMOVE:
            if refusal.errno not in GONE:
                ledger.failed[nlri] = reason_of(refusal)
            return
        reason, want = reason_of(refusal), ledger.installed.get(nlri)
        if self.objects is not None and want is not None:
            reason = self.objects.why_not(family, want) or reason
        ledger.failed[nlri] = reason
        if action is RouteAction.REPLACE:
            ledger.installed[nlri] = OTHER
            return
        ledger.installed.pop(nlri, None)
        if refusal.errno == errno.EEXIST:
            ledger.contested.append(nlri)

    def _ours(self, form: RouteForm) -> bool:
        return form.table == self._encoder.table and not form.flags & RTM_F_CLONED

    def _dump(
        self,
        family: Family,
        protocol: int,
        wanted: Callable[[RouteForm], bool],
        between: Callable[[], None] = lambda: None,
    ) -> Mapping[RouteForm, list[Nlri]]:
        for _ in range(_DUMP_ATTEMPTS):
            dump = RouteDump(family, wanted)
            self._read_into(dump, self._encoder.dump(family, protocol), between)
            if dump.refusal is not None and dump.refusal.errno == errno.ENOENT:
                return {}  # a table that never held a route does not exist
            if dump.refusal is not None:
                raise DriverError(f"route dump: {reason_of(dump.refusal)}")
            if not dump.interrupted:
                return dump.routes
        raise DriverError("route dump: interrupted again and again by other changes")

    def _read_into(self, dump: RouteDump, request: bytes, between: Callable[[], None]) -> None:
        """On a socket of its own: an aborted dump leaves nothing behind, and writes go on meanwhile."""
        reader = RouteSocket(netns=self._netns)
        try:
            for datagram in reader.dump(request):
                if dump.feed(datagram):
                    return
                between()
        except MalformedMessage as cause:
            raise DriverError(f"route dump: {cause}") from cause
        finally:
            reader.close()
        raise DriverError("route dump: no end")


def _forget(notes: dict[Nlri, Any], nlris: Iterable[Nlri]) -> None:
    if notes:
        for nlri in nlris:
            notes.pop(nlri, None)


def batches(nlris: list[Nlri]) -> Iterator[list[Nlri]]:
    """The list in runs of :data:`BATCH`."""
    for start in range(0, len(nlris), BATCH):
        yield nlris[start : start + BATCH]
