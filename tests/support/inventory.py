"""Node objects, kubeconfig files, and a listener to inventory drivers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from kroute.drivers.inventory import InventoryDriver
from kroute.drivers.inventory.api import Patience
from kroute.model.inventory import (
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

DEADLINE = 60.0
PROMPT = Patience(connect=10, answer=10, silence=60, first_pause=0.02, longest_pause=0.1)
"""Tries again at once, but never takes a busy machine for a dead server."""
HASTY = Patience(connect=10, answer=10, silence=1, first_pause=0.02, longest_pause=0.1)
"""For tests whose matter is a server that falls silent, and for no others."""


def node_object(number: int, **labels: str) -> dict[str, Any]:
    """A Node as Kubernetes prints it: n1 has 10.0.0.1 and 10.244.1.0/24, and so on."""
    high, low = divmod(number, 256)
    cidr = f"10.{244 + high}.{low}.0/24"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": f"n{number}",
            "labels": labels,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
        "status": {"addresses": [{"type": "InternalIP", "address": f"10.0.{high}.{low}"}]},
    }


def pod_object(name: str, node: str, namespace: str = "default", **labels: str) -> dict[str, Any]:
    """A pod that is bound to a node."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "example.invalid/c"}]},
    }


def kubeconfig(path: Path, server: str, user: dict[str, Any] | None = None, **cluster: Any) -> str:
    """Write a kubeconfig for a server; its path."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        "clusters": [{"name": "lab", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "lab", "user": user or {}}],
    }
    path.write_text(yaml.safe_dump(document))
    return str(path)


class Told:
    """What a driver has told so far."""

    def __init__(self) -> None:
        self.events: list[InventoryEvent] = []
        self.nodes: dict[str, Node] = {}
        self.lists = 0
        self.removed: list[str] = []
        """Names in the order in which they were told gone, by event or by absence from a list."""
        self.services: dict[str, Service] = {}
        self.slices: dict[str, EndpointSlice] = {}
        self.service_lists = [0, 0]
        """How often all services, and all slices, were told."""
        self.problems_of: dict[str, tuple[Problem, ...]] = {}
        self.stale_lists: dict[str, str] = {}
        self._news = asyncio.Event()

    def take(self, event: InventoryEvent) -> None:
        """Note an event and what is known after it."""
        self.events.append(event)
        match event:
            case Listed(nodes):
                self.lists += 1
                listed = {node.name: node for node in nodes}
                self.removed += [name for name in self.nodes if name not in listed]
                self.nodes = listed
            case NodeChanged(node):
                self.nodes[node.name] = node
            case NodeGone(name):
                self.removed.append(name)
                self.nodes.pop(name)
            case Problems(problems, of):
                self.problems_of[of] = problems
            case Stale(reason, of):
                self.stale_lists[of] = reason
            case Fresh(of):
                self.stale_lists.pop(of, None)
            case _:
                self._take_service(event)
        self._news.set()

    def _take_service(self, event: InventoryEvent) -> None:
        match event:
            case ServicesListed(services):
                self.service_lists[0] += 1
                self.services = {s.key: s for s in services}
            case SlicesListed(slices):
                self.service_lists[1] += 1
                self.slices = {s.key: s for s in slices}
            case ServiceChanged(service):
                self.services[service.key] = service
            case SliceChanged(changed):
                self.slices[changed.key] = changed
            case ServiceGone(key):
                self.services.pop(key)
            case SliceGone(key):
                self.slices.pop(key)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with any object."""
        return tuple(p for of in sorted(self.problems_of) for p in self.problems_of[of])

    @property
    def stale(self) -> str | None:
        """Why the source of some list does not answer."""
        return next(iter(self.stale_lists.values()), None)

    async def until(self, holds: Callable[[Told], object], deadline: float = DEADLINE) -> None:
        """Return when something holds of what was told.

        Raises:
            AssertionError: it did not before the deadline; says what was told.
        """
        try:
            async with asyncio.timeout(deadline):
                while not holds(self):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            last = self.events[-8:]
            raise AssertionError(f"not within {deadline} s; last told: {last}") from None

    def names(self) -> list[str]:
        """Names of the nodes that are known."""
        return sorted(self.nodes)


@asynccontextmanager
async def following(driver: InventoryDriver) -> AsyncIterator[Told]:
    """A driver at work; it is cancelled at the end, and must then end at once and in silence."""
    told = Told()
    task = asyncio.create_task(driver.watch(told.take))
    try:
        yield told
        assert not task.done(), f"the driver ended by itself: {task!r}"
    finally:
        task.cancel()
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(task, return_exceptions=True)
        count = len(told.events)
        await asyncio.sleep(0)
        assert len(told.events) == count, "it told something after its end"


async def eventually(holds: Callable[[], object], deadline: float = DEADLINE) -> None:
    """Return when something outside the events holds.

    Raises:
        AssertionError: it did not before the deadline.
    """
    try:
        async with asyncio.timeout(deadline):
            while not holds():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {deadline} s") from None
