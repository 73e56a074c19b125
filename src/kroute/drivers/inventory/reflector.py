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
from typing import Any, Final, Protocol

from kroute.drivers.inventory.api import Api, ApiError

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 10.0
PAGE: Final = 250
LASTED: Final = 10.0
"""Seconds that a watch must have lived for the back-off to start anew."""
FRESH_LIST: Final = 3600.0
"""Seconds after which everything is listed anew: a server restored from a backup may be silently behind us."""

Thing = dict[str, Any]


class Sink(Protocol):
    """Who is told; called in the reflector's thread."""

    def listed(self, things: list[Thing]) -> None:
        """Everything there is."""

    def changed(self, thing: Thing) -> None:
        """An object is new or has changed."""

    def deleted(self, thing: Thing) -> None:
        """An object is gone."""

    def failed(self, reason: str) -> None:
        """The server does not answer as it should; what was told stays true."""

    def recovered(self) -> None:
        """It does again."""


class Reflector(threading.Thread):
    """Follows one resource. ``slim`` keeps of each object only what the sink needs, as it arrives."""

    def __init__(
        self, api: Api, path: str, query: dict[str, str], slim: Callable[[Thing], Any], sink: Any
    ) -> None:
        super().__init__(name=f"reflector {path}", daemon=True)
        self._api, self._path, self._query, self._slim, self._sink = api, path, query, slim, sink
        self._version: str | None = None
        self._listed_at = 0.0
        self._watch_list = True
        self._healthy = False
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End soon, also in the middle of a silent watch."""
        self._stopping.set()
        self._api.interrupt()

    def run(self) -> None:
        """Follow until stopped."""
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            started = time.monotonic()
            wait = 0.0
            try:
                self._follow()
            except ApiError as error:
                if self._stopping.is_set():
                    return
                wait = self._learn_from(error)
            if time.monotonic() - started > LASTED:
                pause = FIRST_PAUSE
            self._stopping.wait(max(wait, pause * random.uniform(0.5, 1.0)))
            pause = min(pause * 2, LONGEST_PAUSE)

    def _learn_from(self, error: ApiError) -> float:
        """What a failure means for the next attempt; seconds to wait at least."""
        initial = self._version is None
        if error.status == 410 or (
            error.status == 504 and "resource version" in str(error).lower()
        ):
            self._version = None
            return 0.0
        if error.status in (400, 422, 500) and initial and self._watch_list:
            self._watch_list = False  # the server has no WatchList, or its etcd is too old for it
            return 0.0
        if error.status == 401:
            self._api.reconnect()
        self._healthy = False
        self._sink.failed(str(error))
        return error.retry_after

    def _follow(self) -> None:
        """One list and watch, or one watch from where the last one ended."""
        if time.monotonic() - self._listed_at > FRESH_LIST:
            self._version = None
        if self._version is None and not self._watch_list:
            self._list()
        initial: list[Any] | None = None
        query = {**self._query, "allowWatchBookmarks": "true"}
        if self._version is None:
            initial = []
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        else:
            query |= {"resourceVersion": self._version}
        for kind, thing in self._api.watch(self._path, query):
            if self._stopping.is_set():
                return
            initial = self._take(kind, thing, initial)
        if initial is not None:
            raise ApiError(0, "the watch ended before its initial events did")

    def _take(self, kind: str, thing: Thing, initial: list[Any] | None) -> list[Any] | None:
        """One event; the initial list while it still grows, None once it has been told."""
        metadata = thing.get("metadata") or {}
        version = metadata.get("resourceVersion")
        if kind == "BOOKMARK":
            ends = (metadata.get("annotations") or {}).get("k8s.io/initial-events-end") == "true"
            if initial is not None and not ends:
                return initial
            self._version = version
            if initial is not None:
                self._tell_list(initial)
            self._well()
            return None
        if initial is not None:
            initial.append(self._slim(thing))
            return initial
        self._version = version
        self._well()
        if kind == "DELETED":
            self._sink.deleted(self._slim(thing))
        else:
            self._sink.changed(self._slim(thing))
        return None

    def _list(self) -> None:
        things: list[Any] = []
        query = {**self._query, "limit": str(PAGE)}
        while True:
            answer = self._api.get(self._path, query)
            things += [self._slim(thing) for thing in answer.get("items") or ()]
            metadata = answer.get("metadata") or {}
            if not metadata.get("continue"):
                break
            query["continue"] = metadata["continue"]
        self._version = metadata.get("resourceVersion")
        self._tell_list(things)

    def _tell_list(self, things: list[Any]) -> None:
        self._listed_at = time.monotonic()
        self._sink.listed(things)
        self._well()

    def _well(self) -> None:
        if not self._healthy:
            self._healthy = True
            self._sink.recovered()
