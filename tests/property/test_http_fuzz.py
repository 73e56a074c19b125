"""Whatever bytes come over the local socket, in any pieces: one status line or none, and the next client is served."""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kroute.drivers.http import Answer, serve_unix

BOUND = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
GOOD = b"GET /echo?q=1 HTTP/1.0\r\nHost: kroute\r\n\r\n"


def respond(path: str, query: Mapping[str, str]) -> Answer | None:
    return Answer(200, json.dumps({"path": path, **query}).encode())


@pytest.fixture(scope="module")
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kt-") as folder:
        where = Path(folder) / "sock"
        with closing(serve_unix(where, respond)):
            yield where


def talk(path: Path, pieces: list[bytes]) -> bytes:
    """Send the pieces one by one, then no more; all that comes back."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        try:
            for piece in pieces:
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass
        said = []
        try:
            while data := client.recv(65536):
                said.append(data)
        except ConnectionResetError:
            pass
        return b"".join(said)


def lives(path: Path) -> None:
    assert json.loads(talk(path, [GOOD]).split(b"\r\n\r\n")[1]) == {"path": "/echo", "q": "1"}


@BOUND
@given(st.lists(st.binary(max_size=200), max_size=4))
def test_random_bytes_are_refused_and_the_next_client_is_served(
    path: Path, pieces: list[bytes]
) -> None:
    said = talk(path, pieces)
    assert not said or said.startswith(b"HTTP/1.0 ")
    lives(path)


@BOUND
@given(
    st.lists(
        st.tuples(st.integers(0, len(GOOD)), st.integers(0, 12), st.binary(max_size=12)), max_size=4
    ),
    st.integers(0, len(GOOD)),
)
def test_damaged_requests_are_refused_or_answered(
    path: Path, damages: list[tuple[int, int, bytes]], cut: int
) -> None:
    request = GOOD
    for start, length, new in damages:
        request = request[:start] + new + request[start + length :]
    said = talk(path, [request[:cut], request[cut:]])
    assert not said or said.startswith(b"HTTP/1.0 ")
    lives(path)


@BOUND
@given(st.text(max_size=100), st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4))
def test_any_target_is_an_answer_in_json(path: Path, target: str, headers: dict[str, str]) -> None:
    lines = [f"GET /{target} HTTP/1.0", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
    said = talk(path, ["\r\n".join(lines).encode(errors="replace")])
    if said.startswith(b"HTTP/1.0 200"):
        assert "path" in json.loads(said.split(b"\r\n\r\n", 1)[1])
    elif said:
        assert json.loads(said.split(b"\r\n\r\n", 1)[1])["error"]
    lives(path)
