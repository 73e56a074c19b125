"""Our client against the KNI servers that there were: kni-network-runtime of January 2024, and libkni.

They cannot be built here, so this double does what is known of them: which methods they have, where they
look for the namespace, what they answer for unknown pods, and that libkni deletes by a path made of namespace and name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from kroute.cli import main
from kroute.codec.kni import messages as m
from kroute.codec.kni.methods import METHODS, Ask
from kroute.codec.kni.wire import decode, encode
from kroute.drivers.kni.client import KniClient
from kroute.model.kni import (
    AttachRequest,
    CreateReply,
    DeleteRequest,
    Empty,
    Generation,
    IpConfig,
    Network,
    NodesReply,
    PodReply,
)

V = Generation
OLD = {"AttachNetwork", "DetachNetwork"}
NEW = {"AttachInterface", "DetachInterface"}
QUERIES = {"QueryPodNetwork", "QueryNodeNetworks", "SetupNodeNetwork"}
MADE = {"CreateNetwork", "DeleteNetwork"}
SERVERS = {
    V.V005: OLD | QUERIES,
    V.V006: OLD | QUERIES | MADE,
    V.V008: NEW | QUERIES | MADE,
    V.KNIX: NEW | QUERIES | {"CreateIsolationDomain", "DeleteIsolationDomain"},
}
NAMELESS = "/run/netns/kni--"
"""What libkni makes for containerd, which says no name."""
NETNS = "/run/netns/cni-1"


class Unknown(Exception):
    """A plain error of Go is the status UNKNOWN."""


class Foreign(grpc.GenericRpcHandler):
    """A server of one generation."""

    def __init__(self, path: Path, generation: Generation) -> None:
        self.generation = generation
        self.pods: dict[str, tuple[str, AttachRequest]] = {}
        self.namespaces = {NAMELESS}
        self._server = grpc.server(ThreadPoolExecutor(2), handlers=[self])
        self._server.add_insecure_port(f"unix:{path}")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(0).wait()

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        name = details.method.rpartition("/")[2]
        if name not in SERVERS[self.generation]:
            return None
        method = METHODS[name]
        old = self.generation is V.V005 and method.ask is Ask.ATTACH
        request = m.ATTACH_V005 if old else method.request

        def behave(data: bytes, context: grpc.ServicerContext) -> bytes:
            try:
                answer = self._asks[method.ask](self, decode(request, data))
            except Unknown as error:
                context.abort(grpc.StatusCode.UNKNOWN, str(error))
            return encode(method.reply, answer)

        return grpc.unary_unary_rpc_method_handler(behave)

    def _attach(self, request: AttachRequest) -> PodReply:
        if self.generation is V.V005:
            path = request.isolation.path if request.isolation else ""
            if not path:
                return PodReply()
        elif not (path := request.extradata.get("netns", "")):
            raise Unknown(f"pod annotation id: {request.id} has no netns")
        self.pods[request.id] = (path, request)
        return PodReply()

    def _detach(self, request: Any) -> Empty:
        if self.pods.pop(request.id, None) is None and self.generation is not V.V005:
            raise Unknown("cni plugin: no container id")
        return Empty()

    def _query(self, request: Any) -> PodReply:
        if request.id not in self.pods:
            return PodReply()
        return PodReply(ipconfigs={"eth0": IpConfig(ip=("10.85.0.2", "fd00::2"), mac="02::1")})

    def _nodes(self, _request: Empty) -> NodesReply:
        return NodesReply(networks=(Network(name="default", ready=True),))

    def _create(self, _request: Any) -> CreateReply:
        self.namespaces.add(NETNS)
        return CreateReply(netns_path=NETNS)

    def _delete(self, request: DeleteRequest) -> Empty:
        by_name = f"/run/netns/kni-{request.namespace}-{request.name}"
        self.namespaces.discard(self.pods[request.id][0] if request.id in self.pods else by_name)
        return Empty()

    def _setup(self, _request: Empty) -> Empty:
        raise Unknown("grpc: error while marshaling: proto: Marshal called with nil")

    _asks: dict[Ask, Callable[[Foreign, Any], Any]] = {
        Ask.ATTACH: _attach,
        Ask.DETACH: _detach,
        Ask.QUERY_POD: _query,
        Ask.QUERY_NODES: _nodes,
        Ask.CREATE: _create,
        Ask.DELETE: _delete,
        Ask.SETUP_NODE: _setup,
    }


@pytest.fixture(params=list(Generation))
def foreign(request, tmp_path) -> Iterator[Foreign]:
    made = Foreign(tmp_path / "kni.sock", request.param)
    yield made
    made.stop()


@pytest.fixture
def socket(tmp_path) -> str:
    return str(tmp_path / "kni.sock")


def test_the_client_finds_out_what_a_server_speaks_and_changes_nothing_by_it(foreign, socket):
    with KniClient(socket) as wire:
        assert wire.generation is foreign.generation
    assert (foreign.namespaces, foreign.pods) == ({NAMELESS}, {})


def test_a_pod_s_life_is_driven_through_any_server(foreign, socket, capsys):
    def kroute(action: str, *words: str) -> tuple[int, str]:
        status = main(["kni", action, *words, "--socket", socket])
        return status, capsys.readouterr().out

    assert kroute("nodes") == (0, "name:           default\nready:          yes\n")
    labels = ("--label", "app=web", "--annotation", "a=b")
    status, told = kroute("attach", "c1", NETNS, *labels)
    assert (status, told.split()) == (0, ["eth0", "02::1", "10.85.0.2,", "fd00::2"])
    path, request = foreign.pods["c1"]
    assert (path, request.labels, request.annotations["a"]) == (NETNS, {"app": "web"}, "b")
    assert request.isolation is not None
    everywhere = {request.isolation.path, request.extradata["netns"], request.annotations["netns"]}
    assert everywhere == {NETNS}
    assert kroute("query", "c2") == (1, "")
    if foreign.generation is not V.V005:
        assert kroute("create") == (0, f"{NETNS}\n")
        assert kroute("delete", "--id", "c1") == (0, "")
        assert foreign.namespaces == {NAMELESS}
    assert kroute("detach", "c1") == (0, "")
    assert foreign.pods == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("delete",), "say what to delete"),
        (("attach", "c1", NETNS, "--label", "web"), "--label web: expected KEY=VALUE"),
        (("attach", "c1", NETNS, "--annotation", "=x"), "--annotation =x: expected KEY=VALUE"),
        (("attach", "c1", NETNS, "--port", "http"), "--port http: expected HOST:POD"),
        (("query", "c1"), "c1 has no addresses"),
        (
            ("attach", "c1", NETNS, "--port", "80:80", "--generation", "v0.0.5"),
            "v0.0.5 has no port mappings",
        ),
        (("attach", "c1", ""), "has no netns"),
        (("nodes", "--timeout", "0"), "no number of seconds"),
        (("nodes", "--timeout", "soon"), "no number of seconds"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(tmp_path, socket, capsys, words, said):
    foreign = Foreign(tmp_path / "kni.sock", V.V008)
    try:
        with pytest.raises(SystemExit):
            raise SystemExit(main(["kni", *words, "--socket", socket]))
    finally:
        foreign.stop()
    assert said in capsys.readouterr().err
    assert foreign.namespaces == {NAMELESS}
