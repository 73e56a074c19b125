"""Nodes from a Kubernetes API server.

The reflector's thread turns each object into a slim :class:`~kroute.model.node.Node` as it arrives and hands events to
the event loop; nothing of the 9 KiB that a Node object has stays in memory. While the server is away, for hours if need
be, the last known nodes stay in force.
"""

from __future__ import annotations

import asyncio
import logging

from kroute.codec.kubernetes import node_of
from kroute.drivers.inventory import Emit
from kroute.drivers.inventory.api import Api
from kroute.drivers.inventory.credentials import find_access
from kroute.drivers.inventory.reflector import Reflector
from kroute.model.config import KubernetesInventory
from kroute.model.errors import InputError
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
ACCESS_RETRY = 5.0
"""Seconds until credentials that could not be used are read again."""

Slim = tuple[Node | None, tuple[Problem, ...]]


class KubernetesInventoryDriver:
    """Follows the Node objects of one cluster."""

    def __init__(self, config: KubernetesInventory, api: Api | None = None) -> None:
        self._config = config
        self._api = api

    async def watch(self, emit: Emit) -> None:
        """Tell of nodes until cancelled."""
        api = self._api or await self._open(emit)
        query = (
            {"labelSelector": self._config.label_selector} if self._config.label_selector else {}
        )
        reflector = Reflector(api, NODES, query, node_of, _NodeSink(emit))
        reflector.start()
        try:
            await asyncio.Event().wait()
        finally:
            reflector.stop()

    async def _open(self, emit: Emit) -> Api:
        """Find the server; credentials may arrive after us."""
        while True:
            try:
                return Api(await asyncio.to_thread(find_access, self._config.kubeconfig))
            except (InputError, OSError) as error:
                emit(Stale(f"no access to the Kubernetes API: {error}"))
                await asyncio.sleep(ACCESS_RETRY)


class _NodeSink:
    """Turns what the reflector tells, in its thread, into events in the loop; keeps each node's problems."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._problems: dict[str, tuple[Problem, ...]] = {}
        self._told: tuple[Problem, ...] = ()

    def listed(self, things: list[Slim]) -> None:
        self._problems = {p[0].object: p for _, p in things if p}
        self._tell(Listed(tuple(node for node, _ in things if node is not None)))
        self._tell_problems()

    def changed(self, thing: Slim) -> None:
        node, problems = thing
        if node is not None:
            self._problems[f"node/{node.name}"] = problems
            self._tell(NodeChanged(node))
            self._tell_problems()

    def deleted(self, thing: Slim) -> None:
        node, _ = thing
        if node is not None:
            self._problems.pop(f"node/{node.name}", None)
            self._tell(NodeGone(node.name))
            self._tell_problems()

    def failed(self, reason: str) -> None:
        log.warning("inventory: %s; the last known nodes stay in force", reason)
        self._tell(Stale(reason))

    def recovered(self) -> None:
        self._tell(Fresh())

    def _tell_problems(self) -> None:
        now = tuple(p for name in sorted(self._problems) for p in self._problems[name])
        if now != self._told:
            self._told = now
            self._tell(Problems(now))

    def _tell(self, event: InventoryEvent) -> None:
        try:
            self._loop.call_soon_threadsafe(self._emit, event)
        except RuntimeError:
            pass  # the loop has ended before this thread
