"""Nodes, and where wanted services, from a Kubernetes API server.

A reflector's thread for each list turns each object into a slim value as it arrives and hands events to the event loop;
nothing of the 9 KiB that a Node object has stays in memory. While the server is away, for hours if need be, the last
known objects stay in force; so they do while it tells a list of nodes that cannot be true, for lack of the own one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeVar

from kroute.codec.kubernetes import keys_of, node_of
from kroute.codec.services import service_of, slice_of
from kroute.drivers.inventory import Emit, TellKeys, no_keys
from kroute.drivers.inventory.api import Api, Patience
from kroute.drivers.inventory.credentials import find_access
from kroute.drivers.inventory.reflector import Reflector
from kroute.model.config import KubernetesInventory
from kroute.model.inventory import (
    NODES,
    SERVICES,
    SLICES,
    Fresh,
    InventoryEvent,
    Listed,
    NodeChanged,
    NodeGone,
    Problems,
    ServiceChanged,
    ServiceGone,
    ServicesListed,
    SliceChanged,
    SliceGone,
    SlicesListed,
    Stale,
)
from kroute.model.node import Node
from kroute.model.problem import Problem
from kroute.model.service import EndpointSlice, Service
from kroute.model.session_keys import AnnotatedKey

log = logging.getLogger(__name__)

T = TypeVar("T", Node, Service, EndpointSlice)
A = TypeVar("A")
Slim = tuple[T | None, tuple[Problem, ...]]


@dataclass(frozen=True, slots=True)
class _Followed(Generic[T]):
    """One list of the API, and the words and events in which it is told of."""

    of: str
    path: str
    kind: str
    """As problems name its objects."""
    slim: Callable[[Any], Slim[T]]
    key: Callable[[T], str]
    listed: Callable[[tuple[T, ...]], InventoryEvent]
    changed: Callable[[T], InventoryEvent]
    gone: Callable[[str], InventoryEvent]


NODE_LIST: Final = _Followed(
    NODES, "/api/v1/nodes", "node", node_of, lambda n: n.name, Listed, NodeChanged, NodeGone
)
SERVICE_LIST: Final = _Followed(
    SERVICES,
    "/api/v1/services",
    "service",
    service_of,
    lambda s: s.key,
    ServicesListed,
    ServiceChanged,
    ServiceGone,
)
SLICE_LIST: Final = _Followed(
    SLICES,
    "/apis/discovery.k8s.io/v1/endpointslices",
    "endpointslice",
    slice_of,
    lambda s: s.key,
    SlicesListed,
    SliceChanged,
    SliceGone,
)


class KubernetesInventoryDriver:
    """Follows the Node objects of one cluster, and its Services and EndpointSlices where wanted."""

    def __init__(
        self,
        config: KubernetesInventory,
        patience: Patience | None = None,
        *,
        me: str = "",
        services: bool = False,
        keys: TellKeys = no_keys,
    ) -> None:
        """``me`` is the node that must be in every list for it to be believed; empty: any list is."""
        self._keys = keys
        self._config = config
        self._me = me
        self._patience = patience or Patience()
        self._services = services

    async def watch(self, emit: Emit) -> None:
        """Tell of nodes, and of services, until cancelled."""
        loop = asyncio.get_running_loop()
        crash: asyncio.Future[None] = loop.create_future()
        selector = self._config.label_selector
        query = {"labelSelector": selector} if selector else {}
        started = [self._follow(_NodeSink(emit, crash, self._me, selector, self._keys), query)]
        if self._services:
            started.append(self._follow(_Sink(emit, crash, SERVICE_LIST), {}))
            started.append(self._follow(_Sink(emit, crash, SLICE_LIST), {}))
        try:
            await crash
        finally:
            for stop in started:
                stop()

    def _follow(self, sink: _Sink[T], query: dict[str, str]) -> Callable[[], None]:
        """Start to follow one list; returns how to end that."""
        followed = sink.followed
        api = Api(partial(find_access, self._config.kubeconfig), self._patience)
        reflector = Reflector(api, followed.path, query, sink.slim, sink)
        reflector.start()

        def stop() -> None:
            sink.close()
            reflector.stop()

        return stop


class _Sink(Generic[T]):
    """Turns what a reflector tells, in its thread, into events in the loop.

    Kubelets write their Node object every few minutes and whenever a condition changes, and controllers their own: what
    is the same to us is not told again.
    """

    def __init__(self, emit: Emit, crash: asyncio.Future[None], followed: _Followed[T]) -> None:
        self._loop = asyncio.get_running_loop()
        self._crash = crash
        self._emit: Emit | None = emit
        self.followed: _Followed[T] = followed
        self._known: dict[str, T] = {}
        self._problems: dict[str, tuple[Problem, ...]] = {}
        self._told: tuple[Problem, ...] = ()
        self._failure = ""
        self._stale = ""
        self._well_at = ""

    def slim(self, thing: Any) -> Slim[T]:
        """What is kept of an object."""
        return self.followed.slim(thing)

    def close(self) -> None:
        """Tell nothing more, not even what is on its way."""
        self._emit = None

    def listed(self, things: list[Slim[T]]) -> None:
        key = self.followed.key
        self._problems = {p[0].object: p for _, p in things if p}
        self._take_list({key(thing): thing for thing, _ in things if thing is not None})
        self._tell_problems()
        self._tell_state()

    def _take_list(self, things: dict[str, T]) -> None:
        self._known = things
        self._tell(self.followed.listed(tuple(things.values())))

    def changed(self, slim: Slim[T]) -> None:
        thing, problems = slim
        if thing is None:
            return
        key = self.followed.key(thing)
        self._take_change(key, thing)
        self._note_problems(key, problems)

    def _take_change(self, key: str, thing: T) -> None:
        if self._known.get(key) != thing:
            self._known[key] = thing
            self._tell(self.followed.changed(thing))

    def deleted(self, slim: Slim[T]) -> None:
        thing, _ = slim
        if thing is not None and (key := self.followed.key(thing)) in self._known:
            self._take_removal(key)

    def _take_removal(self, key: str) -> None:
        del self._known[key]
        self._tell(self.followed.gone(key))
        self._note_problems(key, ())

    def failed(self, reason: str) -> None:
        known = f"no news since {self._well_at}" if self._well_at else "never reached"
        self._failure = f"{reason} ({known})"
        self._tell_state()

    def recovered(self) -> None:
        self._well_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._failure = ""
        self._tell_state()

    def _tell_state(self) -> None:
        """Whether what is known is true now; told once for each reason that it may not be."""
        now, of = self._failure or self._doubt(), self.followed.of
        if now == self._stale:
            return
        self._stale = now
        if now:
            log.warning("inventory: %s; the last known %s stay in force", now, of)
            self._tell(Stale(now, of))
        else:
            log.info("inventory: the API server answers as it should again about %s", of)
            self._tell(Fresh(of))

    def _doubt(self) -> str:
        """Why the server's list is not believed; empty if it is."""
        return ""

    def crashed(self, error: BaseException) -> None:
        self._in_loop(self._crash_with, error)

    def _crash_with(self, error: BaseException) -> None:
        if not self._crash.done():
            self._crash.set_exception(error)

    def _note_problems(self, key: str, problems: tuple[Problem, ...]) -> None:
        name = f"{self.followed.kind}/{key}"
        self._problems.pop(name, None)
        if problems:
            self._problems[name] = problems
        self._tell_problems()

    def _tell_problems(self) -> None:
        now = tuple(p for name in sorted(self._problems) for p in self._problems[name])
        if now != self._told:
            self._told = now
            self._tell(Problems(now, self.followed.of))

    def _tell(self, event: InventoryEvent) -> None:
        self._in_loop(self._deliver, event)

    def _deliver(self, event: InventoryEvent) -> None:
        if self._emit is not None:
            self._emit(event)

    def _in_loop(self, call: Callable[[A], None], argument: A) -> None:
        try:
            self._loop.call_soon_threadsafe(call, argument)
        except RuntimeError:
            pass  # the loop has ended before this thread


