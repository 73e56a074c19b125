"""The gRPC server: bytes to the core and back, in threads of its own, so that it never delays the event loop.

Queries have their own threads: a kubelet's status call is answered also while every other thread waits for a plugin.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc

from kroute.codec.kni import methods, standard
from kroute.codec.kni.methods import METHODS, Ask, Method, read
from kroute.codec.kni.wire import MalformedMessage, encode
from kroute.drivers.kni import checks
from kroute.drivers.kni.core import Core
from kroute.drivers.kni.door import Door
from kroute.drivers.kni.gc import Finding
from kroute.drivers.kni.guard import Guard
from kroute.drivers.kni.meter import Meter
from kroute.drivers.kni.porter import Porter
from kroute.model.errors import DriverError
from kroute.model.kni import Empty, Generation, KniError, Refusal
from kroute.model.problem import Problem

log = logging.getLogger(__name__)

COLLECT = "/kroute.Kni/Collect"
"""A method of ours: garbage collection on demand. :data:`DRY_RUN` or nothing goes in, a JSON list comes out."""
DRY_RUN = b"dry-run"
CHECK = "/kroute.Kni/Check"
"""Another: the plugins' CHECK. The id of an attachment or nothing (all) goes in, a JSON list comes out."""
WORKERS = 32
"""Calls at work at once, besides queries."""
THREADS = 128
"""Threads there may be, for queries and for the rest; made when needed, which is while messages do not come."""
DELIVERY = 2.0
"""Seconds that clients have for reading their answers once the server is to stop and nothing is at work any more."""
_LOOK = 0.05
LONGEST_MESSAGE = 4 << 20
"""Octets of a request; a pod's labels and annotations are at most 256 KiB each."""
_OPTIONS = (
    ("grpc.max_receive_message_length", LONGEST_MESSAGE),
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", 256),
)
_CODES = {refusal: grpc.StatusCode[refusal.value] for refusal in Refusal}
_QUERIES = (Ask.QUERY_POD, Ask.QUERY_NODES, Ask.SETUP_NODE)

Behaviour = Callable[[bytes, grpc.ServicerContext], bytes]


