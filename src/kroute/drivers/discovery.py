"""Finds the routers at the other ends of unnumbered links, and lets them find us (RFC 4861).

A router that peers unnumbered (FRR's ``neighbor eth1 interface``, and what is built on it) learns its peer's link-local
address from router advertisements. So kroute sends them, on the wanted interfaces only, and hears those of others. What
the kernel does with advertisements (accept_ra) does not matter.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import IPv6Address
from struct import pack, unpack
from time import monotonic
from typing import Final

from kroute.codec.ndp import (
    ALL_NODES,
    ALL_ROUTERS,
    HOP_LIMIT,
    NdpType,
    advertisement,
    read,
    solicitation,
)
from kroute.model.problem import Problem, Severity

Heard = Mapping[str, tuple[IPv6Address, ...]]
"""Routers by interface."""

_FIRST: Final = 3
"""Advertisements that follow each other quickly when an interface is new."""
_QUICK: Final = 1.0
_INTERVAL: Final = 10.0
"""Seconds between advertisements."""
_SILENT: Final = 60.0
"""Seconds after which a router that says nothing while another one speaks is gone."""
_MOST: Final = 16
"""Routers that are remembered of one interface."""
_MESSAGES_AT_ONCE: Final = 64
_ICMP6_FILTER: Final = 1


class _Link:
    """One interface."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.told = 0
        """Advertisements sent."""
        self.timer: asyncio.TimerHandle | None = None
        self.routers: dict[IPv6Address, float] = {}
        """When each was heard last (monotonic)."""

    def hear(self, router: IPv6Address, now: float) -> None:
        """A router advertised itself; one that was heard last stays for ever, since silence ends no session."""
        if router in self.routers or len(self.routers) < _MOST:
            self.routers[router] = now
        self.routers = {r: at for r, at in self.routers.items() if now - at < _SILENT}


class RouterDiscovery:
    """Sends and hears router advertisements on the interfaces that are wanted."""

    def __init__(
        self,
        on_change: Callable[[Heard], None],
        on_problems: Callable[[tuple[Problem, ...]], None],
    ) -> None:
        """Nothing is opened before an interface is wanted.

        Args:
            on_change: called in the event loop with all routers known whenever they change.
            on_problems: called with what keeps the driver from working, and with nothing when it works again.
        """
        self._on_change, self._on_problems = on_change, on_problems
        self._socket: socket.socket | None = None
        self._links: dict[str, _Link] = {}
        self._wanted: frozenset[str] = frozenset()
        self._told: Heard = {}
        self._complaint = ""

    def want(self, interfaces: frozenset[str]) -> None:
        """Work on exactly these interfaces; the routers of others are forgotten."""
        if interfaces == self._wanted and interfaces == self._links.keys():
            return
        self._wanted = interfaces
        for name in [n for n in self._links if n not in interfaces]:
            self._leave(name)
        if interfaces:
            self._open()
        for name in sorted(interfaces - self._links.keys()):
            self._join(name)
        self._tell()

    def close(self) -> None:
        """Stop sending and hearing."""
        for name in list(self._links):
            self._leave(name)
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _open(self) -> None:
        if self._socket is not None:
            return
        try:
            self._socket = _open_socket()
        except OSError as error:
            missing = " (it needs CAP_NET_RAW)" if isinstance(error, PermissionError) else ""
            self._complain(f"router advertisements cannot be sent: {error.strerror}{missing}")
            return
        self._complain("")
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._hear)

    def _complain(self, text: str) -> None:
        if text == self._complaint:
            return
        self._complaint = text
        problem = Problem(object="discovery", reason=text, severity=Severity.ERROR)
        self._on_problems((problem,) if text else ())

    # --- interfaces

    def _join(self, name: str) -> None:
        if self._socket is None:
            return
        with suppress(OSError):  # the interface has just gone; the kernel's next state says so
            link = _Link(socket.if_nametoindex(name))
            self._membership(socket.IPV6_JOIN_GROUP, link)
            self._links[name] = link
            self._advertise(link)

    def _leave(self, name: str) -> None:
        link = self._links.pop(name)
        if link.timer is not None:
            link.timer.cancel()
        with suppress(OSError):
            self._membership(socket.IPV6_LEAVE_GROUP, link)

    def _membership(self, option: int, link: _Link) -> None:
        assert self._socket is not None
        group = socket.inet_pton(socket.AF_INET6, ALL_ROUTERS) + pack("=I", link.index)
        self._socket.setsockopt(socket.IPPROTO_IPV6, option, group)

    # --- sending

    def _advertise(self, link: _Link) -> None:
        """Say that we are a router; ask who else is one as long as nobody was heard."""
        if link.timer is not None:
            link.timer.cancel()
        sent = self._send(link, ALL_NODES, advertisement())
        if not link.routers:
            sent = self._send(link, ALL_ROUTERS, solicitation()) and sent
        link.told += sent
        pause = _QUICK if link.told < _FIRST else _INTERVAL
        link.timer = asyncio.get_running_loop().call_later(pause, self._advertise, link)

    def _send(self, link: _Link, group: str, message: bytes) -> bool:
        """Whether it could be sent: not while the interface is down or its address is being checked."""
        assert self._socket is not None
        try:
            self._socket.sendto(message, (group, 0, 0, link.index))
        except OSError:
            return False
        return True

    # --- hearing

    def _hear(self) -> None:
        assert self._socket is not None
        names = {link.index: name for name, link in self._links.items()}
        for _ in range(_MESSAGES_AT_ONCE):
            try:
                message, told, _, source = self._socket.recvmsg(2048, 256)
            except BlockingIOError:
                break
            except OSError:
                continue  # an error of something sent before
            name = names.get(source[3])
            if name is not None:
                self._take(self._links[name], message, _hop_limit(told), source[0])
        self._tell()

    def _take(self, link: _Link, message: bytes, hop_limit: int, source: str) -> None:
        router = IPv6Address(source.partition("%")[0])
        match read(message, hop_limit):
            case NdpType.ROUTER_ADVERTISEMENT if router.is_link_local:
                link.hear(router, monotonic())
            case NdpType.ROUTER_SOLICITATION if link.told >= _FIRST:
                # Somebody new; three quick ones for everybody, and not one for each who asks.
                link.told = 0
                self._advertise(link)

    def _tell(self) -> None:
        heard = {
            name: tuple(sorted(link.routers)) for name, link in self._links.items() if link.routers
        }
        if heard != self._told:
            self._told = heard
            self._on_change(heard)


def _open_socket() -> socket.socket:
    sock = socket.socket(
        socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMPV6
    )
    try:
        options = (
            (socket.IPV6_MULTICAST_HOPS, HOP_LIMIT),
            (socket.IPV6_MULTICAST_LOOP, 0),
            (socket.IPV6_RECVHOPLIMIT, 1),
        )
        for option, value in options:
            sock.setsockopt(socket.IPPROTO_IPV6, option, value)
        sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, _only(*NdpType))
    except BaseException:
        sock.close()
        raise
    return sock


def _only(*kinds: int) -> bytes:
    """An ICMP6_FILTER that lets these types pass: a set bit drops (RFC 3542 §3.2)."""
    blocked = [0xFFFFFFFF] * 8
    for kind in kinds:
        blocked[kind >> 5] &= ~(1 << (kind & 31))
    return pack("=8I", *blocked)


def _hop_limit(told: list[tuple[int, int, bytes]]) -> int:
    return next(
        (
            int(unpack("=i", value[:4])[0])
            for level, kind, value in told
            if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_HOPLIMIT
        ),
        0,
    )