class _NodeSink(_Sink[Node]):
    """The sink of nodes, who are doubted.

    A list without the own node comes from an API server that was restored empty, or through a wrong selector: what is
    in it is news, and nothing is gone because it is not, until the own node is there again.
    """

    def __init__(
        self, emit: Emit, crash: asyncio.Future[None], me: str, selector: str, keys: TellKeys
    ) -> None:
        super().__init__(emit, crash, NODE_LIST)
        self._me = me
        self._keys = keys
        self._said: Mapping[str, AnnotatedKey] = {}
        """The keys in our annotations, when they were seen last."""
        self._selector = selector
        self._unlisted: set[str] | None = None
        """Nodes that a list without the own node lacks or that went since; None where the list is believed."""

    def slim(self, thing: Any) -> Slim[Node]:
        found = super().slim(thing)
        if found[0] is not None and found[0].name == self._me:
            self._said = keys_of(thing)
        return found

    def listed(self, things: list[Slim[Node]]) -> None:
        self._in_loop(self._deliver_keys, self._said)
        super().listed(things)

    def changed(self, slim: Slim[Node]) -> None:
        if slim[0] is not None and slim[0].name == self._me:
            self._in_loop(self._deliver_keys, self._said)
        super().changed(slim)

    def _deliver_keys(self, keys: Mapping[str, AnnotatedKey]) -> None:
        if self._emit is not None:
            self._keys(keys)

    def _take_list(self, things: dict[str, Node]) -> None:
        if not self._me or self._me in things:
            self._unlisted = None
            super()._take_list(things)
            return
        self._unlisted = self._known.keys() - things.keys()
        for name, node in things.items():
            super()._take_change(name, node)

    def _take_change(self, key: str, thing: Node) -> None:
        if self._unlisted is None:
            super()._take_change(key, thing)
            return
        self._unlisted.discard(key)
        if key != self._me:
            super()._take_change(key, thing)
            return
        known = {**self._known, key: thing}
        self._take_list({k: v for k, v in known.items() if k not in self._unlisted})
        self._tell_state()

    def _take_removal(self, key: str) -> None:
        if self._unlisted is not None:
            self._unlisted.add(key)
        else:
            super()._take_removal(key)

    def _doubt(self) -> str:
        if self._unlisted is None:
            return ""
        through = f" with labelSelector {self._selector!r}" if self._selector else ""
        return (
            f"the API server's list of nodes{through} lacks this node, {self._me}, so it may lack any; "
            "nodeName or the selector may be wrong, or the server was restored without its nodes"
        )