class KniServer(grpc.GenericRpcHandler):
    """Serves one core on some sockets."""

    def __init__(
        self,
        core: Core,
        meter: Meter,
        forced: Generation | None = None,
        collect: Callable[[bool], list[Finding]] | None = None,
        *,
        on_doors: Callable[[tuple[Problem, ...]], None] = lambda _problems: None,
    ) -> None:
        """``forced`` settles the layout of AttachNetworkRequest; None tells by the message.

        ``collect`` serves `kroute kni gc`: it is told whether to look only. ``on_doors`` hears all that is wrong with
        the sockets whenever that has changed.
        """
        self._core = core
        self._collect = collect
        self._meter = meter
        self._forced = forced
        self.guard = Guard(self._listen_anew, on_doors)
        self._at_work: set[grpc.ServicerContext] = set()
        self._slots = threading.BoundedSemaphore(WORKERS)
        self._porter = Porter(meter, self._health, self.guard.look)
        self._work = ThreadPoolExecutor(THREADS, thread_name_prefix="kni")
        self._queries = ThreadPoolExecutor(THREADS, thread_name_prefix="kni-query")
        self._servers: dict[Path, grpc.Server] = {}
        """gRPC's, one for each door: a running one takes no further socket."""
        self._ending: list[grpc.Server] = []
        self._handlers: Mapping[str, Any] = self._routes()

    def start(self, doors: Iterable[Door]) -> None:
        """Listen at every door.

        Raises:
            DriverError: one cannot be opened; nothing is served then, and all are closed.
        """
        doors = tuple(doors)
        try:
            for door in doors:
                self._servers[door.path] = self._listen(door)
            for door in doors:
                door.open()
        except (DriverError, RuntimeError) as error:
            self.stop(0)
            for door in doors:
                door.close()
            raise DriverError(str(error)) from error
        self.guard.watch(doors)

    def stop(self, grace: float) -> None:
        """Take no more calls, let those that run end within ``grace`` seconds, give the sockets up.

        A client that does not read its answer delays that by :data:`DELIVERY` at most.
        """
        doors = self.guard.release()
        servers = (*self._servers.values(), *self._ending)
        ended, end = [server.stop(grace) for server in servers], time.monotonic() + grace
        self._porter.close()
        idle = 0.0
        while not _all_set(ended, _LOOK) and idle < DELIVERY and time.monotonic() < end:
            idle = 0.0 if self._at_work else idle + _LOOK
        for server in servers:
            server.stop(0)
        _all_set(ended, 5.0)
        for door in doors:
            door.close()
        for pool in (self._work, self._queries):
            pool.shutdown(wait=False, cancel_futures=True)

    def _listen(self, door: Door) -> grpc.Server:
        server = grpc.server(self._work, handlers=[self], options=_OPTIONS)
        server.add_insecure_port(f"unix:{door.draft}")
        server.start()
        return server

    def _listen_anew(self, door: Door) -> Door:
        """Another socket in place of one that has no name any more; whoever is connected there is sent to the new one.

        Raises:
            DriverError: the path cannot be had.
        """
        door.close()
        fresh = Door(door.path)
        try:
            server = self._listen(fresh)
            fresh.open()
        except (DriverError, RuntimeError) as error:
            fresh.close()
            raise DriverError(str(error)) from error
        former, self._servers[door.path] = self._servers[door.path], server
        former.stop(self._core.settings.deadline)
        self._ending.append(former)
        return fresh

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method's path; None where there is none (gRPC answers UNIMPLEMENTED)."""
        return self._handlers.get(handler_call_details.method)

    # --- methods ------------------------------------------------------------------------------------------

    def _routes(self) -> dict[str, Any]:
        routes = {
            m.path: self._unary(m.name, self._behaviour(m), is_query=m.ask in _QUERIES)
            for m in METHODS.values()
        }
        health = f"/{standard.HEALTH}"
        routes[f"{health}/Check"] = self._unary("Check", self._porter.check, is_query=True)
        routes[f"{health}/Watch"] = self._lasting(self._porter.watch)
        if self._collect is not None:
            routes[COLLECT] = self._unary("Collect", self._collected, is_query=False)
        routes[CHECK] = self._unary("Check", self._checked, is_query=False)
        for service in standard.REFLECTION:
            path = f"/{service}/ServerReflectionInfo"
            routes[path] = self._lasting(self._porter.reflect)
        return routes

    def _unary(self, name: str, behaviour: Behaviour, *, is_query: bool) -> Any:
        """A method of one message each way, registered as a stream: so the wait for the message is ours to end."""
        slots = nullcontext() if is_query else self._slots

        def behave(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            data = self._porter.message(name, requests, context)
            if data is None:
                text = f"{name} needs one message"
                return _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, text)
            self._at_work.add(context)
            try:
                with slots:
                    return behaviour(data, context)
            finally:
                self._at_work.discard(context)

        if is_query:
            behave.experimental_thread_pool = self._queries  # type: ignore[attr-defined]
        return grpc.stream_unary_rpc_method_handler(behave)

    def _lasting(
        self, behaviour: Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]
    ) -> Any:
        def behave(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            return behaviour(requests, context)

        behave.experimental_thread_pool = self._porter.streams  # type: ignore[attr-defined]
        return grpc.stream_stream_rpc_method_handler(behave)

    def _behaviour(self, method: Method) -> Behaviour:
        def behave(data: bytes, context: grpc.ServicerContext) -> bytes:
            if method.ask is Ask.ATTACH and not data:  # "is there such a method?", our client asks
                return _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "the request is empty")
            began = time.perf_counter()
            self._meter.begin()
            who = how = code = ""
            try:
                request, generation = read(method, data, self._forced)
                who = getattr(request, "id", "")
                how = self._how(method, who)
                reply = self._answer(method, request, generation)
                how = how or self._how(method, who)
                return encode(method.reply, reply)
            except Exception as error:  # noqa: BLE001 - a bug in one call must not end the others
                status, text = _status(f"{method.name} id={who}" if who else method.name, error)
                code = status.name
                return _refuse(context, status, text)
            finally:
                self._meter.end(method.name, how, time.perf_counter() - began, code)

        return behave

    def _how(self, method: Method, container: str) -> str:
        """Who does the work of a call that attaches or detaches a pod, as far as it is known yet or still."""
        known = self._core.store.attachments.get(container)
        if method.ask in _QUERIES or known is None or not known.wirings:
            return ""
        return known.wirings[0].how.value

    def _answer(self, method: Method, request: Any, generation: Generation) -> Any:
        core = self._core
        match method.ask:
            case Ask.ATTACH:
                return core.attach(request, generation)
            case Ask.DETACH:
                core.detach(request.id)
            case Ask.QUERY_POD:
                return core.query_pod(request.id)
            case Ask.QUERY_NODES:
                return core.query_nodes()
            case Ask.CREATE:
                return core.domains.create(request)
            case Ask.DELETE:
                core.domains.delete(request)
            case Ask.SETUP_NODE:  # C17: an empty message, where the former server fell over
                pass
        return Empty()

    def _collected(self, data: bytes, _context: grpc.ServicerContext) -> bytes:
        assert self._collect is not None
        found = self._collect(data == DRY_RUN)
        return json.dumps([asdict(finding) for finding in found]).encode()

    def _checked(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            found = checks.check(self._core, data.decode("utf-8", "replace"))
        except KniError as error:
            return _refuse(context, *_status("Check", error))
        return json.dumps([asdict(checked) for checked in found]).encode()

    def _health(self, service: str) -> int:
        """The server serves while its store can be written, KNI while the node is ready (C16)."""
        match service:
            case "":
                serves = not self._core.store.fault
            case methods.SERVICE:
                serves = self._core.query_nodes().networks[0].ready
            case _:
                return standard.SERVICE_UNKNOWN
        return standard.SERVING if serves else standard.NOT_SERVING


def _all_set(events: Iterable[threading.Event], seconds: float) -> bool:
    """Whether all are set, by then at the latest."""
    end = time.monotonic() + seconds
    return all(event.wait(max(0.0, end - time.monotonic())) for event in events)


def _refuse(context: grpc.ServicerContext, status: grpc.StatusCode, text: str) -> bytes:
    context.set_code(status)
    context.set_details(text)
    return b""


def _status(call: str, error: Exception) -> tuple[grpc.StatusCode, str]:
    if isinstance(error, MalformedMessage):
        return grpc.StatusCode.INVALID_ARGUMENT, str(error)
    if isinstance(error, KniError):
        log.warning("%s refused: %s", call, error)
        return _CODES[error.refusal], str(error)
    log.error("%s failed", call, exc_info=error)
    return grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}; see the daemon's log"
