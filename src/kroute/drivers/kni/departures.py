"""Pods leave: those that leave together share their writes, their message to the kernel and the leases' lock."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from kroute.drivers.kni import netns as ns
from kroute.drivers.kni.fast import FastPath
from kroute.drivers.kni.libcni import LibcniCache
from kroute.drivers.kni.plugins import Deadline, Plugins
from kroute.drivers.kni.store import Store
from kroute.drivers.kni.together import Together
from kroute.model.kni import Attachment, How, KniError, Phase, Refusal

log = logging.getLogger(__name__)

_LULL = 0.0005
"""Seconds. A removal costs the kernel 2 ms whether one pod goes or thirty; calls come 0.1 ms after each other."""


@dataclass(slots=True, eq=False)
class _Leaving:
    """One pod that leaves, and why it cannot."""

    attachment: Attachment
    deadline: Deadline
    anyway: bool
    error: KniError | None = None

    @property
    def is_fast(self) -> bool:
        return all(w.how is How.FAST for w in self.attachment.wirings)


class Departures:
    """DEL of a pod's interfaces, then its record; whoever calls holds the pod's lock."""

    def __init__(
        self, store: Store, plugins: Plugins, cache: LibcniCache, fast: FastPath | None, boot: str
    ) -> None:
        """``boot``: the id of this boot; namespaces of another are gone."""
        self._store = store
        self._plugins = plugins
        self._cache = cache
        self._fast = fast
        self._boot = boot
        self._together = Together(self._leave, lull=_LULL)

    def release(self, attachment: Attachment, deadline: Deadline, *, anyway: bool = False) -> None:
        """DEL of every interface, the last first, then forget the record; ``anyway``: also if the disk is full.

        Raises:
            KniError: a plugin, the kernel or the disk refused; the record stays.
        """
        mine = _Leaving(attachment, deadline, anyway)
        if self._fast is None or not mine.is_fast:
            self._leave([mine])  # a plugin may take its time: nobody else waits for it
        elif not self._together.do(mine, deadline.left):
            raise KniError(Refusal.LATE, f"detach of {attachment.id} did not end in time")
        if mine.error is not None:
            raise mine.error

    def _leave(self, batch: list[_Leaving], pass_on: Callable[[], None] = lambda: None) -> None:
        self._note_intent(batch)
        going = [leaving for leaving in batch if leaving.error is None]
        self._execute(going)
        self._remove(going)
        pass_on()
        gone = [leaving for leaving in going if leaving.error is None]
        for leaving in gone:
            self._cache.remove(leaving.attachment)
        try:
            self._store.remove(*(leaving.attachment.id for leaving in gone))
        except KniError as error:
            _all_refused(gone, error)
            return
        for leaving in gone:  # before the callers are woken: here it takes nobody the interpreter
            if leaving.attachment.phase is not Phase.ATTACHING:
                log.info("detached id=%s pod=%s", leaving.attachment.id, leaving.attachment.pod)

    def _note_intent(self, batch: list[_Leaving]) -> None:
        records = [replace(each.attachment, phase=Phase.DETACHING) for each in batch]
        try:
            self._store.put(*records, synced=False)
        except KniError as error:  # an attach's intent is on disk: the next start undoes once more
            _all_refused([each for each in batch if not each.anyway], error)

    def _execute(self, going: list[_Leaving]) -> None:
        """What plugins have attached, the last interface first."""
        for leaving in going:
            attachment = leaving.attachment
            lives = attachment.boot == self._boot and ns.lives(attachment.netns, attachment.inode)
            for wiring in reversed(attachment.wirings):
                if wiring.how is How.FAST and self._fast is not None:
                    continue
                try:
                    path = attachment.netns if lives else ""
                    self._plugins.delete(attachment.id, path, wiring, leaving.deadline)
                except KniError as error:
                    leaving.error = leaving.error or error

    def _remove(self, going: list[_Leaving]) -> None:
        """What the fast path has attached, all at once."""
        if self._fast is None:
            return
        ends = [(e, w) for e in going for w in e.attachment.wirings if w.how is How.FAST]
        patience = max((leaving.deadline.left for leaving in going), default=0.0)
        wanted = [(leaving.attachment.id, wiring) for leaving, wiring in ends]
        for (leaving, _), error in zip(ends, self._fast.delete(wanted, patience), strict=True):
            leaving.error = leaving.error or error


def _all_refused(batch: list[_Leaving], error: KniError) -> None:
    for leaving in batch:
        leaving.error = error
