"""HTTP for people and machines: one tiny server class, bound to a TCP port and to the local socket of the CLI.

Read-only. Each request is answered in a worker thread, so that a slow reader holds up nobody; the answers
come from callables that the daemon hands in, which read its state inside the event loop.
"""

from __future__ import annotations

import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kroute.model.errors import DriverError

log = logging.getLogger(__name__)

REQUEST_TIMEOUT = 10.0
"""Seconds a client may take over its request or over reading the answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets."""

    status: int
    body: bytes
    content_type: str = "application/json"


Respond = Callable[[str, Mapping[str, str]], Answer | None]
"""Path and query to an answer; None where there is nothing of that name."""


def _handler(respond: Respond) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_TIMEOUT
        server_version = "kroute"
        sys_version = ""

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(url.query).items()}
            answer = respond(url.path, query)
            if answer is None:
                answer = Answer(HTTPStatus.NOT_FOUND, b'{"error": "no such resource"}\n')
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


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("http: %s went away", client_address, exc_info=True)


class HttpServer:
    """One listening socket and the thread that serves it."""

    def __init__(self, listener: socket.socket, family: int, respond: Respond) -> None:
        server_class = type("Server", (_Server,), {"address_family": family})
        self._server: _Server = server_class(
            listener.getsockname(), _handler(respond), bind_and_activate=False
        )
        self._server.socket.close()
        self._server.socket = listener
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="http", daemon=True
        )
        self._thread.start()

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


def serve_unix(path: Path, respond: Respond) -> HttpServer:
    """Serve on a Unix socket for root only. A socket that a dead daemon left is replaced, a live one never.

    Raises:
        DriverError: another daemon listens there, or the folder cannot be written.
    """
    if path.exists() and _is_live(path):
        raise DriverError(f"{path}: another kroute daemon is running and answers there")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        path.unlink(missing_ok=True)
    except OSError as error:
        raise DriverError(f"{path}: {error.strerror}") from error
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server = _listen(listener, str(path), str(path), socket.AF_UNIX, respond)
    path.chmod(0o600)
    return server


def _is_live(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _listen(
    listener: socket.socket, address: Any, where: str, family: int, respond: Respond
) -> HttpServer:
    try:
        listener.bind(address)
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise DriverError(f"{where}: cannot listen: {error.strerror}") from error
    return HttpServer(listener, family, respond)
