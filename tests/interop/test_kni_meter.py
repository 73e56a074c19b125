"""What an operator hears of KNI's calls: durations by who did the work, refusals by cause, lines of the log."""

from __future__ import annotations

import logging
import re

import grpc
import pytest

from kroute.drivers.kni.client import KniClient, Refused
from kroute.drivers.kni.door import take
from kroute.drivers.kni.fast import FastPath
from kroute.drivers.kni.meter import Meter
from kroute.drivers.kni.server import KniServer
from kroute.model.kni import DeleteRequest, Generation
from support.kni import KniNode

pytestmark = pytest.mark.root


class Site:
    """A node whose first pod is attached by plugins, the others by the fast path."""

    def __init__(self, node: KniNode) -> None:
        self.node, self.meter = node, Meter()
        self.server = KniServer(node.core(fast=FastPath()), self.meter)
        with node.node.entered():
            self.server.start(take((node.folder / "kni.sock",)))

    def client(self, generation: Generation | None = Generation.V008) -> KniClient:
        return KniClient(str(self.node.folder / "kni.sock"), generation, timeout=20.0)

    def counts(self) -> dict[tuple[str, str], int]:
        return {key: sum(h.counts) for key, h in self.meter.durations.items()}


@pytest.fixture
def site():
    with KniNode() as node:
        made = Site(node)
        yield made
        made.server.stop(0)


def test_durations_tell_who_attached_and_who_detached_and_queries_are_nobody_s(site):
    a, b, c = (site.node.pod(name) for name in "abc")
    with site.client() as wire:
        for pod in (a, b, c):
            wire.attach(pod.name, pod.path)
            wire.query(pod.name)
        wire.nodes()
        wire.detach(a.name)
        wire.detach(b.name)
        wire.detach("nobody")
        wire.delete(DeleteRequest(id=c.name))
    assert site.counts() == {
        ("AttachInterface", "exec"): 1,
        ("AttachInterface", "fast"): 2,
        ("DetachInterface", "exec"): 1,
        ("DetachInterface", "fast"): 1,
        ("DetachInterface", ""): 1,
        ("DeleteNetwork", "fast"): 1,
        ("QueryPodNetwork", ""): 3,
        ("QueryNodeNetworks", ""): 1,
    }
    assert (site.meter.in_flight, site.meter.errors) == (0, {})


def test_refusals_are_counted_by_cause_and_the_log_names_the_pod(site, caplog):
    caplog.set_level(logging.INFO)
    pod = site.node.pod("a")
    with site.client() as wire:
        with pytest.raises(Refused):
            wire.attach(pod.name, "/run/netns/none")
        wire.attach(pod.name, pod.path)
        with pytest.raises(Refused):
            wire.attach(pod.name, site.node.pod("b").path)
        wire.detach(pod.name)
    assert site.meter.errors == {
        ("AttachInterface", grpc.StatusCode.INVALID_ARGUMENT.name): 1,
        ("AttachInterface", grpc.StatusCode.FAILED_PRECONDITION.name): 1,
    }
    refused, attached, conflict, detached = caplog.messages
    assert refused.startswith(f"AttachInterface id={pod.name} refused: /run/netns/none is no")
    addresses = r"eth0=10\.244\.1\.2,fd00:10:244:1::2 kroute0=\S+ veth\S+ lo=127\.0\.0\.1,::1"
    said = (
        rf"attached id={pod.name} pod=- netns={pod.path} how=exec generation=v0\.0\.8 {addresses}"
    )
    assert re.fullmatch(said, attached)
    assert conflict.startswith(f"AttachInterface id={pod.name} refused: ")
    assert detached == f"detached id={pod.name} pod=-"


def test_a_client_that_asks_which_generation_is_served_is_no_refusal(site, caplog):
    with site.client(None) as wire:
        assert wire.generation is Generation.V008
    assert (site.meter.errors, caplog.messages) == ({}, [])
    assert not any(method.startswith("Attach") for method, _ in site.counts())
