"""Routes that import policy puts into another table, or gives another metric, than our routes have.

Few of all routes stand so. They are written here, past the fast road; a route that moves stands in its new place
before the old one is removed, so that no packet finds neither (law 4).
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kroute.codec.rtnetlink_route import RouteAction, patched
from kroute.drivers.fib.ledger import OTHER, Refused, Stray, batches
from kroute.drivers.netlink import reason_of
from kroute.model.fib import Nexthops, Place, Placed
from kroute.model.net import Family, Nlri

if TYPE_CHECKING:
    from kroute.drivers.fib.table import KernelTable


class Aside:
    """Writes them by the socket of a :class:`~kroute.drivers.fib.table.KernelTable` and into its ledgers."""

    def __init__(self, kernel: KernelTable) -> None:
        self._kernel = kernel

    def write(
        self,
        family: Family,
        changes: Mapping[Nlri, Nexthops | None],
        moved: Mapping[Place, Mapping[Nlri, Placed]],
    ) -> None:
        """Carry out what is left of ``changes`` once all in our own place is written: ``moved`` is to be put
        elsewhere, and what stood elsewhere goes, or stays while its successor is refused.

        Raises:
            DriverError: as :meth:`KernelTable.write <kroute.drivers.fib.table.KernelTable.write>`.
        """
        ledger = self._kernel.ledgers[family]
        before = {nlri: ledger.aside[nlri] for nlri in ledger.aside.keys() & changes.keys()}
        for place, routes in moved.items():
            self._put(family, place, routes)
        unfilled = {*ledger.failed, *ledger.foreign}
        self._vacate(family, before, changes, unfilled)
        put = (nlri for routes in moved.values() for nlri in routes)
        superseded = [n for n in put if n in ledger.installed and n not in unfilled]
        if superseded:
            self._kernel.remove(family, superseded)

    def _put(self, family: Family, place: Place, routes: Mapping[Nlri, Placed]) -> None:
        """Install at one place; once more over routes of ours that were found there."""
        contested = self._install(family, place, routes)
        if contested:
            kernel = self._kernel
            ours = kernel.held_by_us(family, place, contested)
            kernel.ledgers[family].aside.update(dict.fromkeys(ours, Placed(OTHER, place)))
            self._install(family, place, {nlri: routes[nlri] for nlri in ours})

    def _install(self, family: Family, place: Place, routes: Mapping[Nlri, Placed]) -> set[Nlri]:
        """Those of them are returned whose place was found taken."""
        kernel, known = self._kernel, self._kernel.ledgers[family].aside
        groups: dict[tuple[Placed, bool], list[Nlri]] = {}
        for nlri, want in routes.items():
            have = known.get(nlri)
            there = have is not None and kernel.place_of(family, have) == place
            if there and have is not None and tuple(have) == tuple(want):
                known[nlri] = want
            else:
                groups.setdefault((want, there), []).append(nlri)
        encoder, contested = kernel.encoder(place.table, place.metric), set[Nlri]()
        for (want, there), nlris in groups.items():
            template = kernel.template(encoder, family, want)
            heads = template.replace if there else template.add
            for batch in batches(nlris):
                before = {nlri: known[nlri] for nlri in batch if nlri in known}
                known.update(dict.fromkeys(batch, want))
                refusals: list[Refused] = []
                kernel.send([patched(heads, template.tails, batch)], len(batch), refusals.append)
                for refused in refusals:
                    self._note(refused, place, before.get(refused.nlri))
                    if refused.refusal.errno == errno.EEXIST:
                        contested.add(refused.nlri)
        return contested

    def _note(self, refused: Refused, place: Place, before: Placed | None) -> None:
        """What is known of a prefix once its route was refused: what it had before, if that is known."""
        refusal, action, family, nlri = refused
        ledger = self._kernel.ledgers[family]
        reason = self._kernel.why_not(family, ledger.aside.get(nlri), reason_of(refusal))
        ledger.failed[nlri] = reason
        if action is RouteAction.REPLACE:
            ledger.aside[nlri] = Placed(OTHER, place)
        elif before is not None:
            ledger.aside[nlri] = before
        else:
            ledger.aside.pop(nlri, None)

    def _vacate(
        self,
        family: Family,
        before: Mapping[Nlri, Placed],
        changes: Mapping[Nlri, Nexthops | None],
        unfilled: set[Nlri],
    ) -> None:
        """Remove what stood aside of prefixes that nobody wants any more, or that have their route elsewhere."""
        kernel, known = self._kernel, self._kernel.ledgers[family].aside
        gone: dict[Place, list[Nlri]] = {}
        for nlri, have in before.items():
            want, old = changes[nlri], kernel.place_of(family, have)
            now = None if want is None else kernel.place_of(family, want)
            if old is None or now == old or (want is not None and nlri in unfilled):
                continue
            gone.setdefault(old, []).append(nlri)
            if now is None:
                del known[nlri]
        for place, nlris in gone.items():
            stray = Stray(kernel.protocol, place.metric, place.table)
            kernel.remove_strays(family, stray, nlris)
