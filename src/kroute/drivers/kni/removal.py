"""Removing interfaces, several by one message, without waiting longer than they are there.

The kernel closes all links of one message and takes them out of their namespaces, before it dismantles one after
another: 0.3 ms each (unregister_netdevice_many_notify in net/core/dev.c). Then its answer waits 20 ms for RCU before it
frees the memory. The first event RTM_DELLINK says that the dismantling has begun, so we look who is still there: who is
not has gone, and that is when :meth:`Removal.remove` returns. Whoever wants to make a link of that name or with that
address waits for the kernel's lock until the rest is done. An answer that comes first counts as well: nothing depends
on the events.
"""

from __future__ import annotations

import errno
import os
import select
import threading
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from socket import htons

from kroute.codec.kni import veth
from kroute.codec.rtnetlink import (
    AF_UNSPEC,
    GROUP_LINK,
    GROUP_OF_LEAVING_PODS,
    RTM_DELLINK,
    MalformedMessage,
    messages,
)
from kroute.drivers import bpf
from kroute.drivers.kni.talk import Talk
from kroute.drivers.netlink import Overrun, RouteSocket
from kroute.model.errors import DriverError
from kroute.model.kni import KniError, Refusal

_OWED = 32
"""Most messages whose answers the kernel may owe us; further ones wait for one of them."""
_BUFFER = 1 << 20
"""Octets of events that the kernel keeps for us: about a thousand interfaces."""
_DROP_ALL_BUT_GONE: list[bpf.Step | str] = [
    bpf.half(4),  # nlmsg_type
    bpf.equal(htons(RTM_DELLINK), otherwise="drop"),
    bpf.byte(16),  # ifi_family: a bridge's farewell to its port comes before the port's own end
    bpf.equal(AF_UNSPEC, otherwise="drop"),
    bpf.KEEP,
    "drop",
    bpf.DROP,
]


class Removal:
    """Removes interfaces of the namespace of its first caller."""

    def __init__(self, talking: Callable[[], AbstractContextManager[Talk]]) -> None:
        """``talking`` lends a socket of that namespace. Threads and sockets of its own come with the first removal."""
        self._talking = talking
        self._mutex = threading.Lock()
        self._going: dict[str, _Batch] = {}
        self._workers: ThreadPoolExecutor | None = None
        self._ear: _Ear | None = None

    def remove(self, names: Collection[str], patience: float) -> dict[str, KniError]:
        """Remove interfaces; those that are not among the answer's are in no namespace any more when this returns.

        The answer says of the others why they are: the kernel refuses, or has not done it within ``patience``
        seconds. One that is not there is no error.

        Raises:
            KniError: there is no socket to be had.
        """
        batch = _Batch(names)
        if not batch.left:
            return {}
        with self._mutex:
            workers = self._open()
            self._going.update(dict.fromkeys(batch.left, batch))
        workers.submit(self._carry_out, batch)
        batch.over.acquire(timeout=patience)
        with self._mutex:
            return batch.refused | {name: _late(name) for name in batch.left}

    def close(self) -> None:
        """Wait for what the kernel still owes, and close."""
        with self._mutex:
            workers, ear = self._workers, self._ear
            self._workers = self._ear = None
        if workers is not None:
            workers.shutdown()
        if ear is not None:
            ear.close()

    def _open(self) -> ThreadPoolExecutor:
        """Be ready; the mutex is held."""
        if self._workers is None:
            try:
                self._ear = _Ear(self._heard)
            except DriverError as error:
                raise KniError(Refusal.BROKEN, str(error)) from error
            self._workers = ThreadPoolExecutor(_OWED, thread_name_prefix="kni-removal")
        return self._workers

    def _carry_out(self, batch: _Batch) -> None:
        error: KniError | None = None
        try:
            with self._talking() as talk:
                _remove(talk, sorted(batch.left))
        except KniError as caught:
            error = caught
        except OSError as caught:  # no socket to be had
            error = KniError(Refusal.BROKEN, f"netlink: {caught.strerror}")
        with self._mutex:
            for name in [*batch.left]:
                self._end(name, batch, error)

    def _heard(self, name: str, is_there: Callable[[str], bool]) -> None:
        """An interface has gone, ours or another's, and perhaps others by the same message."""
        with self._mutex:
            batch = self._going.get(name)
            if batch is None:
                return
            self._end(name, batch, None)
            for other in [other for other in batch.left if not is_there(other)]:
                self._end(other, batch, None)

    def _end(self, name: str, batch: _Batch, error: KniError | None) -> None:
        """One has gone, or cannot; the mutex is held."""
        if self._going.get(name) is batch:
            del self._going[name]
        batch.left.discard(name)
        if error is not None:
            batch.refused[name] = error
        if not batch.left:
            batch.over.release()


class _Batch:
    """Interfaces that are to go by one message."""

    def __init__(self, names: Iterable[str]) -> None:
        self.left = set(names)
        """Those of which nothing has been heard yet."""
        self.refused: dict[str, KniError] = {}
        self.over = threading.Lock()
        """Free once none is left."""
        self.over.acquire()


def _late(name: str) -> KniError:
    return KniError(Refusal.LATE, f"the kernel has not removed {name} in time")


class _Ear:
    """A thread that hears which interfaces go. Where events are lost, the kernel's answers come in their place."""

    def __init__(self, heard: Callable[[str, Callable[[str], bool]], None]) -> None:
        """``heard`` is told the name of one that goes, and how to ask whether others are there."""
        self._heard = heard
        self._socket = RouteSocket(groups=GROUP_LINK, buffer=_BUFFER)
        self._socket.filter(_DROP_ALL_BUT_GONE)
        self._over = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._listen, name="kni-gone", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        os.eventfd_write(self._over, 1)
        self._thread.join()
        os.close(self._over)
        self._socket.close()

    def _listen(self) -> None:
        ready = select.poll()
        for descriptor in (self._socket.fileno(), self._over):
            ready.register(descriptor, select.POLLIN)
        while not any(descriptor == self._over for descriptor, _ in ready.poll()):
            try:
                while (datagram := self._socket.receive()) is not None:
                    for message in messages(datagram):
                        self._heard(veth.link_of(message.body).name, self._socket.has_link)
            except (Overrun, MalformedMessage):
                continue
            except DriverError:
                return


def _remove(talk: Talk, names: list[str]) -> None:
    """Remove these interfaces, several by one message: by itself each would wait for RCU, all the others behind it."""
    if len(names) == 1:
        _tolerate_absence(talk, veth.delete(names[0]))
        return
    _tolerate_absence(talk, *(veth.set_group(name, GROUP_OF_LEAVING_PODS) for name in names))
    _tolerate_absence(talk, veth.delete_group(GROUP_OF_LEAVING_PODS))


def _tolerate_absence(talk: Talk, *requests: bytes) -> None:
    for refused in talk.refusals(*requests):
        if refused.errno != errno.ENODEV:
            raise refused
