"""GET requests to a Kubernetes API server: JSON answers, and watches as lines."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterator, Mapping
from typing import Any, Final

import urllib3

from kroute.drivers.inventory.credentials import Access
from kroute.model.errors import DriverError

CONNECT_TIMEOUT: Final = 3.0
LIST_TIMEOUT: Final = 30.0
WATCH_SILENCE: Final = 75.0
"""Seconds of silence after which a watch counts as dead: bookmarks come every 60 s on a quiet one."""
WATCH_LENGTH: Final = (240, 480)
"""Seconds after which the server shall end a watch, at random, so that not all nodes return at once."""
CHUNK: Final = 1 << 16
LONGEST_LINE: Final = 16 << 20


class ApiError(DriverError):
    """The server answered with an error, or not at all (status 0)."""

    def __init__(self, status: int, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(f"{status} {reason}" if status else reason)
        self.status = status
        self.retry_after = retry_after


class Api:
    """One server; one request at a time."""

    def __init__(self, access: Access, watch_silence: float = WATCH_SILENCE) -> None:
        self._access = access
        self._watch_silence = watch_silence
        self._pool = self._connect()
        self._watching: Any = None

    def _connect(self) -> urllib3.PoolManager:
        tls = self._access.tls()
        extra: dict[str, Any] = {"ssl_context": tls} if tls is not None else {}
        if self._access.server_name:
            extra["server_hostname"] = self._access.server_name
        return urllib3.PoolManager(retries=False, maxsize=2, **extra)

    def reconnect(self) -> None:
        """Forget all connections, and read certificates and tokens anew."""
        self._pool.clear()
        self._pool = self._connect()

    def _headers(self) -> dict[str, str]:
        token = self._access.bearer()
        return {"Accept": "application/json"} | (
            {"Authorization": f"Bearer {token}"} if token else {}
        )

    def get(self, path: str, query: Mapping[str, str]) -> Any:
        """One JSON answer.

        Raises:
            ApiError: no answer, an error, or no JSON.
        """
        response = self._request(path, query, LIST_TIMEOUT, stream=False)
        try:
            return json.loads(response.data)
        except ValueError as error:
            raise ApiError(0, f"the answer to {path} is no JSON: {error}") from error

    def watch(self, path: str, query: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The events of one watch, until the server ends it: their type and object.

        Raises:
            ApiError: no answer, an error (also one sent as an event), silence, or garbage.
        """
        query = {**query, "watch": "true", "timeoutSeconds": str(random.randint(*WATCH_LENGTH))}
        response = self._watching = self._request(path, query, self._watch_silence, stream=True)
        try:
            for line in _lines(response):
                yield _event(line)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ApiError(0, f"the watch broke: {error}") from error
        finally:
            self._watching = None
            response.close()

    def interrupt(self) -> None:
        """End a watch that waits in another thread."""
        connection = getattr(self._watching, "connection", None)
        if connection is not None and connection.sock is not None:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _request(self, path: str, query: Mapping[str, str], silence: float, *, stream: bool) -> Any:
        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=silence)
        url = self._access.server.rstrip("/") + path
        try:
            response = self._pool.request(
                "GET",
                url,
                fields=dict(query),
                headers=self._headers(),
                timeout=timeout,
                preload_content=not stream,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ApiError(0, f"{self._access.server} does not answer: {error}") from error
        if response.status != 200:
            raise _refusal(response)
        return response


def _lines(response: Any) -> Iterator[bytes]:
    buffer = bytearray()
    for chunk in response.stream(CHUNK, decode_content=True):
        buffer += chunk
        start = 0
        while (end := buffer.find(b"\n", start)) >= 0:
            yield bytes(buffer[start:end])
            start = end + 1
        del buffer[:start]
        if len(buffer) > LONGEST_LINE:
            raise ApiError(0, f"the server sent a line of more than {LONGEST_LINE} octets")


def _event(line: bytes) -> tuple[str, dict[str, Any]]:
    try:
        event = json.loads(line)
        kind, thing = event["type"], event["object"]
    except (ValueError, KeyError, TypeError) as error:
        raise ApiError(0, f"the watch sent what is no event: {line[:80]!r}") from error
    if not isinstance(thing, dict):
        raise ApiError(0, f"the watch sent an event without an object: {line[:80]!r}")
    if kind == "ERROR":
        raise ApiError(
            int(thing.get("code") or 500), f"{thing.get('reason')}: {thing.get('message')}"
        )
    return kind, thing


def _refusal(response: Any) -> ApiError:
    body = response.read(2000, decode_content=True) if not response.data else response.data[:2000]
    try:
        message = str(json.loads(body).get("message"))
    except (ValueError, AttributeError):
        message = body.decode(errors="replace")
    try:
        retry_after = float(response.headers.get("Retry-After", 0))
    except ValueError:
        retry_after = 0.0
    response.close()
    return ApiError(response.status, message or response.reason, retry_after)
