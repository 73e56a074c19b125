"""A kubelet of the fork, as far as KNI sees it: many pods at once, by the fork's own sequence of calls.

The fork sets no deadline and never repeats a call by itself. An attach that fails makes it give the sandbox up, and
its next sync makes another one with a new id; everything else is asked again by the next sync (``facts`` of the fork:
updateRuntimeUp, RunPodSandbox, GetPodStatus, KillPod).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar

from kroute.drivers.kni.client import KniClient, Refused
from kroute.model.kni import CreateRequest, DeleteRequest, Generation, PodReply, PortMapping
from support.daemon import Kroute
from support.kni_daemon import client, ready

T = TypeVar("T")
PATIENCE = 60.0
"""Seconds until a sync that does not succeed is a failure of the test."""
WORKERS = 8
HOST = ("nsenter", f"--mount=/proc/{os.getpid()}/ns/mnt")
"""Words before the daemon's command: `ip netns exec` gives a program mounts of its own, and namespaces that
CreateNetwork makes there would go with them."""


@dataclass
class Pod:
    """One pod; its sandboxes come and go until one has an address."""

    name: str
    netns: str = ""
    """Of its sandbox, where the container runtime makes it; empty: made by CreateNetwork."""
    generation: Generation = Generation.V005
    sandbox: str = ""
    ip: str = ""
    dead: list[str] = field(default_factory=list)
    """Ids of sandboxes that were given up."""


class BusyKubelet:
    """Pods of one node; ``away`` counts the calls that met no server and were made again by a later sync."""

    def __init__(self, kroute: Kroute, pods: Iterable[Pod], namespace: str) -> None:
        self.kroute, self.namespace = kroute, namespace
        self.pods = list(pods)
        self.away = 0
        self._numbers = count()

    def restart_node(self, number: int) -> None:
        """End the daemon by a signal and start it again."""
        self.kroute.end(number)
        self.kroute.start(*HOST)

    def start(self) -> None:
        """Every pod, some at once; returns when each has an address."""
        self._each(self._start)

    def stop(self) -> None:
        """KillPod of every pod."""
        self._each(self._kill)

    def statuses(self) -> dict[str, PodReply]:
        """GetPodStatus of every sandbox there ever was; an error would fail the pod's status."""
        with client(self.kroute) as wire:
            return {
                sandbox: wire.query(sandbox)
                for pod in self.pods
                for sandbox in (*pod.dead, *([pod.sandbox] if pod.sandbox else ()))
            }

    def _each(self, work: Callable[[KniClient, Pod], None]) -> None:
        def some(mine: list[Pod]) -> None:
            for pod in mine:
                with client(self.kroute, pod.generation) as wire:
                    work(wire, pod)

        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(some, [self.pods[i::WORKERS] for i in range(WORKERS)]))

    def _synced(self, call: Callable[[], T]) -> T:
        """What the next sync that meets a living server makes of it."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return call()
            except Refused:
                self.away += 1
                if time.monotonic() > end:
                    raise
                ready(self.kroute)

    def _start(self, wire: KniClient, pod: Pod) -> None:
        end = time.monotonic() + PATIENCE
        while not pod.ip:
            assert time.monotonic() < end, f"{pod.name} gets no address"
            assert self._synced(wire.nodes).networks[0].ready
            netns = pod.netns or self._synced(lambda: self._create(wire, pod))
            pod.sandbox = f"{pod.name}-{next(self._numbers)}"
            try:
                self._attach(wire, pod, netns)
            except Refused:
                self.away += 1  # FailedNetworkAttach: execution goes on, the query decides
            found = self._synced(lambda: wire.query(pod.sandbox)).ipconfigs
            if "eth0" in found:
                pod.ip = found["eth0"].ip[0]
            else:
                self._kill(wire, pod)

    def _create(self, wire: KniClient, pod: Pod) -> str:
        return wire.create(CreateRequest(name=pod.name, namespace=self.namespace)).netns_path

    def _attach(self, wire: KniClient, pod: Pod, netns: str) -> None:
        labels = {
            "io.kubernetes.pod.name": pod.name,
            "io.kubernetes.pod.namespace": self.namespace,
        }
        if pod.generation is Generation.V005:
            wire.attach(pod.sandbox, netns, labels=labels)
        else:
            ports = (PortMapping(container_port=80),)
            who = {"name": pod.name, "namespace": self.namespace}
            wire.attach(pod.sandbox, netns, labels=labels, port_mappings=ports, **who)

    def _kill(self, wire: KniClient, pod: Pod) -> None:
        """Detach by id alone; then, where the fork knows it, DeleteNetwork."""
        self._synced(lambda: wire.detach(pod.sandbox))
        if not pod.netns:
            gone = DeleteRequest(id=pod.sandbox)
            self._synced(lambda: wire.delete(gone))
        pod.dead.append(pod.sandbox)
        pod.sandbox = pod.ip = ""
