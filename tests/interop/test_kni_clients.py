"""Clients that behave badly: they stall, flood, send nonsense; nobody else is hurt by them."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import pack
from typing import Any

import grpc
import pytest

from kroute.codec.kni.methods import METHODS
from kroute.codec.kni.wire import encode
from kroute.drivers.kni import porter
from kroute.drivers.kni.client import KniClient, Refused
from kroute.drivers.kni.door import take
from kroute.drivers.kni.meter import Meter
from kroute.drivers.kni.server import KniServer
from kroute.model.kni import AttachRequest, Generation, Isolation, PodReply
from support.kni import KniNode
from support.netns import wait_for

pytestmark = pytest.mark.root
HEALTH = "/grpc.health.v1.Health"
SERVING, NOT_SERVING, UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"


class Site:
    """A node whose server counts."""

    def __init__(self, node: KniNode) -> None:
        self.node, self.meter = node, Meter()
        self.path = node.folder / "kni.sock"
        self.core = node.core()
        self.server = KniServer(self.core, self.meter)
        with node.node.entered():
            self.server.start(take((self.path,)))

    def client(self) -> KniClient:
        return KniClient(str(self.path), Generation.V008, timeout=20.0)

    def serves(self, name: str) -> None:
        """A pod is attached, queried and detached."""
        pod = self.node.pod(name)
        with self.client() as wire:
            reply = wire.attach(pod.name, pod.path)
            assert wire.query(pod.name) == reply
            wire.detach(pod.name)
            assert wire.query(pod.name) == PodReply()


@pytest.fixture
def site():
    with KniNode() as node:
        made = Site(node)
        yield made
        made.server.stop(0)


@contextmanager
def channel(site: Site) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"unix:{site.path}") as made:
        yield made


class Silence:
    """Messages that never come; ends with :meth:`end`."""

    def __init__(self) -> None:
        self._over = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self._over.wait()
        raise StopIteration

    def end(self) -> None:
        self._over.set()


def test_clients_that_open_calls_and_say_nothing_hurt_nobody(site):
    silence = Silence()
    with channel(site) as wire:
        calls = [
            wire.stream_unary(METHODS[name].path).future(silence)
            for name in ("AttachInterface", "DetachNetwork", "QueryPodNetwork", "QueryNodeNetworks")
            for _ in range(24)
        ]
        calls += [wire.stream_stream(f"{HEALTH}/Watch")(silence) for _ in range(24)]
        wait_for(lambda: len(site.server._porter._awaited) == len(calls), what="calls to wait")
        site.serves("a")
        silence.end()
    assert site.core.store.attachments == {}


def test_a_call_whose_message_does_not_come_is_ended_and_counted(site, monkeypatch):
    monkeypatch.setattr(porter, "PATIENCE", 0.2)
    silence = Silence()
    with channel(site) as wire:
        call = wire.stream_unary(METHODS["AttachInterface"].path).future(silence)
        assert call.exception(timeout=15.0).code() is grpc.StatusCode.CANCELLED
        silence.end()
        assert site.meter.errors["AttachInterface", "CANCELLED"] == 1
        empty = wire.stream_unary(METHODS["AttachInterface"].path).future(iter(()))
        assert empty.exception(timeout=15.0).code() is grpc.StatusCode.INVALID_ARGUMENT


def test_stopping_waits_for_no_client_that_watches_or_stalls(site):
    silence, began = Silence(), threading.Event()
    with channel(site) as wire:
        stalled = wire.stream_unary(METHODS["AttachInterface"].path).future(silence)
        watch = wire.unary_stream(f"{HEALTH}/Watch")(b"")
        assert next(watch) == SERVING
        stopper = threading.Thread(target=lambda: (site.server.stop(60.0), began.set()))
        stopper.start()
        assert list(watch) == [NOT_SERVING]
        assert stalled.exception(timeout=15.0) is not None
        stopper.join(15.0)
        silence.end()
    assert began.is_set()


class Deaf:
    """A client in HTTP/2's own words that allows no octet of an answer (RFC 9113 §5.2), and reads none."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._stream = -1
        self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self._frame(4, 0, 0, pack(">HI", 4, 0))  # SETTINGS_INITIAL_WINDOW_SIZE

    def call(self, method: str, data: bytes = b"") -> None:
        self._stream += 2
        pairs = {
            ":method": "POST",
            ":scheme": "http",
            ":path": METHODS[method].path,
            ":authority": "x",
            "content-type": "application/grpc",
            "te": "trailers",
        }
        words = [word.encode() for pair in pairs.items() for word in pair]
        literal = [bytes((len(word),)) + word for word in words]
        fields = b"".join(b"\0" + literal[i] + literal[i + 1] for i in range(0, len(literal), 2))
        self._frame(1, 4, self._stream, fields)
        self._frame(0, 1, self._stream, b"\0" + pack(">I", len(data)) + data)

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
        self._socket.sendall(head + payload)

    def close(self) -> None:
        self._socket.close()


