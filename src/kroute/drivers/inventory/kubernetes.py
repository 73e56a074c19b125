"""Nodes from a Kubernetes API server.

The reflector's thread turns each object into a slim :class:`~kroute.model.node.Node` as it arrives and hands events to
the event loop; nothing of the 9 KiB that a Node object has stays in memory. While the server is away, for hours if need
be, the last known nodes stay in force.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from kroute.codec.kubernetes import node_of
from kroute.drivers.inventory import Emit
from kroute.drivers.inventory.api import Api, Patience
from kroute.drivers.inventory.credentials import find_access
from kroute.drivers.inventory.reflector import Reflector
from kroute.model.config import KubernetesInventory
from kroute.model.inventory import (
    Fresh,
    InventoryEvent,
    Listed,
    NodeChanged,
    NodeGone,
    Problems,
    Stale,
)
from kroute.model.node import Node
from kroute.model.problem import Problem

log = logging.getLogger(__name__)

NODES = "/api/v1/nodes"

T = TypeVar("T")
Slim = tuple[Node | None, tuple[Problem, ...]]


class KubernetesInventoryDriver:
    """Follows the Node objects of one cluster."""

    def __init__(self, config: KubernetesInventory, patience: Patience | None = None) -> None:
        self._config = config
        self._patience = patience or Patience()

    async def watch(self, emit: Emit) -> None:
        """Tell of nodes until cancelled."""
        selector = self._config.label_selector
        sink = _NodeSink(emit)
        reflector = Reflector(
            Api(partial(find_access, self._config.kubeconfig), self._patience),
            NODES,
            {"labelSelector": selector} if selector else {},
            node_of,
            sink,
        )
        reflector.start()
        try:
            await sink.crash
        finally:
            sink.close()
            reflector.stop()


class _NodeSink:
    """Turns what the reflector tells, in its thread, into events in the loop.

    Kubelets write their Node object every few minutes and whenever a condition changes: what is the same to us is
    not told again.
    """

    def __init__(self, emit: Emit) -> None:
        self._loop = asyncio.get_running_loop()
        self.crash: asyncio.Future[None] = self._loop.create_future()
        self._emit: Emit | None = emit
        self._nodes: dict[str, Node] = {}
        self._problems: dict[str, tuple[Problem, ...]] = {}
        self._told: tuple[Problem, ...] = ()
        self._stale = ""
        self._well_at = ""

    def close(self) -> None:
        """Tell nothing more, not even what is on its way."""
        self._emit = None

    def listed(self, things: list[Slim]) -> None:
        self._nodes = {node.name: node for node, _ in things if node is not None}
        self._problems = {p[0].object: p for _, p in things if p}
        self._tell(Listed(tuple(self._nodes.values())))
        self._tell_problems()

    def changed(self, thing: Slim) -> None:
        node, problems = thing
        if node is None:
            return
        if self._nodes.get(node.name) != node:
            self._nodes[node.name] = node
            self._tell(NodeChanged(node))
        self._note_problems(node.name, problems)

    def deleted(self, thing: Slim) -> None:
        node, _ = thing
        if node is not None and self._nodes.pop(node.name, None) is not None:
            self._tell(NodeGone(node.name))
            self._note_problems(node.name, ())

    def failed(self, reason: str) -> None:
        known = f"no news since {self._well_at}" if self._well_at else "never reached"
        told = f"{reason} ({known})"
        if told != self._stale:
            self._stale = told
            log.warning("inventory: %s; the last known nodes stay in force", told)
            self._tell(Stale(told))

    def recovered(self) -> None:
        self._well_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._stale:
            self._stale = ""
            log.info("inventory: the API server answers again")
            self._tell(Fresh())

    def crashed(self, error: BaseException) -> None:
        self._in_loop(self._crash_with, error)

    def _crash_with(self, error: BaseException) -> None:
        if not self.crash.done():
            self.crash.set_exception(error)

    def _note_problems(self, name: str, problems: tuple[Problem, ...]) -> None:
        self._problems.pop(f"node/{name}", None)
        if problems:
            self._problems[f"node/{name}"] = problems
        self._tell_problems()

    def _tell_problems(self) -> None:
        now = tuple(p for name in sorted(self._problems) for p in self._problems[name])
        if now != self._told:
            self._told = now
            self._tell(Problems(now))

    def _tell(self, event: InventoryEvent) -> None:
        self._in_loop(self._deliver, event)

    def _deliver(self, event: InventoryEvent) -> None:
        if self._emit is not None:
            self._emit(event)

    def _in_loop(self, call: Callable[[T], None], argument: T) -> None:
        try:
            self._loop.call_soon_threadsafe(call, argument)
        except RuntimeError:
            pass  # the loop has ended before this thread
