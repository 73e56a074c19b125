"""Nodes, and where wanted services, from a Kubernetes API server.

A reflector's thread for each list turns each object into a slim value as it arrives and hands events to the event loop;
nothing of the 9 KiB that a Node object has stays in memory. While the server is away, for hours if need be, the last
known objects stay in force; so they do while it tells lists that cannot be true (see ``doubt.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from kroute.codec.kubernetes import node_of
from kroute.codec.services import service_of, slice_of
from kroute.drivers.inventory import Emit, TellKeys, no_keys
from kroute.drivers.inventory.api import Api, Patience
from kroute.drivers.inventory.credentials import find_access
from kroute.drivers.inventory.doubt import NODES_PATH, NodeSink, ServiceSink
from kroute.drivers.inventory.reflector import Reflector
from kroute.drivers.inventory.sinks import Followed, ListSink, T
from kroute.model.config import KubernetesInventory
from kroute.model.inventory import (
    NODES,
    SERVICES,
    SLICES,
    Listed,
    NodeChanged,
    NodeGone,
    ServiceChanged,
    ServiceGone,
    ServicesListed,
    SliceChanged,
    SliceGone,
    SlicesListed,
)

NODE_LIST: Final = Followed(
    NODES, NODES_PATH, "node", node_of, lambda n: n.name, Listed, NodeChanged, NodeGone
)
SERVICE_LIST: Final = Followed(
    SERVICES,
    "/api/v1/services",
    "service",
    service_of,
    lambda s: s.key,
    ServicesListed,
    ServiceChanged,
    ServiceGone,
)
SLICE_LIST: Final = Followed(
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
        started = [
            self._follow(NodeSink(emit, crash, NODE_LIST, self._me, selector, self._keys), query)
        ]
        if self._services:
            of_services = ServiceSink(emit, crash, SERVICE_LIST, self._me, self._api())
            of_slices = ServiceSink(emit, crash, SLICE_LIST, self._me, self._api())
            started += [self._follow(of_services, {}), self._follow(of_slices, {})]
        try:
            await crash
        finally:
            for stop in started:
                stop()

    def _api(self) -> Api:
        return Api(partial(find_access, self._config.kubeconfig), self._patience)

    def _follow(self, sink: ListSink[T], query: dict[str, str]) -> Callable[[], None]:
        """Start to follow one list; returns how to end that."""
        reflector = Reflector(self._api(), sink.followed.path, query, sink.slim, sink)
        reflector.start()

        def stop() -> None:
            sink.close()
            reflector.stop()

        return stop
