"""One routing table: writes in batches, reads whole, remembers what it holds and what was refused.

Used by the writer thread only. Nothing here waits but for the kernel itself.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from itertools import islice, repeat
from typing import Any

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
from kroute.drivers.fib.aside import Aside
from kroute.drivers.fib.ledger import BATCH, OTHER, Ledger, Reading, Refused, Stray, batches
from kroute.drivers.fib.objects import KernelObjects
from kroute.drivers.netlink import Overrun, RouteSocket, reason_of
from kroute.model.errors import DriverError
from kroute.model.fib import Nexthops, Place, Placed
from kroute.model.net import Family, Nlri

_TEMPLATES_KEPT = 4096
_DUMP_ATTEMPTS = 5
GONE = (errno.ESRCH, errno.ENODEV, errno.ENOENT)
"""Refusals of a removal that mean: gone already."""


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
        self.protocol, self.table, self.metric = protocol, table, metric
        self.protocols = (protocol, *(other for other in former_protocols if other != protocol))
        self.ledgers = {family: Ledger() for family in Family}
        self.oifs: set[int] = set()
        """Interfaces that routes written so far leave by."""
        self.batches = self.written = self.overruns = 0
        self._encoder = RouteEncoder(table=table, protocol=protocol, metric=metric)
        self._encoders = {Place(table, metric): self._encoder}
        self._everywhere = RouteEncoder(table=0, protocol=protocol, metric=metric)
        self._aside = Aside(self)
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
        moved: dict[Place, dict[Nlri, Placed]] = {}
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
                    if type(want) is Placed and (place := self.place_of(family, want)):
                        moved.setdefault(place, {})[nlri] = want
                        continue
                    add, replace, tails = templates.get(want) or self._template(family, want)
                    last = want
                put((add if have is None else replace)[nlri[0]] + nlri[1:] + tails[len(nlri)])
                installed[nlri] = want
            if parts:
                self.send(parts)
                parts.clear()
            if left:
                break
        if removals:
            self.remove(family, removals)
        if moved or ledger.aside:
            self._aside.write(family, changes, moved)

    def place_of(self, family: Family, nexthops: Nexthops) -> Place | None:
        """The table and metric that these legs ask for; None if it is where our routes stand anyway."""
        if type(nexthops) is not Placed:
            return None
        table, metric = nexthops.place
        own = Place(self.table, effective_metric(family, self.metric))
        wanted = Place(table or own.table, metric or own.metric)
        return None if wanted == own else wanted

    def remove_strays(self, family: Family, stray: Stray, nlris: list[Nlri]) -> None:
        """Remove routes under another mark of ours.

        Raises:
            DriverError: as :meth:`write`.
        """
        encoder = self.encoder(stray.table)
        template = encoder.removal(family, protocol=stray.protocol, metric=stray.metric)
        for batch in batches(nlris):
            self.send([patched(template.add, template.tails, batch)], len(batch))

    def read(self, family: Family, between: Callable[[], None] = lambda: None) -> Reading:
        """Dump what bears our marks, from all tables; ``between`` is called now and then and may write.

        Raises:
            DriverError: the kernel did not answer to the end.
        """
        if self.objects is not None:
            self.objects.compare()
        reading = Reading()
        own = Place(self.table, effective_metric(family, self.metric))
        for protocol in self.protocols:
            request = self._everywhere.dump(family, protocol)
            for form, nlris in self._dump(family, request, _is_no_clone, between).items():
                reading.nhids.add(form.nhid)
                place = Place(form.table, form.metric)
                if form.protocol == self.protocol:
                    there = reading.own if place == own else reading.aside.setdefault(place, {})
                    there.update(zip(nlris, repeat(self.nexthops_of(form))))
                elif form.protocol in self.protocols:
                    stray = Stray(form.protocol, form.metric, form.table)
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
        ours = self.held_by_us(family, Place(self.table, self.metric), contested)
        ledger.installed.update(dict.fromkeys(ours, OTHER))
        return ours

    def held_by_us(self, family: Family, place: Place, contested: set[Nlri]) -> list[Nlri]:
        """Which of these prefixes a route of ours holds at that place; of the others the owner is noted.

        Raises:
            DriverError: the table could not be read.
        """
        ledger, ours = self.ledgers[family], list[Nlri]()
        place = place._replace(metric=effective_metric(family, place.metric))
        found = self._dump(
            family,
            self.encoder(place.table).dump(family),
            wanted=lambda form: (form.table, form.metric) == place,
        )
        for form, nlris in found.items():
            for nlri in contested.intersection(nlris):
                ledger.failed.pop(nlri, None)
                if form.protocol in self.protocols:
                    ours.append(nlri)
                else:
                    ledger.foreign[nlri] = form.protocol
        return ours

    def encoder(self, table: int, metric: int = 0) -> RouteEncoder:
        """What writes our routes of a table, at a metric; 0: at our own."""
        key = Place(table, metric or self.metric)
        if (known := self._encoders.get(key)) is None:
            known = RouteEncoder(table=table, protocol=self.protocol, metric=key.metric)
            self._encoders[key] = known
        return known

    def _template(self, family: Family, nexthops: Nexthops) -> Template:
        kept = self._templates[family]
        if len(kept) >= _TEMPLATES_KEPT:
            kept.clear()
        template = kept[nexthops] = self.template(self._encoder, family, nexthops)
        return template

    def template(self, encoder: RouteEncoder, family: Family, nexthops: Nexthops) -> Template:
        """The template of a route over these legs, whose nexthop object is made if there is to be one.

        Raises:
            DriverError: the socket failed.
        """
        self.oifs.update(leg.oif for leg in nexthops)
        nhid = self.objects.ensure(family, nexthops) if self.objects is not None else 0
        return encoder.template(family, nexthops, nhid)

    def remove(self, family: Family, nlris: list[Nlri]) -> None:
        """Remove routes that stand where our routes stand.

        Raises:
            DriverError: as :meth:`write`.
        """
        template = self._removals[family]
        ledger = self.ledgers[family]
        for batch in batches(nlris):
            for nlri in batch:
                ledger.installed.pop(nlri, None)
            self.send([patched(template.add, template.tails, batch)], len(batch))

    def send(
        self, parts: list[bytes], count: int = 0, note: Callable[[Refused], None] | None = None
    ) -> None:
        """One send; the kernel has carried out all of it on return, so that errors wait already.

        ``note`` is told of each refusal, instead of noting it as one of a route in our own place.

        Raises:
            DriverError: as :meth:`write`.
        """
        self._socket.send(b"".join(parts))
        self.batches += 1
        self.written += count or len(parts)
        try:
            refusals = self._socket.refusals()
        except Overrun:
            self.overruns += 1
            raise
        for refusal in refusals:
            (note or self._note)(_refused(refusal))

    def why_not(self, family: Family, want: Nexthops | None, reason: str) -> str:
        """The reason of a refusal: that of the nexthop object if already this was refused."""
        if self.objects is None or want is None:
            return reason
        return self.objects.why_not(family, want) or reason

    def _note(self, refused: Refused) -> None:
        refusal, action, family, nlri = refused
        ledger = self.ledgers[family]
        if action is RouteAction.REMOVE:
            if refusal.errno not in GONE:
                ledger.failed[nlri] = reason_of(refusal)
            return
        want = ledger.installed.get(nlri)
        ledger.failed[nlri] = self.why_not(family, want, reason_of(refusal))
        if action is RouteAction.REPLACE:
            ledger.installed[nlri] = OTHER
            return
        ledger.installed.pop(nlri, None)
        if refusal.errno == errno.EEXIST:
            ledger.contested.append(nlri)

    def _dump(
        self,
        family: Family,
        request: bytes,
        wanted: Callable[[RouteForm], bool],
        between: Callable[[], None] = lambda: None,
    ) -> Mapping[RouteForm, list[Nlri]]:
        for _ in range(_DUMP_ATTEMPTS):
            dump = RouteDump(family, wanted)
            self._read_into(dump, request, between)
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


def _is_no_clone(form: RouteForm) -> bool:
    return not form.flags & RTM_F_CLONED


def _refused(refusal: KernelError) -> Refused:
    refused = refused_route(refusal)
    if refused is None:
        raise DriverError(f"netlink: refused, and not said what: {reason_of(refusal)}")
    return Refused(refusal, *refused)


def _forget(notes: dict[Nlri, Any], nlris: Iterable[Nlri]) -> None:
    if notes:
        for nlri in nlris:
            notes.pop(nlri, None)
