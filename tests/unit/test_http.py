"""The tiny HTTP server: what a client gets, whatever it sends and however slowly."""

from __future__ import annotations

import http.client
import json
import socket
import stat
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kroute.drivers import http as driver
from kroute.drivers.http import Answer, HttpServer, serve_tcp, serve_unix
from kroute.model.errors import DriverError
from support.netns import wait_for

LOOPBACK = "127.0.0.1"


def respond(path: str, query: Mapping[str, str]) -> Answer | None:
    """What the tests' server knows."""
    match path:
        case "/echo":
            return Answer(200, json.dumps(query).encode())
        case "/large":
            return Answer(200, b"x" * (8 << 20), "text/plain")
        case "/late":
            raise TimeoutError
        case "/driver":
            raise DriverError("the kernel does not answer")
        case "/bug":
            raise KeyError("bug")
    return None


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with closing(serve_tcp(LOOPBACK, 0, respond)) as server:
        yield server


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kt-") as name:  # short: socket paths have 107 octets
        yield Path(name)


def port(server: HttpServer) -> int:
    number: int = server.address[1]
    return number


def get(server: HttpServer, path: str, method: str = "GET") -> tuple[int, Any, str]:
    connection = http.client.HTTPConnection(LOOPBACK, port(server), timeout=10)
    with closing(connection):
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
        return response.status, body, response.headers["Content-Type"]


def raw(server: HttpServer, request: bytes) -> bytes:
    """All that comes back until the server closes."""
    with socket.create_connection((LOOPBACK, port(server)), 10) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        parts = []
        try:
            while data := client.recv(65536):
                parts.append(data)
        except ConnectionResetError:
            pass
        return b"".join(parts)


def test_an_answer_arrives_with_status_type_and_query(server: HttpServer) -> None:
    status, body, kind = get(server, "/echo?a=1&b=x%20y&a=2")
    assert (status, json.loads(body), kind) == (200, {"a": "2", "b": "x y"}, "application/json")


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/nothing", 404, "no such resource"),
        ("/late", 503, "it takes too long"),
        ("/driver", 503, "the kernel does not answer"),
        ("/bug", 500, "internal error, see the log"),
    ],
)
def test_what_cannot_be_answered_says_so_in_json(
    server: HttpServer, path: str, status: int, reason: str
) -> None:
    found, body, kind = get(server, path)
    assert (found, kind) == (status, "application/json")
    assert reason in json.loads(body)["error"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "BREW"])
def test_it_is_read_only(server: HttpServer, method: str) -> None:
    assert get(server, "/echo", method)[0] == 501


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"GET http://[ HTTP/1.0\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /echo HTTP/9.9\r\n\r\n", 505),
        (b"GET /echo HTTP/x\r\n\r\n", 400),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.0\r\n\r\n", 414),
        (b"GET /echo HTTP/1.0\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /echo HTTP/1.0\r\n" + b"X: a\r\n" * 200 + b"\r\n", 431),
    ],
)
def test_bad_requests_are_refused_with_a_reason(
    server: HttpServer, request_: bytes, status: int
) -> None:
    said = raw(server, request_)
    assert b" %d " % status in said.split(b"\r\n")[0]
    assert json.loads(said.split(b"\r\n\r\n")[-1])["error"]
    assert get(server, "/echo")[0] == 200


@pytest.mark.parametrize(
    "request_", [b"", b"\0" * 100, b"GET", b"\r\n", b"GET /echo HTTP/1.0\r\nX"]
)
def test_requests_that_break_off_harm_nobody(server: HttpServer, request_: bytes) -> None:
    raw(server, request_)
    assert get(server, "/echo")[0] == 200


def test_a_reader_that_stops_reading_holds_up_nobody(server: HttpServer) -> None:
    with socket.create_connection((LOOPBACK, port(server)), 10) as lazy:
        lazy.sendall(b"GET /large HTTP/1.0\r\n\r\n")
        assert get(server, "/echo")[0] == 200


def test_a_request_that_dribbles_in_is_ended(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "REQUEST_TIMEOUT", 0.2)
    with socket.create_connection((LOOPBACK, port(server)), 10) as slow:
        ended = threading.Event()

        def dribbles() -> bool:
            try:
                slow.sendall(b"GET / HTTP/1.0\r\nX: y\r\n"[:1])
                slow.settimeout(0.02)
                return slow.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        wait_for(dribbles, 10, "the server to lose patience")
        ended.set()


def test_many_idle_connections_leave_room_for_a_request(server: HttpServer) -> None:
    idle = []
    try:
        for _ in range(driver.CONNECTIONS * 3):
            idle.append(socket.create_connection((LOOPBACK, port(server)), 10))
        for _ in range(5):
            assert get(server, "/echo")[0] == 200
        threads = [t for t in threading.enumerate() if "process_request" in t.name]
        assert len(threads) <= driver.CONNECTIONS + 8
    finally:
        for client in idle:
            client.close()


def test_a_port_in_use_is_a_clear_sentence(server: HttpServer) -> None:
    with pytest.raises(DriverError, match=f"http {LOOPBACK} port {port(server)}: cannot listen"):
        serve_tcp(LOOPBACK, port(server), respond)


def test_an_address_that_is_not_ours_is_a_clear_sentence() -> None:
    with pytest.raises(DriverError, match="cannot listen"):
        serve_tcp("192.0.2.254", 0, respond)


def ask(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(b"GET /echo?a=1 HTTP/1.0\r\n\r\n")
        parts = []
        while data := client.recv(65536):
            parts.append(data)
        return b"".join(parts).split(b"\r\n\r\n")[1]


def test_the_local_socket_is_for_root_only_and_answers(folder: Path) -> None:
    path = folder / "run" / "kroute.sock"
    with closing(serve_unix(path, respond)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert ask(path) == b'{"a": "1"}'


def test_a_second_daemon_is_refused_while_the_first_lives(folder: Path) -> None:
    path = folder / "kroute.sock"
    with (
        closing(serve_unix(path, respond)),
        pytest.raises(DriverError, match="another kroute daemon is running"),
    ):
        serve_unix(path, respond)


def test_a_daemon_too_busy_to_accept_is_not_replaced(folder: Path) -> None:
    path = folder / "kroute.sock"
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        waiting = []
        for _ in range(3):
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            client.connect_ex(str(path))
            waiting.append(client)
        with pytest.raises(DriverError, match="another kroute daemon is running"):
            serve_unix(path, respond)
        for client in waiting:
            client.close()


def test_a_socket_that_a_dead_daemon_left_is_replaced(folder: Path) -> None:
    path = folder / "kroute.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with closing(serve_unix(path, respond)):
        assert ask(path)


@pytest.mark.parametrize("place", ["file/kroute.sock", "x" * 200])
def test_a_place_where_no_socket_can_be_is_a_clear_sentence(folder: Path, place: str) -> None:
    (folder / "file").write_text("")
    with pytest.raises(DriverError, match=str(folder)):
        serve_unix(folder / place, respond)
