"""Requests to a Kubernetes API server: JSON answers, watches as events, objects created. Blocking; for one thread."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import urllib3

from kroute.drivers.inventory.credentials import Access
from kroute.model.errors import DriverError, InputError

CHUNK: Final = 1 << 16
LONGEST_LINE: Final = 16 << 20
LONGEST_ANSWER: Final = 64 << 20
LONGEST_RETRY_AFTER: Final = 60.0
"""Octets of an event and of a page, and seconds of a Retry-After, that are believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long what is waited for, in seconds."""

    connect: float = 3.0
    answer: float = 30.0
    silence: float = 75.0
    """After which a watch counts as dead: bookmarks come every 60 s on a quiet one."""
    watch: tuple[int, int] = (240, 480)
    """After which the server shall end a watch, at random, so that not all nodes return at once."""
    first_pause: float = 0.2
    longest_pause: float = 10.0
    """Between attempts: the first, doubled until the longest, each jittered down to its half."""
    fresh_list: float = 3600.0
    """After which everything is listed anew, whatever the watch says."""


class ApiError(DriverError):
    """The server answered with an error, or not at all (status 0)."""

    def __init__(self, status: int, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(f"{status} {reason}" if status else reason)
        self.status = status
        self.retry_after = retry_after


class Silence(ApiError):
    """An open watch said nothing for so long that it must be dead."""


class ErrorEvent(ApiError):
    """The server ended a watch with an event that says why."""


class Api:
    """One server; one request at a time. After a failure everything is read anew: certificates, tokens, kubeconfig."""

    def __init__(self, find: Callable[[], Access], patience: Patience) -> None:
        """``find`` says how to reach the server now."""
        self._find = find
        self.patience = patience
        self._access: Access | None = None
        self._pool = urllib3.PoolManager()
        self._watching: urllib3.BaseHTTPResponse | None = None

    def forget(self) -> None:
        """Close all connections; the next request starts from the credentials."""
        self._access = None
        self._pool.clear()

    def get(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        """One JSON answer, an object.

        Raises:
            ApiError: no answer, an error, or no JSON object.
        """
        return self._answer(path, self._request(path, query, self.patience.answer))

    def create(self, path: str, thing: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object; as the server has it.

        Raises:
            ApiError: no answer, an error (409: it exists), or no JSON object.
        """
        return self._answer(path, self._request(path, {}, self.patience.answer, thing))

    def _answer(self, path: str, response: urllib3.BaseHTTPResponse) -> dict[str, Any]:
        try:
            body = response.read(LONGEST_ANSWER)
            answer = json.loads(body)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ApiError(0, f"the answer broke off: {error}") from error
        except (ValueError, RecursionError) as error:
            raise ApiError(0, f"the answer to {path} is no JSON: {error}") from error
        finally:
            response.close()
        if not isinstance(answer, dict):
            raise ApiError(0, f"the answer to {path} is no JSON object")
        return answer

    def watch(
        self, path: str, query: Mapping[str, str], opened: Callable[[], None] = lambda: None
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The events of one watch, until the server ends it: their type and object.

        ``opened`` is called when the server has granted the watch, which may long precede its first event.

        Raises:
            Silence: nothing was heard for ``patience.silence`` seconds.
            ErrorEvent: the server sent an error as an event.
            ApiError: no answer, an error, or garbage.
        """
        length = str(random.randint(*self.patience.watch))
        query = {**query, "watch": "true", "timeoutSeconds": length}
        response = self._watching = self._request(path, query, self.patience.silence)
        try:
            opened()
            for line in _lines(response):
                yield _event(line)
        except urllib3.exceptions.ReadTimeoutError as error:
            raise Silence(0, f"the watch was silent for {self.patience.silence:g} s") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ApiError(0, f"the watch broke: {error}") from error
        finally:
            self._watching = None
            response.close()

    def interrupt(self) -> None:
        """End a watch that waits in another thread."""
        watching = self._watching
        if watching is not None:
            try:
                watching.shutdown()
            except (ValueError, OSError):
                pass  # it ended by itself just now

    def _request(
        self,
        path: str,
        query: Mapping[str, str],
        silence: float,
        body: Mapping[str, Any] | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """GET, or POST where there is a body."""
        access = self._reach()
        what: dict[str, Any] = {"fields": dict(query)} if body is None else {"json": body}
        try:
            response = self._pool.request(
                "GET" if body is None else "POST",
                access.server.rstrip("/") + path,
                **what,
                headers=_headers(access, body is not None),
                timeout=urllib3.Timeout(connect=self.patience.connect, read=silence),
                preload_content=False,
                redirect=False,
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise ApiError(0, f"{access.server} does not answer: {_words(error)}") from error
        if response.status not in (200, 201):
            raise _refusal(response)
        return response

    def _reach(self) -> Access:
        if self._access is None:
            try:
                access = self._find()
                self._pool = _connections(access)
            except (InputError, OSError, ValueError) as error:
                text = str(error).replace("\n", "; ")
                raise ApiError(0, f"no access to the Kubernetes API: {text}") from error
            self._access = access
        return self._access


def _connections(access: Access) -> urllib3.PoolManager:
    tls = access.tls()
    extra: dict[str, Any] = {} if tls is None else {"ssl_context": tls}
    if access.server_name:
        extra["server_hostname"] = access.server_name
    return urllib3.PoolManager(retries=False, **extra)


def _headers(access: Access, sends: bool) -> dict[str, str]:
    token = access.bearer()
    more = {"Authorization": f"Bearer {token}"} if token else {}
    if sends:
        more["Content-Type"] = "application/json"
    return {"Accept": "application/json", "User-Agent": "kroute", **more}


def _words(error: Exception) -> str:
    """What urllib3 says without the address of the connection object, which would differ each time."""
    text = str(error)
    return text.partition(">: ")[2] or text.partition(": ")[2] or text


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    buffer = bytearray()
    for chunk in response.stream(CHUNK, decode_content=True):
        buffer += chunk
        start = 0
        while (end := buffer.find(b"\n", start)) >= 0:
            yield bytes(buffer[start:end])
            start = end + 1
        del buffer[:start]
        if len(buffer) > LONGEST_LINE:
            raise ApiError(0, f"the server sent a line of more than {LONGEST_LINE >> 20} MiB")


def _event(line: bytes) -> tuple[str, dict[str, Any]]:
    """One event. What is none is not quoted: it may be a piece of a Secret."""
    try:
        event = json.loads(line)
        kind, thing = event["type"], event["object"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ApiError(0, f"the watch sent {len(line)} octets that are no event") from error
    if not isinstance(thing, dict) or not isinstance(kind, str):
        raise ApiError(0, f"the watch sent {len(line)} octets that are an event without an object")
    if kind == "ERROR":
        code = thing.get("code")
        text = f"{thing.get('reason')}: {thing.get('message')}"
        raise ErrorEvent(code if isinstance(code, int) else 500, text)
    return kind, thing


def _refusal(response: urllib3.BaseHTTPResponse) -> ApiError:
    """The error that an answer other than 200 is, in the server's words if it gives any."""
    try:
        body = response.read(2000)
        message = str(json.loads(body)["message"])
    except (urllib3.exceptions.HTTPError, OSError, ValueError, KeyError, TypeError, RecursionError):
        message = response.reason or "error"
    finally:
        response.close()
    after = response.headers.get("Retry-After", "")
    wait = min(float(after), LONGEST_RETRY_AFTER) if after.isdecimal() else 0.0
    return ApiError(response.status, message, wait)
