"""The rtnetlink socket that the ``fib`` and ``kernel`` drivers each open for themselves. No driver of its own.

A plain socket on purpose. pyroute2's costs 13 MiB and 65 ms to import, is poisoned by ENOBUFS in its asyncio
form, and adds nothing to a socket whose messages are templates (ADR 6).
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from array import array
from collections.abc import Iterator, Sequence
from socket import htonl, htons
from struct import pack

from kroute.codec.rtnetlink import (
    AF_BRIDGE,
    GROUP_OF_LEAVING_PODS,
    GROUP_OF_PODS,
    IFLA_GROUP,
    NLM_F_ACK,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    RTM_DELROUTE,
    RTM_NEWLINK,
    KernelError,
    error_of,
    message,
    messages,
)
from kroute.drivers import bpf
from kroute.model.errors import DriverError, Unsupported

_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 1, 11, 12
_SIOCGIFINDEX = 0x8933
_SO_ATTACH_FILTER, _SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 26, 32, 33
_BUFFER = 8 << 20
"""Octets asked for: 8 MiB hold the errors of thousands of messages, or 20,000 events."""
_DATAGRAM = 1 << 16
_PATIENCE = 30
"""Seconds that an answer may take."""

HEARD_LINKS: list[bpf.Step | str] = [
    bpf.byte(16),
    bpf.equal(AF_BRIDGE, "drop"),
    *bpf.attribute(IFLA_GROUP, behind=32, missing="keep"),
    bpf.word_of(),
    bpf.equal(htonl(GROUP_OF_LEAVING_PODS), "drop"),
    bpf.equal(htonl(GROUP_OF_PODS), otherwise="keep"),
    bpf.half(4),
    bpf.equal(htons(RTM_NEWLINK), "drop"),
    bpf.KEEP,
]
"""Part of a filter, for RTM_NEWLINK and RTM_DELLINK: goes to ``drop`` with pods' links and what bridges tell of ports.

That a pod's link goes alone is kept: one that plugins made was heard of before it came into its group. Offsets are
those of nlmsghdr (type 4) and ifinfomsg (family 16, attributes from 32).
"""


class Overrun(DriverError):
    """The kernel had more to tell than the socket's buffer could hold; what was lost is unknown."""


