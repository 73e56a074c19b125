"""Keeps a picture of the kernel: one dump at first and whenever events were lost, then events alone.

Events are handled in the event loop and are few: a filter in the kernel drops those of our own routes. Dumps
are read in a thread, as a table may hold a million routes of others.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Collection
from socket import htons
from time import monotonic

from kroute.codec.rtnetlink import (
    GROUP_IPV4_IFADDR,
    GROUP_IPV4_ROUTE,
    GROUP_IPV6_IFADDR,
    GROUP_IPV6_ROUTE,
    GROUP_LINK,
    KERNEL_FAMILY,
    NLMSG_DONE,
    NLMSG_ERROR,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    MalformedMessage,
    Message,
    error_of,
    messages,
)
from kroute.codec.rtnetlink_dump import RouteDump
from kroute.codec.rtnetlink_link import addresses_request, links_request
from kroute.codec.rtnetlink_route import RT_TABLE_COMPAT, RTA_DST, RouteEncoder, RouteForm
from kroute.drivers import bpf
from kroute.drivers.kernel.picture import Picture
from kroute.drivers.netlink import HEARD_LINKS, Overrun, RouteSocket, reason_of
from kroute.model.errors import DriverError
from kroute.model.kernel import KernelState
from kroute.model.net import Family

_GROUPS = GROUP_LINK | GROUP_IPV4_IFADDR | GROUP_IPV6_IFADDR | GROUP_IPV4_ROUTE | GROUP_IPV6_ROUTE
_EVENTS_AT_ONCE = 256
_RETRY = 1.0
_DUMP_ATTEMPTS = 5
_DUTY = 10
"""A state that took t seconds to make is followed by no other for 10 t."""


class KernelWatcher:
    """Tells of every change of the kernel's links, addresses and others' routes, at most every ``settle``."""

    def __init__(
        self,
        *,
        on_change: Callable[[KernelState], None],
        ours: Collection[int] = (201,),
        table: int = 254,
        routes_kept: int = 10_000,
        settle: float = 0.05,
        audit_interval: float = 60.0,
        event_buffer: int = 8 << 20,
        netns: str | None = None,
    ) -> None:
        """Open the socket; nothing is read before :meth:`start`.

        Args:
            on_change: called in the event loop with every new state.
            ours: protocol ids whose routes are left out.
            table: routing table whose routes are observed.
            routes_kept: most routes of others that are kept; beyond that they are counted.
            settle: seconds between a change and the call, so that a flock of changes makes one call.
            audit_interval: seconds between two readings of everything.
            event_buffer: octets of events that the kernel keeps for us.
            netns: path of a network namespace to observe, for tests.

        Raises:
            Unsupported: no route netlink on this machine.
        """
        self.state = KernelState()
        """The last state that was told."""
        self.overruns = 0
        self.error = ""
        """What keeps the kernel from being read, empty if nothing does."""
        self._on_change, self._settle, self._netns = on_change, settle, netns
        self._audit_interval = audit_interval
        self._picture_options = {"table": table, "ours": ours, "routes_kept": routes_kept}
        self._picture = self._empty()
        self._table, self._ours = table, tuple(ours)
        self._socket = RouteSocket(netns=netns, groups=_GROUPS, buffer=event_buffer)
        self._socket.filter(_filter(self._ours, table))
        self._meanwhile: list[Message] = []
        self._loading: asyncio.Task[None] | None = None
        self._stale = False
        self._cost = 0.0
        self._telling: asyncio.TimerHandle | None = None
        self._audit: asyncio.TimerHandle | None = None

    async def start(self) -> KernelState:
        """Read everything, begin to listen, and return the first state (told by ``on_change`` as well).

        Raises:
            DriverError: the kernel could not be read.
        """
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket.fileno(), self._hear)
        self._loading = asyncio.create_task(self._load())
        await self._loading
        if self.error:
            raise DriverError(self.error)
        self._tell()
        return self.state

    def close(self) -> None:
        """Stop listening."""
        for handle in (self._telling, self._audit):
            if handle is not None:
                handle.cancel()
        if self._loading is not None:
            self._loading.cancel()
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()

    # --- events

    def _hear(self) -> None:
        try:
            for _ in range(_EVENTS_AT_ONCE):
                datagram = self._socket.receive()
                if datagram is None:
                    break
                for message in messages(datagram):
                    self._take(message)
        except Overrun:
            self.overruns += 1
            self._reload()
        except MalformedMessage as damaged:
            self.error = str(damaged)
            self._reload()

    def _take(self, message: Message) -> None:
        if self._loading is not None:
            self._meanwhile.append(message)
            return
        if self._picture.hear(message):
            self._reload()
        self._tell_soon()

    def _tell_soon(self) -> None:
        if self._telling is None:
            pause = max(self._settle, _DUTY * self._cost)
            self._telling = asyncio.get_running_loop().call_later(pause, self._tell)

    def _tell(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        if self._loading is not None:
            return
        started = monotonic()
        state = self._picture.state()
        changed = state != self.state
        self._cost = monotonic() - started
        if changed:
            self.state = state
            self._on_change(state)

    # --- dumps

    def _empty(self) -> Picture:
        return Picture(**self._picture_options)  # type: ignore[arg-type]

    def _reload(self) -> None:
        """Read everything anew, in the background; once more if something is lost meanwhile."""
        if self._loading is not None:
            self._stale = True
            return
        self._load_later(self._settle)

    def _load_later(self, pause: float) -> None:
        self._loading = asyncio.create_task(self._load(pause))
        self._loading.add_done_callback(_tell_failure)

    async def _load(self, pause: float = 0.0) -> None:
        try:
            await asyncio.sleep(pause)
            self._stale = False
            self._meanwhile.clear()
            picture = await asyncio.to_thread(self._read)
            for message in self._meanwhile:
                self._stale |= picture.hear(message)
            self._picture, self.error = picture, ""
        except (DriverError, MalformedMessage) as failure:
            self.error, self._stale, pause = str(failure), True, _RETRY
        self._meanwhile.clear()
        self._loading = None
        if self._stale:
            self._load_later(pause or self._settle)
        self._tell_soon()
        self._audit_later()

    def _audit_later(self) -> None:
        if self._audit is not None:
            self._audit.cancel()
        loop = asyncio.get_running_loop()
        self._audit = loop.call_later(self._audit_interval, self._reload)

    def _read(self) -> Picture:
        """In a thread: everything, by sockets of its own."""
        picture = self._empty()
        for request in (links_request(), *map(addresses_request, Family)):
            for message in self._answers(request):
                picture.hear(message)
        for family in Family:
            for form, nlris in self._routes(family, picture.concerns).routes.items():
                picture.add_routes(family, form, nlris)
        return picture

    def _answers(self, request: bytes) -> list[Message]:
        found: list[Message] = []
        reader = RouteSocket(netns=self._netns)
        try:
            for datagram in reader.dump(request):
                for message in messages(datagram):
                    if message.kind in (NLMSG_DONE, NLMSG_ERROR):
                        if (said := error_of(message)).errno:
                            raise DriverError(f"kernel dump: {reason_of(said)}")
                        return found
                    found.append(message)
        finally:
            reader.close()
        return found

    def _routes(self, family: Family, wanted: Callable[[RouteForm], bool]) -> RouteDump:
        request = RouteEncoder(table=self._table, protocol=0, metric=0).dump(family)
        for _ in range(_DUMP_ATTEMPTS):
            dump = RouteDump(family, wanted)
            reader = RouteSocket(netns=self._netns)
            try:
                for datagram in reader.dump(request):
                    if dump.feed(datagram):
                        break
            finally:
                reader.close()
            if dump.refusal is not None and dump.refusal.errno != errno.ENOENT:
                raise DriverError(f"route dump: {reason_of(dump.refusal)}")
            if not dump.interrupted:
                break
        return dump  # of a table that changes all the time, the last try; events tell the rest


def _tell_failure(loading: asyncio.Task[None]) -> None:
    """A reading that nobody awaits must not fail unheard: what it fails with is a bug, and the loop's owner decides."""
    if not loading.cancelled() and (error := loading.exception()) is not None:
        loading.get_loop().call_exception_handler(
            {"message": "reading the kernel failed", "exception": error, "task": loading}
        )


