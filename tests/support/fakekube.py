"""A double of the Kubernetes API server: what a watching client depends on, told as the real one tells it.

One revision counter and one event log, as etcd has: list (paged), watch, WatchList, bookmarks, 410, selectors, create,
update and delete over HTTP; TLS and bearer tokens; and the faults of real life. ``tests/contract`` holds the same
assertions against it and against any real cluster. It is also a program that serves the objects of a file.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import re
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import yaml

Object = dict[str, Any]
Query = dict[str, str]
Key = tuple[str, str]

INITIAL_END = "k8s.io/initial-events-end"
FIRST_REVISION = 100
NAMESPACE = "/namespace"
"""Where a request for the objects of one namespace keeps its name among the query's."""
_WITHIN = re.compile(r"(/apis?/.*)/namespaces/([^/]+)/(\w+)((?:/[^/]+)*)")
FIELDS = ("metadata.name", "metadata.namespace")
MORE_FIELDS = {"pods": ("spec.nodeName", "status.phase")}
"""What a fieldSelector may name: of every resource, and of some."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object and where it is served."""

    api: str
    kind: str
    path: str


RESOURCES = {
    "nodes": Resource("v1", "Node", "/api/v1/nodes"),
    "services": Resource("v1", "Service", "/api/v1/services"),
    "events": Resource("v1", "Event", "/api/v1/events"),
    "pods": Resource("v1", "Pod", "/api/v1/pods"),
    "secrets": Resource("v1", "Secret", "/api/v1/secrets"),
    "endpointslices": Resource(
        "discovery.k8s.io/v1", "EndpointSlice", "/apis/discovery.k8s.io/v1/endpointslices"
    ),
}
VERBS = {"POST": "create", "PUT": "update", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Call:
    """A request as rights see it. ``name`` is empty where it is for no single object."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Grant:
    """One rule of a ClusterRole, or of a Role where it has a namespace."""

    groups: tuple[str, ...]
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()
    namespace: str = ""

    @classmethod
    def of(cls, rule: Object, namespace: str = "") -> Self:
        """A rule as manifests have it."""
        parts = (rule["apiGroups"], rule["resources"], rule["verbs"], rule.get("resourceNames", ()))
        return cls(*map(tuple, parts), namespace=namespace)

    def allows(self, call: Call) -> bool:
        """Whether it covers a request."""
        return (
            call.group in self.groups
            and call.resource in self.resources
            and call.verb in self.verbs
            and self.namespace in ("", call.namespace)
            and (not self.names or call.name in self.names)
        )


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the log."""

    revision: int
    resource: str
    kind: str
    new: Object
    old: Object | None


@dataclass(slots=True)
class Failure:
    """An answer that is given instead of the right one."""

    code: int
    reason: str = "ServiceUnavailable"
    retry_after: int | None = None
    times: int | None = None
    watch_only: bool = False
    event: bool = False
    """HTTP 200 and an ERROR event, as an API server with an etcd too old for WatchList answers."""
    watchlist_only: bool = False


def status(code: int, reason: str, message: str) -> Object:
    """A Status object, the API's way to say no."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


class Refused(Exception):
    """The request is answered with a Status."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.body = code, status(code, reason, message)


# --- the store ----------------------------------------------------------------------------------------


class Store:
    """Objects, their revisions and the log of changes; every change wakes the watches."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.revision = FIRST_REVISION
        self.compacted = FIRST_REVISION
        self.objects: dict[str, dict[Key, Object]] = {name: {} for name in RESOURCES}
        self.log: list[Change] = []

    def put(self, resource: str, thing: Object) -> Object:
        """Create or update; one that would change nothing changes nothing, as in the real one."""
        with self.changed:
            new = copy.deepcopy(thing)
            metadata = new["metadata"]
            key = (metadata.get("namespace", ""), metadata["name"])
            old = self.objects[resource].get(key)
            new |= {"kind": RESOURCES[resource].kind, "apiVersion": RESOURCES[resource].api}
            metadata["uid"] = old["metadata"]["uid"] if old else f"uid-{self.revision + 1}"
            metadata["creationTimestamp"] = metadata.get("creationTimestamp") or (
                old["metadata"]["creationTimestamp"] if old else "2026-01-01T00:00:00Z"
            )
            metadata["resourceVersion"] = old["metadata"]["resourceVersion"] if old else ""
            if new == old:
                return old
            self.revision += 1
            metadata["resourceVersion"] = str(self.revision)
            self.objects[resource][key] = new
            self._note(Change(self.revision, resource, "MODIFIED" if old else "ADDED", new, old))
            return new

    def delete(self, resource: str, name: str, namespace: str = "") -> Object:
        """Remove an object that is there."""
        with self.changed:
            old = self.objects[resource].pop((namespace, name))
            self.revision += 1
            last = copy.deepcopy(old)
            last["metadata"]["resourceVersion"] = str(self.revision)
            self._note(Change(self.revision, resource, "DELETED", last, old))
            return last

    def compact(self) -> None:
        """Forget history: watches and pages from before now are told 410."""
        with self.changed:
            self.revision += 1
            self.compacted = self.revision
            self.log.clear()
            self.changed.notify_all()

    def restore(self, back: int) -> None:
        """Become an etcd restored from a backup: ``back`` revisions earlier than clients remember."""
        with self.changed:
            self.revision -= back
            self.log.clear()
            self.compacted = min(self.compacted, self.revision)
            self.changed.notify_all()

    def replace(self, resource: str, things: Iterable[Object]) -> None:
        """Make the objects of a resource these and no others, by single changes."""
        wanted = {(t["metadata"].get("namespace", ""), t["metadata"]["name"]): t for t in things}
        with self.changed:
            for namespace, name in [k for k in self.objects[resource] if k not in wanted]:
                self.delete(resource, name, namespace)
            for thing in wanted.values():
                self.put(resource, thing)

    def _note(self, change: Change) -> None:
        self.log.append(change)
        self.changed.notify_all()


# --- selectors ----------------------------------------------------------------------------------------

Selects = Callable[[Object | None], bool]

_SET = re.compile(r"^(\S+)\s+(in|notin)\s+\(([^)]*)\)$")
_EQUAL = re.compile(r"^([^=!\s]+)\s*(==|=|!=)\s*([^=!\s]*)$")
_EXISTS = re.compile(r"^(!?)\s*([A-Za-z0-9][\w./-]*)$")


def _requirement(text: str) -> Callable[[dict[str, str]], bool]:
    if found := _SET.match(text):
        key, inside = found[1], found[2] == "in"
        values = {v.strip() for v in found[3].split(",")}
        return lambda labels: (labels.get(key) in values) is inside
    if found := _EQUAL.match(text):
        key, same, value = found[1], found[2] != "!=", found[3]
        return lambda labels: (labels.get(key) == value) is same
    if found := _EXISTS.match(text):
        absent, key = bool(found[1]), found[2]
        return lambda labels: (key in labels) is not absent
    raise Refused(400, "BadRequest", f"unable to parse requirement: {text!r}")


def _field(text: str, resource: str) -> Callable[[Object], bool]:
    """One requirement of a fieldSelector; the servers know few fields."""
    found = re.fullmatch(r"([^=!]+)(==|=|!=)([^=!]*)", text)
    if found is None:
        raise Refused(400, "BadRequest", f"invalid selector: {text!r}; can't understand {text!r}")
    path, same, value = found[1], found[2] != "!=", found[3]
    if path not in FIELDS + MORE_FIELDS.get(resource, ()):
        raise Refused(400, "BadRequest", f"field label not supported: {path}")
    part, field = path.split(".")
    return lambda thing: (((thing.get(part) or {}).get(field) or "") == value) is same


def selector(query: Query, resource: str) -> Selects:
    """What a request selects, of objects that may be absent."""
    parts = re.split(r",(?![^(]*\))", query.get("labelSelector", ""))
    wanted = [_requirement(part.strip()) for part in parts if part.strip()]
    fields = [_field(p, resource) for p in query.get("fieldSelector", "").split(",") if p]
    namespace = query.get(NAMESPACE, "")

    def selects(thing: Object | None) -> bool:
        if thing is None or not all(field(thing) for field in fields):
            return False
        if namespace and thing["metadata"].get("namespace") != namespace:
            return False
        labels = thing["metadata"].get("labels") or {}
        return all(requirement(labels) for requirement in wanted)

    return selects


def as_seen(change: Change, selects: Selects) -> str | None:
    """How a change looks through a selector: one that leaves it looks deleted, one that enters added."""
    now, before = selects(change.new), selects(change.old)
    if change.kind == "MODIFIED":
        return {(True, True): "MODIFIED", (True, False): "ADDED", (False, True): "DELETED"}.get(
            (now, before)
        )
    return change.kind if now else None


# --- the server ---------------------------------------------------------------------------------------


class FakeKube:
    """An API server with one store; several may follow each other on one port, as restarts do."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        bookmark_every: float = 0.2,
        tokens: Iterable[str] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.store = Store()
        self.tokens = set(tokens)
        self.requests: list[tuple[str, str, Query]] = []
        self.rights: dict[str, list[Grant]] = {}
        """What users may do, by their names; empty: who names none. Who is not in it may do everything."""
        self.calls: set[Call] = set()
        """All requests, as rights see them."""
        self.failure: Failure | None = None
        self.watchlist = True
        """Whether sendInitialEvents is known, as behind the feature gate."""
        self.refuses_lists = False
        """Whether lists are answered 503, and only watches as ever."""
        self.talking = threading.Event()
        """Cleared: open watches and new requests hang, as on a half-open connection."""
        self.talking.set()
        self.bookmarks = True
        """Whether bookmarks are sent now and then; a server that has just started waits for the first change."""
        self.ignores_initial_events = False
        """Whether sendInitialEvents is overlooked, as by servers from before it was thought of."""
        self.on_list: list[Callable[[], object]] = []
        """Done after the next list requests, one each."""
        self.say_next = b""
        """Octets that the next watch with news sends before them."""
        self.bookmark_every = bookmark_every
        self.host, self.port = host, port
        self._tls = tls
        self._server: ThreadingHTTPServer | None = None
        self._sockets: set[socket.socket] = set()
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        """Where it is served."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    def start(self) -> Self:
        """Listen and serve; after :meth:`stop` again on the same port, with the same objects."""
        owner = self
        handler = type("Handler", (_Handler,), {"kube": self})

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True
            address_family = socket.AF_INET6 if ":" in owner.host else socket.AF_INET
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that went away is no news."""

        self.closing.clear()
        self._server = Server((self.host, self.port), handler)
        self.port = self._server.server_address[1]
        if self._tls:
            # The handshake is made by the connection's own thread: a client that stalls stalls nobody else.
            self._server.socket = self._tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self, how: str = "fin") -> None:
        """Stop listening and cut every connection, as a killed server does."""
        if self._server is not None:
            self.closing.set()
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        self.drop(how)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.talking.set()
        self.stop()

    def drop(self, how: str = "fin") -> None:
        """Cut every open connection, with a FIN or an RST."""
        for connection in list(self._sockets):
            self._sockets.discard(connection)
            try:
                if how == "rst":
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    os.close(connection.detach())
                else:
                    connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        with self.store.changed:
            self.store.changed.notify_all()

    def opened(self, connection: socket.socket) -> None:
        """A connection to cut later."""
        self._sockets.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """A connection that ended."""
        self._sockets.discard(connection)

    def is_open(self, connection: socket.socket) -> bool:
        """Whether a connection was not cut meanwhile."""
        return (
            connection in self._sockets and connection.fileno() >= 0 and not self.closing.is_set()
        )

    # Shorthands for tests.

    def put(self, thing: Object, resource: str = "nodes") -> Object:
        """Create or update."""
        return self.store.put(resource, thing)

    def delete(self, name: str, resource: str = "nodes") -> Object:
        """Remove."""
        return self.store.delete(resource, name)

    def watches(self) -> list[Query]:
        """The queries of all watch requests so far."""
        return [query for _, _, query in self.requests if query.get("watch") == "true"]

    def lists(self) -> list[Query]:
        """The queries of all list requests so far."""
        return [q for method, _, q in self.requests if method == "GET" and "watch" not in q]

    def take_failure(self, query: Query) -> Failure | None:
        """The failure to answer this request with."""
        failure = self.failure
        watch = query.get("watch") == "true"
        if failure is None or (failure.watch_only and not watch):
            return None
        if failure.watchlist_only and "sendInitialEvents" not in query:
            return None
        if failure.times is not None:
            failure.times -= 1
            if failure.times <= 0:
                self.failure = None
        return failure


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    kube: FakeKube
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.kube.opened(self.connection)

    def finish(self) -> None:
        self.kube.closed(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Silence; ``requests`` has it."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        url = urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(url.query, keep_blank_values=True).items()}
        self.kube.requests.append((self.command, url.path, query))
        # Read whatever the answer will be, or it would be taken for the connection's next request.
        self._said = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            self._hang()
            self._authenticate()
            if (failure := self.kube.take_failure(query)) is not None:
                self._fail(failure)
            else:
                self._route(url.path, query)
        except Refused as refused:
            self._json(refused.code, refused.body)
        except (OSError, ValueError):
            self.close_connection = True  # cut, by the client or by drop()

    def _hang(self) -> None:
        while not self.kube.talking.wait(0.05) and self.kube.is_open(self.connection):
            pass

    def _authenticate(self) -> None:
        given = self.headers.get("Authorization", "")
        if self.kube.tokens and given.removeprefix("Bearer ") not in self.kube.tokens:
            raise Refused(401, "Unauthorized", "Unauthorized")

    def _fail(self, failure: Failure) -> None:
        body = status(failure.code, failure.reason, "injected")
        if failure.event:
            self._begin_stream()
            self._send("ERROR", body)
            self._end_stream()
            return
        retry = failure.retry_after
        self._json(failure.code, body, {} if retry is None else {"Retry-After": str(retry)})

    def _route(self, path: str, query: Query) -> None:
        if within := _WITHIN.fullmatch(path):
            path, query = f"{within[1]}/{within[3]}{within[4]}", {**query, NAMESPACE: within[2]}
        for name, resource in RESOURCES.items():
            if path == resource.path or path.startswith(f"{resource.path}/"):
                self._authorize(name, resource, path, query)
            if path == resource.path and self.command == "GET":
                watch = query.get("watch") in ("true", "1")
                return (self._watch if watch else self._list)(name, resource, query)
            if path == resource.path and self.command == "POST":
                return self._json(201, self._create(name, self._body(), query))
            if path.startswith(f"{resource.path}/"):
                return self._one(name, path.removeprefix(f"{resource.path}/"), query)
        raise Refused(404, "NotFound", "the server could not find the requested resource")

    def _authorize(self, name: str, resource: Resource, path: str, query: Query) -> None:
        """Refuse what the user has no right to; a list of one name is of that name, as there."""
        one = path.removeprefix(resource.path).strip("/").partition("/")[0]
        named = re.search(r"(?:^|,)metadata\.name==?([^,]+)", query.get("fieldSelector", ""))
        reads = "get" if one else "watch" if query.get("watch") in ("true", "1") else "list"
        verb = VERBS.get(self.command, reads)
        group = resource.api.rpartition("/")[0]
        call = Call(verb, group, name, query.get(NAMESPACE, ""), one or (named[1] if named else ""))
        self.kube.calls.add(call)
        user = self.headers.get("Impersonate-User", "")
        granted = self.kube.rights.get(user)
        if granted is not None and not any(grant.allows(call) for grant in granted):
            text = f'{name} is forbidden: User "{user}" cannot {verb} resource "{name}" in API group "{group}"'
            raise Refused(403, "Forbidden", text)

    def _body(self) -> Object:
        body: Object = json.loads(self._said)
        return body

    def _create(self, resource: str, thing: Object, query: Query) -> Object:
        store, name = self.kube.store, thing["metadata"]["name"]
        namespace = query.get(NAMESPACE, "")
        if namespace != thing["metadata"].get("namespace", namespace):
            raise Refused(
                400, "BadRequest", "the namespace of the object does not match the request"
            )
        if namespace:
            thing["metadata"]["namespace"] = namespace
        if resource == "events":
            _validate_event(thing, namespace)
        with store.changed:
            if (namespace, name) in store.objects[resource]:
                raise Refused(409, "AlreadyExists", f'{resource} "{name}" already exists')
            return store.put(resource, thing)

    def _one(self, resource: str, path: str, query: Query) -> None:
        """GET, PUT or DELETE one object, or PUT its status alone."""
        name, _, part = path.partition("/")
        store, namespace = self.kube.store, query.get(NAMESPACE, "")
        body = self._body() if self.command == "PUT" else {}
        with store.changed:
            found = store.objects[resource].get((namespace, name))
        if found is None or part not in ("", "status"):
            raise Refused(404, "NotFound", f'{resource} "{name}" not found')
        if self.command == "PUT":
            version = body["metadata"].get("resourceVersion")
            if version and version != found["metadata"]["resourceVersion"]:
                raise Refused(
                    409, "Conflict", "the object has been modified; please apply your changes"
                )
            found = store.put(resource, {**found, "status": body["status"]} if part else body)
        elif self.command == "DELETE":
            found = store.delete(resource, name, namespace)
        self._json(200, found)

    def _json(self, code: int, body: Object, headers: dict[str, str] | None = None) -> None:
        encoded = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(encoded)

    def _list(self, name: str, resource: Resource, query: Query) -> None:
        if self.kube.refuses_lists:
            raise Refused(503, "ServiceUnavailable", "injected")
        store, selects = self.kube.store, selector(query, name)
        revision, _, offset = query.get("continue", "").partition("/")
        with store.changed:
            if revision and int(revision) < store.compacted:
                raise Refused(410, "Expired", "The provided continue parameter is too old")
            if int(query.get("resourceVersion") or 0) > store.revision:
                raise Refused(504, "Timeout", "Too large resource version")
            at = revision or str(store.revision)
            items = [o for _, o in sorted(store.objects[name].items()) if selects(o)]
        begin, limit = int(offset or 0), int(query.get("limit") or 0)
        page = items[begin : begin + limit] if limit else items[begin:]
        metadata: Object = {"resourceVersion": at}
        if begin + len(page) < len(items):
            metadata |= {
                "continue": f"{at}/{begin + len(page)}",
                "remainingItemCount": len(items) - begin - len(page),
            }
        head = {"kind": f"{resource.kind}List", "apiVersion": resource.api, "metadata": metadata}
        self._json(200, {**head, "items": [_bare(item) for item in page]})
        if self.kube.on_list:
            self.kube.on_list.pop(0)()

    # --- watching -------------------------------------------------------------------------------------

    def _watch(self, name: str, resource: Resource, query: Query) -> None:
        streaming = self._asks_for_initial_events(query)
        store, selects = self.kube.store, selector(query, name)
        version = query.get("resourceVersion", "")
        marks = query.get("allowWatchBookmarks") in ("true", "1")
        with store.changed:
            whole = streaming or version in ("", "0")
            initial = list(store.objects[name].values()) if whole else []
            position = store.revision if whole else int(version)
        self._begin_stream()
        for thing in initial:
            if selects(thing):
                self._send("ADDED", thing)
        if streaming and marks:
            self._bookmark(resource, position, {"annotations": {INITIAL_END: "true"}})
        self._follow(name, resource, query, position)

    def _asks_for_initial_events(self, query: Query) -> bool:
        if "sendInitialEvents" not in query or self.kube.ignores_initial_events:
            return False
        if not self.kube.watchlist:
            raise Refused(
                422,
                "Invalid",
                "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless"
                " the WatchList feature gate is enabled",
            )
        if query.get("resourceVersionMatch") != "NotOlderThan":
            raise Refused(
                422,
                "Invalid",
                "resourceVersionMatch: Forbidden: sendInitialEvents requires setting"
                " resourceVersionMatch to NotOlderThan",
            )
        return query["sendInitialEvents"] in ("true", "1")

    def _follow(self, name: str, resource: Resource, query: Query, position: int) -> None:
        store, selects = self.kube.store, selector(query, name)
        marks = query.get("allowWatchBookmarks") in ("true", "1") and self.kube.bookmarks
        end = time.monotonic() + float(query.get("timeoutSeconds") or 3600)
        mark_at = time.monotonic() + self.kube.bookmark_every
        while time.monotonic() < end and self.kube.is_open(self.connection):
            self._hang()
            with store.changed:
                if position < store.compacted:
                    break
                news = [c for c in store.log if c.revision > position]
                if not news:
                    store.changed.wait(min(end, mark_at, time.monotonic() + 0.5) - time.monotonic())
                current = store.revision
            for change in news:
                position = change.revision
                kind = as_seen(change, selects) if change.resource == name else None
                if kind:
                    self._say_what_was_asked()
                    self._send(kind, change.new)
            if marks and not news and time.monotonic() >= mark_at and position <= current:
                self._bookmark(resource, max(position, current), {})
                mark_at = time.monotonic() + self.kube.bookmark_every
        if position < store.compacted:
            text = f"too old resource version: {position} ({store.compacted})"
            self._send("ERROR", status(410, "Expired", text))
        self._end_stream()

    def _begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _send(self, kind: str, thing: Object) -> None:
        line = json.dumps({"type": kind, "object": thing}).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.flush()

    def _say_what_was_asked(self) -> None:
        said, self.kube.say_next = self.kube.say_next, b""
        if said:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(said), said))

    def _bookmark(self, resource: Resource, revision: int, more: Object) -> None:
        metadata = {"resourceVersion": str(revision), "creationTimestamp": None, **more}
        body = {"kind": resource.kind, "apiVersion": resource.api, "metadata": metadata}
        self._send("BOOKMARK", body)

    def _end_stream(self) -> None:
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()


