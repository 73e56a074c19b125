"""What pods hold here that Kubernetes or the container runtime denies: :mod:`kroute.plan.kni_absence` judges, this
remembers and asks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

from kroute.model.pod import PodsSeen
from kroute.model.sandbox import Listed, SandboxesSeen
from kroute.plan.kni_absence import Heard, Memory, Verdict, confirm, judge
from kroute.plan.kni_gc import Cause
from kroute.plan.kni_holdings import Holding, knows, lists

log = logging.getLogger(__name__)


class PodSource(Protocol):
    """Who knows the own node's pods."""

    def seen(self) -> PodsSeen:
        """What is known of them; never blocks."""

    def ask(self) -> PodsSeen:
        """The same, asked for anew; may block for as long as a request may take."""

    def close(self) -> None:
        """Follow no more."""


class SandboxSource(Protocol):
    """Who knows the node's sandboxes."""

    def ask(self) -> SandboxesSeen:
        """What there is now; may block for as long as a request may take."""

    def load(self) -> Listed:
        """What an earlier life had seen listed."""

    def save(self, listed: Listed) -> None:
        """Keep what has been seen listed for the next life."""

    def close(self) -> None:
        """Ask no more; a question that waits ends."""


class Forgotten:
    """Remembers since when holdings are denied; one look at a time, whoever asks for it."""

    def __init__(
        self,
        pods: PodSource | None,
        grace: float,
        *,
        sandboxes: SandboxSource | None = None,
        doubt: Callable[[], str] = lambda: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``grace`` in seconds; ``doubt`` says why the API server is not to be believed, or nothing. A source that is
        None is not asked."""
        self._pods = pods
        self._sandboxes = sandboxes
        self._grace = grace
        self._doubt = doubt
        self._clock = clock
        self._memory = Memory(listed=sandboxes.load() if sandboxes else Listed())
        self._seen: SandboxesSeen | None = None
        self._mutex = threading.Lock()

    def failures(self) -> dict[Cause, str]:
        """Why nothing is known just now of pods, or at the last look of sandboxes; without those who answer."""
        pods = self._pods.seen().failure if self._pods else ""
        sandboxes = self._seen.failure if self._seen else ""
        return {c: why for c, why in ((Cause.POD, pods), (Cause.SANDBOX, sandboxes)) if why}

    def look(self, holdings: Iterable[Holding]) -> tuple[Verdict, ...]:
        """Those that are denied. Before one may go, all are asked once more."""
        known = list(holdings)
        with self._mutex:
            return self._look(known)

    def _look(self, known: list[Holding]) -> tuple[Verdict, ...]:
        before, pods = self._memory, self._pods.seen() if self._pods else None
        self._seen = self._sandboxes.ask() if self._sandboxes else None
        heard, now = Heard(pods, self._seen, self._doubt()), self._clock()
        found = judge(known, heard, before, now=now, grace=self._grace)
        self._remember(found.memory)
        for verdict in found.verdicts:
            self._note(verdict, before)
        if all(verdict.kept for verdict in found.verdicts):
            return found.verdicts
        again = self._ask_again(heard)
        second = judge(known, again, found.memory, now=now, grace=self._grace)
        failure = " and ".join(s.failure for s in again[:2] if s is not None and s.failure)
        return tuple(confirm(found.verdicts, second.verdicts, failure))

    def _ask_again(self, heard: Heard) -> Heard:
        """The same from whom it concerns: a watch may hang unnoticed, and asking the API server takes its time."""
        pods = heard.pods
        if self._pods and pods:
            pods = replace(self._pods.ask(), since=pods.since)
        if self._sandboxes:
            self._seen = self._sandboxes.ask()
        return heard._replace(pods=pods, sandboxes=self._seen)

    def denies(self, holding: Holding, cause: Cause) -> bool:
        """Whether it is denied at this very moment, for the cause that was found."""
        if self._seen is not None and (self._seen.failure or lists(self._seen, holding)):
            return False
        if cause is Cause.SANDBOX or self._pods is None:
            return True
        seen = self._pods.seen()
        return not seen.failure and not knows(seen, holding)

    def close(self) -> None:
        """Follow pods and ask for sandboxes no more."""
        for source in (self._pods, self._sandboxes):
            if source is not None:
                source.close()

    def _remember(self, memory: Memory) -> None:
        if self._sandboxes is not None and memory.listed != self._memory.listed:
            self._sandboxes.save(memory.listed)
        self._memory = memory

    def _note(self, verdict: Verdict, before: Memory) -> None:
        if not before.knows_of(verdict.key):
            log.warning("%s: %s: kept: %s", verdict.holding.object, verdict.reason, verdict.kept)
