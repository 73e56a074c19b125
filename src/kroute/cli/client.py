"""Asking the running daemon over its local socket."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any
from urllib.parse import urlencode

from kroute.model.errors import KrouteError

DEFAULT_SOCKET = "/run/kroute/kroute.sock"
TIMEOUT = 15.0

_NO_ANSWER = (ValueError, TypeError, KeyError)
"""What reading raises that the daemon would never write."""


class Unreachable(KrouteError):
    """The daemon does not answer."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("kroute", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self._path)


def ask(path: str, resource: str, **query: str) -> Any:
    """The daemon's JSON answer to one question.

    Raises:
        Unreachable: no daemon answers on that socket.
        KrouteError: it answers with an error.
    """
    return _request(path, "GET", f"/v1/{resource}" + (f"?{urlencode(query)}" if query else ""))


def act(path: str, what: str, body: bytes = b"") -> Any:
    """Have the daemon do something; its JSON answer.

    Raises:
        Unreachable: no daemon answers on that socket.
        KrouteError: it refuses, and why.
    """
    return _request(path, "POST", f"/v1/{what}", body)


def _request(path: str, method: str, target: str, body: bytes | None = None) -> Any:
    connection = _UnixConnection(path)
    try:
        connection.request(method, target, body)
        response = connection.getresponse()
        found = response.read()
        answer: Any = json.loads(found)
        refused = str(answer["error"]) if response.status >= 400 else ""
    except (OSError, http.client.HTTPException, *_NO_ANSWER) as error:
        raise Unreachable(_explain(path, error)) from error
    finally:
        connection.close()
    if refused:
        raise KrouteError(refused)
    return answer


def _explain(path: str, error: Exception) -> str:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return f"no daemon: {path} is not there. Is `kroute run` running on this node?"
    if isinstance(error, PermissionError):
        return f"{path}: only root may ask the daemon"
    if isinstance(error, ConnectionRefusedError):
        return f"no daemon: nobody serves {path}. Is `kroute run` running on this node?"
    if isinstance(error, OSError):
        return f"{path}: the daemon does not answer: {error}"
    return f"{path}: whoever answers there is not kroute's daemon"