def test_clients_that_do_not_read_their_answers_hurt_nobody_and_delay_no_end(site):
    pods = [site.node.pod(f"p{i}") for i in range(3)]
    deaf = [Deaf(site.path) for _ in pods]
    for client, pod in zip(deaf, pods, strict=True):
        attach = AttachRequest(id=pod.name, isolation=Isolation(path=pod.path))
        client.call("AttachInterface", encode(METHODS["AttachInterface"].request, attach))
        for _ in range(150):
            client.call("QueryNodeNetworks")
    site.serves("a")

    def done() -> int:
        return sum(sum(histogram.counts) for histogram in site.meter.durations.values())

    wait_for(lambda: done() == 3 * 151 + 4, 20.0, "every call to be answered")
    with site.client() as wire:
        assert all(wire.query(pod.name).ipconfigs["eth0"].ip for pod in pods)
    stopper = threading.Thread(target=site.server.stop, args=(600.0,))
    stopper.start()
    stopper.join(60.0)
    assert not stopper.is_alive()
    assert not site.path.exists()
    for client in deaf:
        client.close()


def test_health_is_watched_by_service_and_follows_the_node_s_readiness(site):
    ready = threading.Event()
    real = site.core.query_nodes

    def told() -> Any:
        from dataclasses import replace

        reply = real()
        return replace(reply, networks=(replace(reply.networks[0], ready=ready.is_set()),))

    site.core.query_nodes = told
    with channel(site) as wire:
        watch = wire.unary_stream(f"{HEALTH}/Watch")
        check = wire.unary_unary(f"{HEALTH}/Check")
        service = b"\x0a\x07kni.KNI"
        kni, whole, other = watch(service), watch(b""), watch(b"\x0a\x04nope")
        assert (next(kni), next(whole), next(other)) == (NOT_SERVING, SERVING, UNKNOWN)
        assert check(service) == NOT_SERVING
        ready.set()
        assert next(kni) == SERVING
        assert check(service) == SERVING
        ready.clear()
        assert next(kni) == NOT_SERVING
        site.core.store.fault = "the disk is full"
        assert next(whole) == NOT_SERVING
        for call in (kni, whole, other):
            call.cancel()


def test_a_client_that_vanishes_in_the_middle_of_its_call_changes_nothing(site):
    pod = site.node.pod("a")
    for _ in range(8):
        silence = Silence()
        with channel(site) as wire:
            wire.stream_unary(METHODS["AttachInterface"].path).future(silence)
            wire.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")(silence)
        silence.end()
    wait_for(lambda: site.server._porter._awaited == {}, what="the calls to be over")
    with site.client() as wire:
        assert wire.query(pod.name) == PodReply()
    site.serves("b")


@pytest.mark.parametrize("seed", range(4))
def test_any_bytes_to_any_method_are_answered_and_never_break_the_server(site, seed):
    """OK where the bytes happen to be a message, INVALID_ARGUMENT otherwise; INTERNAL would be a bug of ours."""
    dice = random.Random(seed)
    refused = set()
    with site.client() as wire:
        for name in METHODS:
            for _ in range(25):
                data = dice.randbytes(dice.choice((1, 2, 7, 40, 400)))
                try:
                    wire.raw(METHODS[name].path, data)
                except Refused as error:
                    refused.add(error.code)
    assert refused == {grpc.StatusCode.INVALID_ARGUMENT}
    assert site.core.store.attachments == {}
    site.serves("a")


def test_a_flood_of_oversized_messages_is_refused_while_others_are_served(site):
    over, codes = threading.Event(), set()

    def flood() -> None:
        with site.client() as wire:
            while not over.is_set():
                with pytest.raises(Refused) as caught:
                    wire.raw(METHODS["AttachInterface"].path, b"\x0a" + b"x" * (5 << 20))
                codes.add(caught.value.code)

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(5):
        site.serves(f"p{number}")
    over.set()
    for thread in threads:
        thread.join()
    assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
