"""Attachments of pods that Kubernetes has forgotten: :mod:`kroute.plan.kni_gc` judges, this remembers and asks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from kroute.model.kni import Attachment
from kroute.model.pod import PodsSeen
from kroute.plan.kni_gc import Memory, Verdict, confirm, judge, knows

log = logging.getLogger(__name__)


class PodSource(Protocol):
    """Who knows the own node's pods."""

    def seen(self) -> PodsSeen:
        """What is known of them; never blocks."""

    def ask(self) -> PodsSeen:
        """The same, asked for anew; may block for as long as a request may take."""

    def close(self) -> None:
        """Follow no more."""


class Forgotten:
    """Remembers since when pods are unknown; one look at a time, whoever asks for it."""

    def __init__(
        self,
        source: PodSource,
        grace: float,
        *,
        doubt: Callable[[], str] = lambda: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``grace`` in seconds; ``doubt`` says why the API server is not to be believed, or nothing."""
        self._source = source
        self._grace = grace
        self._doubt = doubt
        self._clock = clock
        self._memory = Memory({}, None)
        self._mutex = threading.Lock()

    @property
    def failure(self) -> str:
        """Why nothing is known of pods just now; empty while it is."""
        return self._source.seen().failure

    def look(self, attachments: Iterable[Attachment]) -> tuple[Verdict, ...]:
        """The attachments whose pods are unknown. Before one may go, the API server is asked once more."""
        known = list(attachments)
        with self._mutex:
            before, seen, now = self._memory, self._source.seen(), self._clock()
            found = judge(known, seen, self._doubt(), before, now=now, grace=self._grace)
            self._memory = found.memory
        for verdict in found.verdicts:
            self._note(verdict, before)
        if all(verdict.kept for verdict in found.verdicts):
            return found.verdicts
        return tuple(confirm(found.verdicts, known, self._source.ask()))

    def denies(self, attachment: Attachment) -> bool:
        """Whether the pod is unknown at this very moment."""
        seen = self._source.seen()
        return not seen.failure and not knows(seen, attachment)

    def close(self) -> None:
        """Follow pods no more."""
        self._source.close()

    def _note(self, verdict: Verdict, before: Memory) -> None:
        attachment = verdict.attachment
        if verdict.key not in before.unknown:
            log.warning(
                "attachment id=%s: %s: kept: %s", attachment.id, verdict.reason, verdict.kept
            )