def _filter(ours: tuple[int, ...], table: int) -> list[bpf.Step | str]:
    """Drops links of pods, and routes of other tables, of our protocols and to link-local prefixes.

    Offsets are those of nlmsghdr (type 4) and rtmsg (family 16, length 17, table 20, protocol 21, attributes from 28).
    """
    return [
        bpf.half(4),
        bpf.equal(htons(RTM_NEWLINK), "link"),
        bpf.equal(htons(RTM_DELLINK), "link"),
        bpf.equal(htons(RTM_NEWROUTE), "route"),
        bpf.equal(htons(RTM_DELROUTE), "route", otherwise="keep"),
        "link",
        *HEARD_LINKS,
        "route",
        bpf.byte(20),
        bpf.equal(table if table < 256 else RT_TABLE_COMPAT, otherwise="drop"),
        bpf.byte(21),
        *(bpf.equal(protocol, "drop") for protocol in ours),
        bpf.byte(16),
        bpf.equal(KERNEL_FAMILY[Family.IPV6], otherwise="keep"),
        bpf.byte(17),
        bpf.at_least(10, otherwise="keep"),
        *bpf.attribute(RTA_DST, behind=28, missing="keep"),
        bpf.half_of(),
        bpf.masked(0xFFC0),
        bpf.equal(0xFE80, "drop"),
        "keep",
        bpf.KEEP,
        "drop",
        bpf.DROP,
    ]
