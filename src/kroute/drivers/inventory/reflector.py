"""List and watch of one resource, for ever, in a thread of its own.

WatchList streams where the server has them, paged list and watch where not. Which resourceVersion may be resumed
from is the delicate part: that of list metadata, bookmarks and real events, never that of the synthetic ADDED
events at the start of a stream. Every failure is told, waited out with jittered back-off, and takes nothing away.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar

from kroute.drivers.inventory.api import Api, ApiError, ErrorEvent, Silence

PAGE: Final = 100
"""Objects of a page: 1 MiB of JSON at most is in memory at a time."""
LASTED: Final = 10.0
"""Seconds that a watch must have lived for the back-off to start anew."""
INITIAL_END: Final = "k8s.io/initial-events-end"

Thing = dict[str, Any]
T = TypeVar("T")


class Sink(Protocol[T]):
    """Who is told; called in the reflector's thread."""

    def listed(self, things: list[T]) -> None:
        """Everything there is."""

    def changed(self, thing: T) -> None:
        """An object is new or has changed."""

    def deleted(self, thing: T) -> None:
        """An object is gone."""

    def failed(self, reason: str) -> None:
        """The server does not answer as it should; what was told stays true."""

    def recovered(self) -> None:
        """It does again."""

    def crashed(self, error: BaseException) -> None:
        """The thread ends by a bug of ours."""


class Reflector(threading.Thread, Generic[T]):
    """Follows one resource. ``slim`` keeps of each object only what the sink needs, as it arrives."""

    def __init__(
        self, api: Api, path: str, query: dict[str, str], slim: Callable[[Thing], T], sink: Sink[T]
    ) -> None:
        super().__init__(name=f"reflector {path}", daemon=True)
        self._api, self._path, self._query, self._slim, self._sink = api, path, query, slim, sink
        self._version: str | None = None
        self._listed_at: float | None = None
        self._watch_list = True
        self._failures = 0
        self._heard = False
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End soon, also in the middle of a silent watch."""
        self._stopping.set()
        self._api.interrupt()

    def run(self) -> None:
        """Follow until stopped."""
        try:
            self._follow_for_ever()
        except BaseException as error:
            self._sink.crashed(error)
            raise

    def _follow_for_ever(self) -> None:
        patience = self._api.patience
        pause = patience.first_pause
        while not self._stopping.is_set():
            started, wait = time.monotonic(), 0.0
            try:
                self._follow()
            except ApiError as error:
                if self._stopping.is_set():
                    return
                wait = self._learn_from(error)
            if time.monotonic() - started > LASTED:
                pause = patience.first_pause
            self._stopping.wait(max(wait, pause * random.uniform(0.5, 1.0)))
            pause = min(pause * 2, patience.longest_pause)

    def _learn_from(self, error: ApiError) -> float:
        """What a failure means for the next attempt; seconds to wait at least."""
        too_new = error.status == 504 and "resource version" in str(error).lower()
        if error.status == 410 or too_new:
            self._version = None  # ordinary after each restart of an API server
            return 0.0
        initial = self._version is None
        refused = error.status in (400, 422) or (
            error.status == 500 and isinstance(error, ErrorEvent)
        )
        if initial and self._watch_list and (refused or isinstance(error, Silence)):
            self._watch_list = False  # the server has no WatchList, or its etcd is too old for it
            if refused:
                return 0.0
        if isinstance(error, Silence) and not self._heard:
            self._version = (
                None  # of the future, after a restore: such a watch stays silent for ever
            )
        self._api.forget()
        self._failures += 1
        # A single broken watch is how API servers restart: no news before the next attempt fails as well.
        if self._failures > 1 or self._listed_at is None or error.status in (401, 403):
            self._sink.failed(str(error))
        return error.retry_after

    def _follow(self) -> None:
        """One list and watch, or one watch from where the last one ended."""
        patience = self._api.patience
        if self._listed_at is None or time.monotonic() - self._listed_at > patience.fresh_list:
            self._version = None
        if self._version is None and not self._watch_list:
            self._list()
        initial: list[T] | None = None
        query = {**self._query, "allowWatchBookmarks": "true"}
        if self._version is None:
            initial = []
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        else:
            query["resourceVersion"] = self._version
        self._heard = False
        # A server that has just started says nothing, not even bookmarks, until something changes. That it grants a
        # watch from where we are is enough to know that we miss nothing.
        opened = _nothing if initial is not None else self._well
        for kind, thing in self._api.watch(self._path, query, opened):
            if self._stopping.is_set():
                return
            initial = self._take(kind, thing, initial)
        if initial is not None:
            self._watch_list = False
            raise ApiError(0, "the watch ended before its initial events did")
        if not self._heard:
            self._version = None

    def _take(self, kind: str, thing: Thing, initial: list[T] | None) -> list[T] | None:
        """One event; the initial list while it still grows, None once it has been told."""
        metadata = _part(thing, "metadata")
        if kind == "BOOKMARK":
            ends = _part(metadata, "annotations").get(INITIAL_END) == "true"
            if initial is not None and not ends:
                # Servers from before WatchList overlook the wish for it, and the end would never come.
                raise ErrorEvent(422, "a bookmark came before the initial events had ended")
            self._resume_from(metadata)
            if initial is not None:
                self._tell_list(initial)
            return None
        if initial is not None:
            initial.append(self._slim(thing))
            return initial
        self._resume_from(metadata)
        if kind == "DELETED":
            self._sink.deleted(self._slim(thing))
        else:
            self._sink.changed(self._slim(thing))
        return None

    def _list(self) -> None:
        things: list[T] = []
        query = {**self._query, "limit": str(PAGE)}
        while not self._stopping.is_set():
            answer = self._api.get(self._path, query)
            items = answer.get("items")
            things += [self._slim(thing) for thing in (items if isinstance(items, list) else ())]
            metadata = _part(answer, "metadata")
            if not metadata.get("continue"):
                self._resume_from(metadata)
                self._tell_list(things)
                return
            query["continue"] = str(metadata["continue"])

    def _tell_list(self, things: list[T]) -> None:
        self._listed_at = time.monotonic()
        self._sink.listed(things)

    def _resume_from(self, metadata: Thing) -> None:
        """Note that the server is well, and where its next watch may begin."""
        version = metadata.get("resourceVersion")
        self._version = version if isinstance(version, str) and version else None
        self._heard = True
        self._well()

    def _well(self) -> None:
        self._failures = 0
        self._sink.recovered()


def _nothing() -> None:
    """What the grant of an initial stream means: only its end means that we know everything."""


def _part(thing: Thing, key: str) -> Thing:
    value = thing.get(key)
    return value if isinstance(value, dict) else {}
