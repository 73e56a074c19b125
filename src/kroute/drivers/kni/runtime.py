"""KNI as one thing that the daemon starts and stops: store, core, server, garbage collection."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from kroute.drivers.kni import fast, gc, marks
from kroute.drivers.kni.core import Core, Settings
from kroute.drivers.kni.door import take
from kroute.drivers.kni.fitness import Fitness
from kroute.drivers.kni.forgotten import Forgotten
from kroute.drivers.kni.leases import leases_of, ranges_of
from kroute.drivers.kni.libcni import LibcniCache
from kroute.drivers.kni.meter import Meter
from kroute.drivers.kni.networks import Networks
from kroute.drivers.kni.plugins import Plugins
from kroute.drivers.kni.server import KniServer
from kroute.drivers.kni.store import FILE, Store
from kroute.model.config import Cni, FastPath, Kni, KniLayout
from kroute.model.errors import DriverError
from kroute.model.kni import Generation, KniError, NodeFacts, Pool
from kroute.model.problem import Problem
from kroute.plan import kni as plan

log = logging.getLogger(__name__)

_FIRST_COLLECTION = 1.0
"""Seconds from serving to the first garbage collection: kubelets that waited for us come first."""
_CACHE_DELAY = 1.0
"""Seconds after which libcni's record follows an attach; those of pods that are gone by then are never written."""
_FORCED = {
    KniLayout.AUTO: None,
    KniLayout.V005: Generation.V005,
    KniLayout.V006: Generation.V006,
}


class KniRuntime:
    """The network runtime of this node: construction ends what an earlier life left open, :meth:`serve` answers."""

    def __init__(
        self,
        config: Kni,
        cni: Cni,
        state: Path,
        facts: Callable[[], NodeFacts],
        on_change: Callable[[], None] = lambda: None,
        *,
        forgotten: Forgotten | None = None,
        on_collect: Callable[[list[gc.Finding]], None] = lambda _found: None,
        on_doors: Callable[[tuple[Problem, ...]], None] = lambda _problems: None,
    ) -> None:
        """Take the sockets and the store, and undo or finish what is open.

        ``forgotten`` knows which pods Kubernetes does not; ``on_collect`` is told what each garbage collection found,
        in its thread, ``on_doors`` what is wrong with the sockets whenever that has changed.

        Raises:
            DriverError: the store or a socket cannot be had.
        """
        self.meter = Meter()
        self._facts = facts
        self._config = config
        self.fast = fast.FastPath(enabled=config.fast_path is FastPath.AUTO)
        self._stopped = threading.Event()
        self.tally = gc.Tally()
        self._strays = gc.Strays()
        self._forgotten = forgotten
        self._on_collect = on_collect
        self.networks = Networks(cni.directory, cni.file)
        self._on_change = on_change
        # The sockets first: until they are ours, another daemon may be at work on the store and the pods.
        self._doors = take(Path(path) for path in config.sockets)
        try:
            self.core = self._core(cni, state)
            self._recover()
        except BaseException:
            for door in self._doors:
                door.close()
            raise
        self._fitness = Fitness(self.core.plugins, self.networks)
        layout = _FORCED[config.attach_layout]
        self._server = KniServer(self.core, self.meter, layout, self.collect, on_doors=on_doors)
        self.guard = self._server.guard
        self._collector = threading.Thread(
            target=self._collect_for_ever, name="kni-gc", daemon=True
        )

    def serve(self) -> None:
        """Answer at the sockets, and collect garbage from time to time.

        Raises:
            DriverError: a socket cannot be opened; all is closed then.
        """
        try:
            self._server.start(self._doors)
        except BaseException:
            self._close_parts()
            raise
        log.info(
            "KNI served sockets=%s attachments=%d",
            ",".join(self._config.sockets),
            len(self.core.store.attachments),
        )
        self._collector.start()

    def _core(self, cni: Cni, state: Path) -> Core:
        return Core(
            Store(state / FILE),
            Plugins(cni.bin_directories, marks.mark_result),
            LibcniCache(self._config.cache_directory, delay=_CACHE_DELAY),
            self.networks,
            self._with_own,
            settings=Settings(deadline=float(self._config.deadline)),
            fast=self.fast,
            on_change=self._on_change,
        )

    def _recover(self) -> None:
        try:
            self.core.recover()
        except KniError as error:
            self._close_parts()
            raise DriverError(str(error)) from error
        except BaseException:
            self._close_parts()
            raise

    def _close_parts(self) -> None:
        self.core.cache.close()
        self.core.store.close()
        self.fast.close()

    def close(self) -> None:
        """End running calls, give the sockets up, close the store. Attachments stay."""
        self._stopped.set()
        if self._forgotten is not None:
            self._forgotten.close()
        self._server.stop(float(self._config.deadline))
        self._collector.join(float(self._config.deadline))  # it writes to the store
        self._close_parts()

    def pods(self) -> list[dict[str, Any]]:
        """What is attached, for `kroute show pods`."""
        return list(plan.pods(list(self.core.store.attachments.values()), time.time()))

    def collect(self, dry_run: bool) -> list[gc.Finding]:
        """Find garbage, and release it unless only asked to look."""
        found = gc.collect(
            self.core, dry_run=dry_run, strays=self._strays, forgotten=self._forgotten
        )
        if not dry_run:
            self.tally.note(found)
            self._on_collect(found)
        return found

    def _collect_for_ever(self) -> None:
        if self._stopped.wait(_FIRST_COLLECTION):
            return
        while True:
            try:
                self.core.complete_cache()
                self.collect(False)
            except Exception:
                log.exception("garbage collection failed; it is tried again")
            if self._stopped.wait(float(self._config.gc_interval)):
                return

    def pools(self) -> tuple[Pool, ...]:
        """How full the ranges of pod addresses are; empty while there is no conflist."""
        try:
            network = self.networks.default()
        except KniError:
            return ()
        leases = leases_of(network)
        return leases.pools(ranges_of(network)) if leases else ()

    def _with_own(self) -> NodeFacts:
        """The daemon's facts; it looks at its conflist each minute, an attach reads the file as it is now."""
        facts = self._facts()
        # A socket that others have taken is no reason to be unready: those who ask come by another.
        wrong = self.guard.complaints
        return replace(
            facts,
            problem=wrong[0] if wrong else facts.problem,
            conflist_written=facts.conflist_written and self.networks.can_attach(),
            pools=self.pools(),
            complaints=self._fitness.complaints(),
        )
