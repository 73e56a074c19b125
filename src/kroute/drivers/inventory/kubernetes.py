"""Nodes from a Kubernetes API server.

The reflector's thread turns each object into a slim :class:`~kroute.model.node.Node` as it arrives and hands events to
the event loop; nothing of the 9 KiB that a Node object has stays in memory. While the server is away, for hours if need
be, the last known nodes stay in force; so they do while it tells a list that cannot be true, for lack of the own node.
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

    def __init__(
        self, config: KubernetesInventory, patience: Patience | None = None, *, me: str = ""
    ) -> None:
        """``me`` is the node that must be in every list for it to be believed; empty: any list is."""
        self._config = config
        self._me = me
        self._patience = patience or Patience()

    async def watch(self, emit: Emit) -> None:
        """Tell of nodes until cancelled."""
        selector = self._config.label_selector
        sink = _NodeSink(emit, self._me, selector)
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
    not told again. A list without the own node comes from an API server that was restored empty, or through a wrong
    selector: what is in it is news, and nothing is gone because it is not, until the own node is there again.
    """

    def __init__(self, emit: Emit, me: str, selector: str) -> None:
        self._loop = asyncio.get_running_loop()
        self.crash: asyncio.Future[None] = self._loop.create_future()
        self._emit: Emit | None = emit
        self._me = me
        self._selector = selector
        self._nodes: dict[str, Node] = {}
        self._unlisted: set[str] | None = None
        """Nodes that a list without the own node lacks or that went since; None where the list is believed."""
        self._problems: dict[str, tuple[Problem, ...]] = {}
        self._told: tuple[Problem, ...] = ()
        self._failure = ""
        self._stale = ""
        self._well_at = ""

    def close(self) -> None:
        """Tell nothing more, not even what is on its way."""
        self._emit = None

    def listed(self, things: list[Slim]) -> None:
        nodes = {node.name: node for node, _ in things if node is not None}
        self._problems = {p[0].object: p for _, p in things if p}
        if not self._me or self._me in nodes:
            self._believe(nodes)
        else:
            self._unlisted = self._nodes.keys() - nodes.keys()
            for node in nodes.values():
                self._tell_node(node)
        self._tell_problems()
        self._tell_state()

    def _believe(self, nodes: dict[str, Node]) -> None:
        self._nodes, self._unlisted = nodes, None
        self._tell(Listed(tuple(nodes.values())))

    def changed(self, thing: Slim) -> None:
        node, problems = thing
        if node is None:
            return
        if self._unlisted is not None:
            self._unlisted.discard(node.name)
        if self._unlisted is not None and node.name == self._me:
            known = {**self._nodes, node.name: node}
            self._believe({k: v for k, v in known.items() if k not in self._unlisted})
            self._tell_state()
        else:
            self._tell_node(node)
        self._note_problems(node.name, problems)

    def _tell_node(self, node: Node) -> None:
        if self._nodes.get(node.name) != node:
            self._nodes[node.name] = node
            self._tell(NodeChanged(node))

    def deleted(self, thing: Slim) -> None:
        node, _ = thing
        if node is None or node.name not in self._nodes:
            return
        if self._unlisted is not None:
            self._unlisted.add(node.name)
            return
        del self._nodes[node.name]
        self._tell(NodeGone(node.name))
        self._note_problems(node.name, ())

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
        now = self._failure or self._doubt()
        if now == self._stale:
            return
        self._stale = now
        if now:
            log.warning("inventory: %s; the last known nodes stay in force", now)
            self._tell(Stale(now))
        else:
            log.info("inventory: the API server answers as it should again")
            self._tell(Fresh())

    def _doubt(self) -> str:
        """Why the server's list is not believed; empty if it is."""
        if self._unlisted is None:
            return ""
        through = f" with labelSelector {self._selector!r}" if self._selector else ""
        return (
            f"the API server's list of nodes{through} lacks this node, {self._me}, so it may lack any; "
            "nodeName or the selector may be wrong, or the server was restored without its nodes"
        )

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
