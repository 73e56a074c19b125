"""HTTP for people and machines: one tiny server class, bound to a TCP port and to the local socket of the CLI.

Read-only, but for what root may POST to the local socket. Each connection has one request and a thread of its own, so
that a slow reader holds up nobody; the answers come from a callable that the daemon hands in, which is called in that
thread.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kroute.model.errors import DriverError, KrouteError

log = logging.getLogger(__name__)

REQUEST_TIMEOUT = 10.0
"""Seconds a client may take over its request, and over reading the answer."""

CONNECTIONS = 64
"""Connections of one server at once."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets."""

    status: int
    body: bytes
    content_type: str = "application/json"


Respond = Callable[[str, Mapping[str, str]], Answer | None]
"""Path and query to an answer; None where there is nothing of that name."""


Act = Callable[[str, bytes], Answer | None]
"""Path and body of a POST to an answer; None where nothing of that name can be done."""

LONGEST_BODY = 4 << 20
"""Octets of a POST at most."""


def _handler(respond: Respond, act: Act | None) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_TIMEOUT
        server_version = "kroute"
        sys_version = ""
        default_request_version = "HTTP/1.0"  # refusals have a status line, too
        server: _Server

        def do_GET(self) -> None:
            self.server.request_is_read(self.connection)
            self._send(_answer(respond, self.path))

        def do_POST(self) -> None:
            """Only where acts are taken: nowhere but on the local socket."""
            size = self.headers.get("Content-Length", "")
            if act is None:
                self._send(_refusal(HTTPStatus.NOT_IMPLEMENTED, "this door is read-only"))
            elif not size.isdecimal() or int(size) > LONGEST_BODY:
                self._send(_refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too long, or no length"))
            else:
                body = self.rfile.read(int(size))
                self.server.request_is_read(self.connection)
                self._send(_answer(lambda path, _query: act(path, body), self.path))

        def send_error(
            self, code: int, message: str | None = None, explain: str | None = None
        ) -> None:
            self._send(_refusal(code, message or HTTPStatus(code).phrase))

        def _send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def address_string(self) -> str:
            return "local" if isinstance(self.client_address, str) else str(self.client_address[0])

        def log_message(self, format: str, *args: Any) -> None:
            log.debug("http %s " + format, self.address_string(), *args)

    return Handler


def _answer(respond: Respond, target: str) -> Answer:
    """The answer to a GET of this request target, whatever becomes of the attempt to find it."""
    try:
        url = urlsplit(target)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
    except ValueError as error:
        return _refusal(HTTPStatus.BAD_REQUEST, str(error))
    try:
        answer = respond(url.path, query)
    except (KrouteError, TimeoutError) as error:
        return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error) or "it takes too long")
    except Exception:
        log.exception("http: no answer to %s", url.path)
        return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error, see the log")
    return answer or _refusal(HTTPStatus.NOT_FOUND, "no such resource")


def _refusal(status: int, reason: str) -> Answer:
    return Answer(status, json.dumps({"error": reason}).encode() + b"\n")


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A thread for each connection, but never more than :data:`CONNECTIONS`; who dawdles makes room."""

    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._lock = threading.Lock()
        self._awaited: dict[socket.socket, float | None] = {}
        """Connections in the order of their arrival: since when a request is awaited, None once it is read."""
        super().__init__(*arguments, **options)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            full = len(self._awaited) >= CONNECTIONS and not self._make_room()
            if not full:
                self._awaited[request] = monotonic()
        if full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def request_is_read(self, request: socket.socket) -> None:
        """A whole request has come on this connection; from here on it is we who take our time."""
        with self._lock:
            if request in self._awaited:
                self._awaited[request] = None

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._awaited.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called several times a second: ends connections whose request takes too long to come."""
        latest = monotonic() - REQUEST_TIMEOUT
        with self._lock:
            overdue = [
                r for r, since in self._awaited.items() if since is not None and since < latest
            ]
            for request in overdue:
                self._drop(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("http: %s went away", client_address, exc_info=True)

    def _make_room(self) -> bool:
        """End the oldest connection that has not brought its request yet; whether there is one."""
        oldest = next((r for r, since in self._awaited.items() if since is not None), None)
        if oldest is not None:
            self._drop(oldest)
        return oldest is not None

    def _drop(self, request: socket.socket) -> None:
        """Its thread reads the end of the connection and closes it."""
        self._awaited[request] = None
        with suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)


class HttpServer:
    """One listening socket and the thread that serves it."""

    def __init__(
        self, listener: socket.socket, family: int, respond: Respond, act: Act | None = None
    ) -> None:
        server_class = type("Server", (_Server,), {"address_family": family})
        self._server: _Server = server_class(
            listener.getsockname(), _handler(respond, act), bind_and_activate=False
        )
        self._server.socket.close()
        self._server.socket = listener
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="http", daemon=True
        )
        self._thread.start()

    @property
    def address(self) -> Any:
        """What is listened on, as the socket's family writes it."""
        return self._server.server_address

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def serve_tcp(address: str, port: int, respond: Respond) -> HttpServer:
    """Serve on a TCP port.

    Raises:
        DriverError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return _listen(listener, (address, port), f"http {address} port {port}", family, respond)


def serve_unix(path: Path, respond: Respond, act: Act | None = None) -> HttpServer:
    """Serve on a Unix socket for root only, who may also POST where ``act`` takes it.

    A socket that a dead daemon left is replaced, a live one never.

    Raises:
        DriverError: another daemon listens there, or the folder cannot be written.
    """
    if _is_live(path):
        raise DriverError(f"{path}: another kroute daemon is running and answers there")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        path.unlink(missing_ok=True)
    except OSError as error:
        raise DriverError(f"{path}: {error.strerror}") from error
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)  # root only from the first moment on
    try:
        return _listen(listener, str(path), str(path), socket.AF_UNIX, respond, act)
    finally:
        os.umask(mask)


def _is_live(path: Path) -> bool:
    """Whether somebody listens. Only a plain no counts: one who is too busy to accept is alive."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError, NotADirectoryError):
            return False
        except (TimeoutError, BlockingIOError):
            return True
        except OSError as error:
            raise DriverError(f"{path}: {error.strerror or error}") from error
        return True


def _listen(
    listener: socket.socket,
    address: Any,
    where: str,
    family: int,
    respond: Respond,
    act: Act | None = None,
) -> HttpServer:
    try:
        listener.bind(address)
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise DriverError(f"{where}: cannot listen: {error.strerror or error}") from error
    return HttpServer(listener, family, respond, act)
