"""A container runtime's answers, and whatever else may answer at its socket: over real gRPC, in words for a person."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from kroute.drivers.kni.sandboxes import Sandboxes
from kroute.model.sandbox import Listed, Sandbox

VERSION = b"\x0a\x050.1.0\x12\x0acontainerd\x1a\x061.6.20\x22\x02v1"
"""VersionResponse: version, name, the runtime's version, the API's."""
POD = b"\x0a\x03web\x12\x02u1\x1a\x07default\x20\x01"
"""PodSandboxMetadata: name, uid, namespace, attempt."""


def item(id: bytes = b"c1", rest: bytes = b"\x12\x12" + POD) -> bytes:
    """One PodSandbox within a ListPodSandboxResponse."""
    content = b"\x0a" + bytes((len(id),)) + id + rest
    return b"\x0a" + bytes((len(content),)) + content


class Runtime(grpc.GenericRpcHandler):
    """Answers methods with these bytes; knows no others."""

    def __init__(self, **answers: bytes | grpc.StatusCode) -> None:
        self._answers = answers

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        service, _, name = details.method[1:].partition("/")
        answer = self._answers.get(name)
        if service != "runtime.v1.RuntimeService" or answer is None:
            return None

        def serve(_request: bytes, context: grpc.ServicerContext) -> bytes:
            if isinstance(answer, grpc.StatusCode):
                context.abort(answer, "server is not initialized yet")
            return answer

        return grpc.unary_unary_rpc_method_handler(serve)


@contextmanager
def serving(path: Path, **answers: bytes | grpc.StatusCode) -> Iterator[None]:
    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads, handlers=[Runtime(**answers)])
        server.add_insecure_port(f"unix:{path}")
        server.start()
        try:
            yield
        finally:
            server.stop(None).wait()


@contextmanager
def listening(path: Path) -> Iterator[None]:
    """A socket at which connections are made, and nobody says anything."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield


@contextmanager
def absent(_path: Path) -> Iterator[None]:
    yield


def sandboxes(folder: Path) -> Sandboxes:
    return Sandboxes(str(folder / "s"), folder / "kni.sandboxes.json", patience=0.5)


def test_what_a_runtime_lists_is_known_by_id_with_its_pod_and_whether_it_is_ready(tmp_path: Path):
    stopped, bare = b"\x12\x12" + POD + b"\x18\x01\x20\x07", b"\x3a\x04\x0a\x00\x12\x00"
    listed = item() + item(b"c2", stopped) + item(b"c3", bare)
    with serving(tmp_path / "s", Version=VERSION, ListPodSandbox=listed):
        seen = sandboxes(tmp_path).ask()
    assert seen.runtime == f"containerd at {tmp_path}/s"
    assert seen.failure == ""
    web = {"namespace": "default", "name": "web", "uid": "u1"}
    assert list(seen.sandboxes.values()) == [
        Sandbox(id="c1", ready=True, **web),
        Sandbox(id="c2", ready=False, **web),
        Sandbox(id="c3", ready=True),
    ]


def test_a_list_as_long_as_the_kubelet_reads_is_read(tmp_path: Path):
    note = b"\x2a" + b"\x80\x80\x40" + bytes(1 << 20)
    content = b"\x0a\x02c1" + note
    assert len(content) == (1 << 20) + 8
    one = b"\x0a\x88\x80\x40" + content
    with serving(tmp_path / "s", Version=VERSION, ListPodSandbox=one * 12):
        assert sandboxes(tmp_path).ask().sandboxes.keys() == {"c1"}
    with serving(tmp_path / "s", Version=VERSION, ListPodSandbox=one * 17):
        assert "refuses: RESOURCE_EXHAUSTED" in sandboxes(tmp_path).ask().failure


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (absent, "is kni.criSocket right, and its folder mounted?): No such file or directory"),
        (listening, "did not answer within 0.5 s"),
        (serving, "serves no CRI v1"),
        (lambda p: serving(p, Version=VERSION), "serves no CRI v1"),
        (
            lambda p: serving(p, Version=b"\xff"),
            "is none of a CRI: protobuf: a number is cut short",
        ),
        (lambda p: serving(p, Version=b""), "is none of a CRI: the runtime says no name"),
        (
            lambda p: serving(p, Version=VERSION, ListPodSandbox=item() + item(b"")),
            "is none of a CRI: a sandbox has no id",
        ),
        (
            lambda p: serving(p, Version=VERSION, ListPodSandbox=grpc.StatusCode.UNKNOWN),
            "refuses: UNKNOWN: server is not initialized yet",
        ),
    ],
    ids=["nobody", "mute", "no CRI", "half", "junk", "nameless", "no id", "starting"],
)
def test_what_is_no_answer_of_a_runtime_says_what_happened_and_nothing_of_sandboxes(
    tmp_path: Path, there: Callable[[Path], Iterator[None]], words: str
):
    with there(tmp_path / "s"):
        seen = sandboxes(tmp_path).ask()
    assert words in seen.failure
    assert not seen.sandboxes


def test_the_end_waits_for_no_runtime_that_hangs(tmp_path: Path):
    made = Sandboxes(str(tmp_path / "s"), tmp_path / "kni.sandboxes.json", patience=300.0)
    with socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor(1) as thread:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        asked = thread.submit(made.ask)
        connection, _ = listener.accept()
        with connection:
            made.close()
            assert asked.result(10.0).failure  # gRPC would give up after 20 s
        assert made.ask().failure


def test_what_was_listed_outlives_the_daemon(tmp_path: Path):
    first, listed = sandboxes(tmp_path), Listed("containerd at /s", frozenset({("c1", 1.1)}))
    assert first.load() == Listed()
    first.save(listed)
    assert sandboxes(tmp_path).load() == listed
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kni.sandboxes.json"]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"runtime":"r","listed":[["c"]]}', b"\xff"]
)
def test_a_file_that_cannot_be_read_costs_what_it_knew_and_nothing_else(
    tmp_path: Path, content: bytes
):
    made = sandboxes(tmp_path)
    (tmp_path / "kni.sandboxes.json").write_bytes(content)
    assert made.load() == Listed()
    made.save(Listed("r"))
    assert made.load() == Listed("r")


def test_a_file_that_cannot_be_written_is_no_error(tmp_path: Path):
    made = Sandboxes("/s", tmp_path / "gone" / "kni.sandboxes.json")
    made.save(Listed("r"))
    assert made.load() == Listed()
