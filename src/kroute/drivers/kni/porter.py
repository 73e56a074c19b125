"""Patience with clients: a call's message is waited for so long and no longer, a watcher of health holds nobody up.

In grpcio's server a thread waits for each call's message. A client that opens calls and then says nothing, or half of
it, would hold all threads that there are; so such calls are ended, and threads are more than calls may be at work.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc

from kroute.codec.kni import standard
from kroute.codec.kni.wire import MalformedMessage
from kroute.drivers.kni.meter import Meter

log = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds in which a call's message has to come; clients send it together with the call."""
LOOK = 1.0
"""Seconds between two looks at calls that wait, and at the health that is watched."""
STREAMS = 64
"""Calls that watch or reflect at once; further ones wait until one of them ends."""


class Porter:
    """Stands between gRPC and the methods of one server; :meth:`close` ends its thread."""

    def __init__(
        self, meter: Meter, health: Callable[[str], int], look: Callable[[], None]
    ) -> None:
        """``health`` tells the ServingStatus of a service; ``look`` is called every :data:`LOOK`: the porter stands at
        the doors anyway."""
        self.streams = ThreadPoolExecutor(STREAMS, thread_name_prefix="kni-stream")
        """The threads of calls that last."""
        self._meter = meter
        self._health = health
        self._look = look
        self._awaited: dict[grpc.ServicerContext, tuple[str, float]] = {}
        self._over = threading.Event()
        threading.Thread(target=self._stand, name="kni-porter", daemon=True).start()

    def message(
        self, name: str, requests: Iterator[bytes], context: grpc.ServicerContext
    ) -> bytes | None:
        """The next message of a call of this method; None where none comes: the call is over then."""
        self._awaited[context] = (name, time.monotonic())
        try:
            data: bytes | None = next(requests, None)
        except grpc.RpcError:  # the client has gone
            data = None
        # Whoever takes it off the list decides: here it has come, in the porter's thread it is too late.
        return data if self._awaited.pop(context, None) else None

    def check(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        """grpc.health.v1.Health/Check; NOT_FOUND for a service that is none."""
        try:
            status = self._health(standard.health_service(data))
        except MalformedMessage as error:
            return _refuse(context, error)
        if status == standard.SERVICE_UNKNOWN:
            context.set_code(grpc.StatusCode.NOT_FOUND)
            context.set_details("no such service; try `kni.KNI`, or none for the server itself")
            return b""
        return standard.health_reply(status)

    def watch(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """grpc.health.v1.Health/Watch: the status now and whenever it changes, NOT_SERVING when the server ends."""
        data = self.message("Watch", requests, context)
        if data is None:
            return
        try:
            service = standard.health_service(data)
        except MalformedMessage as error:
            _refuse(context, error)
            return
        told = -1
        while context.is_active() and not self._over.is_set():
            status = self._health(service)
            if status != told:
                yield standard.health_reply(status)
                told = status
            self._over.wait(LOOK)
        yield standard.health_reply(standard.NOT_SERVING)

    def reflect(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """ServerReflectionInfo, until the client has no further question."""
        while (data := self.message("ServerReflectionInfo", requests, context)) is not None:
            try:
                yield standard.reflect(data)
            except MalformedMessage as error:
                _refuse(context, error)
                return

    def close(self) -> None:
        """End what lasts: watchers are told, calls without a message are ended."""
        self._over.set()
        self.streams.shutdown(wait=False)

    def _stand(self) -> None:
        while not self._over.wait(LOOK):
            self._end(PATIENCE)
            try:
                self._look()
            except Exception:
                log.exception("the look at the sockets failed; it is tried again")
        time.sleep(LOOK)  # for messages that are on their way
        self._end(0.0)

    def _end(self, patience: float) -> None:
        """End the calls that have waited so many seconds for their message."""
        since = time.monotonic() - patience
        for context, (name, began) in self._awaited.copy().items():
            if began <= since and self._awaited.pop(context, None) is not None:
                log.warning("%s ended: its message did not come", name)
                self._meter.refuse(name, "CANCELLED")
                context.cancel()


def _refuse(context: grpc.ServicerContext, error: MalformedMessage) -> bytes:
    context.set_code(grpc.StatusCode.INVALID_ARGUMENT)
    context.set_details(str(error))
    return b""