def _validate_event(event: Object, namespace: str) -> None:
    """What the real server asks of a core/v1 Event (pkg/apis/core/validation, legacy events)."""
    within = event["involvedObject"].get("namespace", "")
    if within != namespace and not (within == "" and namespace in ("default", "kube-system")):
        raise Refused(422, "Invalid", "involvedObject.namespace: does not match event.namespace")


def _bare(item: Object) -> Object:
    """An item of a list: the real server leaves out its kind and apiVersion."""
    return {k: v for k, v in item.items() if k not in ("kind", "apiVersion")}


# --- the program --------------------------------------------------------------------------------------


def objects_in(path: Path) -> dict[str, list[Object]]:
    """The objects of a YAML or JSON file, by resource; List objects are unfolded."""
    found: dict[str, list[Object]] = {name: [] for name in RESOURCES}
    kinds = {resource.kind: name for name, resource in RESOURCES.items()}
    for document in yaml.safe_load_all(path.read_text()):
        if not document:
            continue
        for thing in document.get("items", [document]):
            kind = thing.get("kind") or str(document.get("kind", "")).removesuffix("List")
            if kind in kinds:
                found[kinds[kind]].append(json.loads(json.dumps(thing, default=str)))
    return found


def load(kube: FakeKube, path: Path) -> None:
    """Make the served objects those of a file."""
    for resource, things in objects_in(path).items():
        kube.store.replace(resource, things)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description="a small Kubernetes API server for labs")
    parser.add_argument("--bind", dest="host", default="127.0.0.1", metavar="ADDRESS")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument(
        "--objects", type=Path, metavar="FILE", help="YAML or JSON, as kubectl prints"
    )
    parser.add_argument("--follow", action="store_true", help="serve the file's changes as well")
    args = parser.parse_args()
    kube = FakeKube(args.host, args.port, bookmark_every=10)
    if args.objects:
        load(kube, args.objects)
    kube.start()
    sys.stdout.write(f"serving {kube.url}\n")
    sys.stdout.flush()
    seen = args.objects.stat().st_mtime_ns if args.objects else 0
    pause = threading.Event()
    while not pause.wait(0.2):
        if not (args.follow and args.objects and args.objects.exists()):
            continue
        if (now := args.objects.stat().st_mtime_ns) != seen:
            seen = now
            try:
                load(kube, args.objects)
            except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
                sys.stderr.write(f"{args.objects}: {error}; the objects before stay\n")


if __name__ == "__main__":
    main()