class RouteSocket:
    """One NETLINK_ROUTE socket, opened in the namespace of the caller or in the named one (a path)."""

    def __init__(self, *, netns: str | None = None, groups: int = 0, buffer: int = _BUFFER) -> None:
        """Open and bind.

        Args:
            netns: path of a network namespace, as in /run/netns; None is the caller's.
            groups: bit mask of multicast groups (linux/rtnetlink.h RTMGRP_*).
            buffer: octets wanted for each direction; granted in full with CAP_NET_ADMIN only.

        Raises:
            Unsupported: no such socket on this machine, or no such namespace.
        """
        try:
            self._socket = _open(netns)
            self._socket.bind((0, groups))
        except OSError as cause:
            raise Unsupported(f"cannot open a route netlink socket: {cause}") from cause
        self._set(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer, fallback=socket.SO_RCVBUF)
        self._set(socket.SOL_SOCKET, _SO_SNDBUFFORCE, buffer, fallback=socket.SO_SNDBUF)
        self._set(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._set(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        # Not settimeout(): with that Python waits in spite of MSG_DONTWAIT.
        patience = pack("@ll", _PATIENCE, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)

    @property
    def port(self) -> int:
        """The port id that the kernel writes into events which this socket caused."""
        port: int = self._socket.getsockname()[0]
        return port

    def fileno(self) -> int:
        """For poll and add_reader."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close; safe to call twice."""
        self._socket.close()

    def join(self, group: int) -> None:
        """Subscribe to a multicast group by number (RTNLGRP_*), also beyond 31."""
        self._set(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)

    def has_link(self, name: str) -> bool:
        """Whether the socket's namespace has a link of this name (SIOCGIFINDEX, netdevice(7)).

        Unlike requests it does not wait for the kernel's lock (RTNL), which is held until all links that one message
        removes have been dismantled.

        Raises:
            DriverError: the socket is broken.
        """
        try:
            fcntl.ioctl(self._socket, _SIOCGIFINDEX, pack("16sI20x", name.encode(), 0))
        except OSError as cause:
            if cause.errno == errno.ENODEV:
                return False
            raise DriverError(f"netlink: {cause}") from cause
        return True

    def filter(self, program: Sequence[bpf.Step | str]) -> None:
        """Let the kernel drop events before they fill the buffer."""
        instructions = bpf.assemble(program)
        code = array("B", b"".join(pack("=HBBI", *each) for each in instructions))
        address, _ = code.buffer_info()
        self._socket.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, pack("@HL", len(instructions), address)
        )

    def send(self, data: bytes) -> None:
        """Send requests. When this returns the kernel has carried out all of them.

        Raises:
            DriverError: the kernel did not take the datagram at all.
        """
        try:
            self._socket.send(data)
        except OSError as cause:
            raise DriverError(f"netlink: {cause}") from cause

    def receive(self) -> bytes | None:
        """One waiting datagram, or None; never waits.

        Raises:
            Overrun: messages were lost before this one.
            DriverError: the socket is broken.
        """
        try:
            return self._socket.recv(_DATAGRAM, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError as cause:
            if cause.errno == errno.ENOBUFS:
                raise Overrun("netlink: messages lost (ENOBUFS)") from cause
            raise DriverError(f"netlink: {cause}") from cause

    def refusals(self) -> list[KernelError]:
        """What the kernel refused of that which was sent so far; never waits.

        Raises:
            Overrun: some refusals were lost.
        """
        found: list[KernelError] = []
        while (datagram := self.receive()) is not None:
            for answer in messages(datagram):
                if answer.kind == NLMSG_ERROR and (said := error_of(answer)).errno:
                    found.append(said)
        return found

    def dump(self, request: bytes) -> Iterator[bytes]:
        """The datagrams that answer a dump request; the reader stops after the one that ends it.

        Raises:
            DriverError: no answer, or lost messages.
        """
        self.send(request)
        while True:
            try:
                yield self._socket.recv(_DATAGRAM)
            except OSError as cause:
                raise DriverError(f"netlink dump: {cause}") from cause

    def request(self, data: bytes) -> None:
        """Send one request that asks for an acknowledgement, and wait for that.

        Raises:
            DriverError: the kernel refused; errno is its ``__cause__``.
        """
        self.send(data)
        for answer in messages(self._socket.recv(_DATAGRAM)):
            if answer.kind == NLMSG_ERROR and (said := error_of(answer)).errno:
                text = said.text or os.strerror(said.errno)
                raise DriverError(text) from OSError(said.errno, text)

    def require_admin(self) -> None:
        """Make sure that this process may change routes.

        Raises:
            Unsupported: it lacks CAP_NET_ADMIN.
        """
        cut_short = message(RTM_DELROUTE, NLM_F_REQUEST | NLM_F_ACK, pack("=Bxxx", socket.AF_INET))
        try:
            self.request(
                cut_short
            )  # refused in any case: EINVAL by the rest of the kernel's checks
        except DriverError as refusal:
            cause = refusal.__cause__
            if isinstance(cause, OSError) and cause.errno in (errno.EPERM, errno.EACCES):
                raise Unsupported("routes cannot be changed: CAP_NET_ADMIN is missing") from cause

    def _set(self, level: int, option: int, value: int, fallback: int | None = None) -> None:
        try:
            self._socket.setsockopt(level, option, value)
        except OSError:
            if fallback is not None:
                self._socket.setsockopt(level, fallback, value)


def reason_of(refusal: KernelError) -> str:
    """``ENETUNREACH: Nexthop has invalid gateway``: the errno's name and the kernel's words."""
    name = errno.errorcode.get(refusal.errno, str(refusal.errno))
    return f"{name}: {refusal.text or os.strerror(refusal.errno)}"


def _open(netns: str | None) -> socket.socket:
    if netns is None:
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    import ctypes  # only here: most daemons never leave their namespace

    libc = ctypes.CDLL(None, use_errno=True)

    def enter(descriptor: int) -> None:
        if libc.setns(descriptor, 0x40000000):  # CLONE_NEWNET
            raise OSError(ctypes.get_errno(), f"setns {netns}")

    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter(there)
        finally:
            os.close(there)
        try:
            return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        finally:
            enter(home)
    finally:
        os.close(home)
