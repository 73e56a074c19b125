"""Removing interfaces: those that are to go at the same time go together, and nobody waits longer than they are there.

A veth is out of both namespaces within a millisecond; then the kernel's answer waits 20 ms for RCU before it frees the
memory (netdev_run_todo in net/core/dev.c). Its event RTM_DELLINK says when the interface has gone, and that is when
:meth:`Removal.remove` returns. An answer that comes first counts as well: nothing depends on the events.
"""

from __future__ import annotations

import errno
import os
import select
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from socket import htons

from kroute.codec.kni import veth
from kroute.codec.rtnetlink import GROUP_LINK, RTM_DELLINK, MalformedMessage, messages
from kroute.drivers.kni.talk import Talk
from kroute.drivers.netlink import BpfInstruction, Overrun, RouteSocket
from kroute.model.errors import DriverError
from kroute.model.kni import KniError, Refusal

_GROUP = 0x6B6E6901
"""Interface group of what is being removed together."""
_AT_ONCE = 8
"""Most removals whose end the kernel may owe us; interfaces that come then wait and go together."""
_BUFFER = 1 << 20
"""Octets of events that the kernel keeps for us: about a thousand interfaces."""
_DROP_ALL_BUT_GONE: list[BpfInstruction] = [
    (0x28, 0, 0, 4),  # nlmsg_type
    (0x15, 0, 3, htons(RTM_DELLINK)),
    (0x30, 0, 0, 16),  # ifi_family: a bridge's farewell to its port comes before the port's own end
    (0x15, 0, 1, 0),
    (0x06, 0, 0, 0xFFFFFFFF),
    (0x06, 0, 0, 0),
]


class Removal:
    """Removes interfaces of the namespace of its first caller."""

    def __init__(self, talking: Callable[[], AbstractContextManager[Talk]]) -> None:
        """``talking`` lends a socket of that namespace. Threads and sockets of its own come with the first removal."""
        self._talking = talking
        self._mutex = threading.Lock()
        self._waiting: list[_Going] = []
        self._going: dict[str, _Going] = {}
        self._batch: list[_Going] = []
        """What the kernel is taking out just now; one batch at a time, or each would be a small one."""
        self._owed = 0
        self._workers: ThreadPoolExecutor | None = None
        self._ear: _Ear | None = None

    def remove(self, name: str, patience: float) -> None:
        """Remove an interface; it is in no namespace any more when this returns. One that is not there is no error.

        Raises:
            KniError: the kernel refuses, or has not done it within ``patience`` seconds.
        """
        mine = _Going(name)
        with self._mutex:
            self._open()
            self._waiting.append(mine)
            self._go_on()
        if not mine.over.acquire(timeout=patience):
            raise KniError(Refusal.LATE, f"the kernel has not removed {name} in time")
        if mine.error is not None:
            raise mine.error

    def close(self) -> None:
        """Wait for what the kernel still owes, and close."""
        with self._mutex:
            workers, ear = self._workers, self._ear
            self._workers = self._ear = None
        if workers is not None:
            workers.shutdown()
        if ear is not None:
            ear.close()

    def _open(self) -> None:
        """Be ready; the mutex is held."""
        if self._workers is not None:
            return
        try:
            self._ear = _Ear(self._heard)
        except DriverError as error:
            raise KniError(Refusal.BROKEN, str(error)) from error
        self._workers = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="kni-removal")

    def _go_on(self) -> None:
        """Start the next batch, if there is one and it may; the mutex is held."""
        workers = self._workers
        if self._batch or not self._waiting or self._owed >= _AT_ONCE or workers is None:
            return
        self._batch, self._waiting = self._waiting, []
        self._owed += 1
        self._going.update((going.name, going) for going in self._batch)
        workers.submit(self._carry_out, self._batch)

    def _carry_out(self, batch: list[_Going]) -> None:
        error: KniError | None = None
        try:
            with self._talking() as talk:
                _remove(talk, [going.name for going in batch])
        except KniError as caught:
            error = caught
        except OSError as caught:  # no socket to be had
            error = KniError(Refusal.BROKEN, f"netlink: {caught.strerror}")
        with self._mutex:
            self._owed -= 1
            for going in batch:
                self._end(going, error)
            self._go_on()

    def _heard(self, name: str) -> None:
        """An interface has gone, ours or another's."""
        with self._mutex:
            going = self._going.get(name)
            if going is not None:
                self._end(going, None)
                self._go_on()

    def _end(self, going: _Going, error: KniError | None) -> None:
        """One has gone, or cannot; the mutex is held."""
        if going.ended:
            return
        going.ended, going.error = True, error
        if self._going.get(going.name) is going:
            del self._going[going.name]
        if self._batch and all(each.ended for each in self._batch):
            self._batch = []
        going.over.release()


class _Going:
    """One interface that is to go."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ended = False
        self.error: KniError | None = None
        self.over = threading.Lock()
        """Free once it has ended."""
        self.over.acquire()


class _Ear:
    """A thread that hears which interfaces go. Where events are lost, the kernel's answers come in their place."""

    def __init__(self, heard: Callable[[str], None]) -> None:
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
                        self._heard(veth.link_of(message.body).name)
            except (Overrun, MalformedMessage):
                continue
            except DriverError:
                return


def _remove(talk: Talk, names: list[str]) -> None:
    """Remove these interfaces, several by one message: by itself each would wait for RCU, all the others behind it."""
    if len(names) == 1:
        _tolerate_absence(talk, veth.delete(names[0]))
        return
    _tolerate_absence(talk, *(veth.set_group(name, _GROUP) for name in names))
    _tolerate_absence(talk, veth.delete_group(_GROUP))


def _tolerate_absence(talk: Talk, *requests: bytes) -> None:
    for refused in talk.refusals(*requests):
        if refused.errno != errno.ENODEV:
            raise refused
