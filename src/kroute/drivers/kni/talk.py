"""A netlink socket for links and addresses: requests go in one datagram, their refusals come back as errors."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from struct import pack, unpack_from

from kroute.codec.kni import veth
from kroute.codec.rtnetlink import (
    NLMSG_DONE,
    NLMSG_ERROR,
    MalformedMessage,
    Message,
    error_of,
    messages,
)
from kroute.model.kni import KniError, Refusal

_DATAGRAM = 1 << 16
_SIOCGIFINDEX = 0x8933
_PATIENCE = 10
"""Seconds that the kernel may take to answer; removing devices waits for RCU."""


class Refused(KniError):
    """The kernel refused a message."""

    def __init__(self, code: int, text: str) -> None:
        self.errno = code
        super().__init__(Refusal.BROKEN, f"netlink: {text or os.strerror(code)}")


class Talk:
    """A netlink socket in the namespace of the thread that opens it; one user at a time."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, 0)
        self._socket.bind((0, 0))
        limit = pack("@ll", _PATIENCE, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self._socket.setsockopt(270, 11, 1)  # SOL_NETLINK, NETLINK_EXT_ACK
        self._socket.setsockopt(270, 12, 1)  # NETLINK_GET_STRICT_CHK

    def close(self) -> None:
        """Close; what was not read is lost."""
        self._socket.close()

    def tell(self, *requests: bytes) -> None:
        """Carry out requests, sent all at once.

        Raises:
            Refused: the first that was; later ones were tried all the same.
        """
        for refused in self.refusals(*requests):
            raise refused

    def refusals(self, *requests: bytes) -> list[Refused]:
        """Carry out requests, sent all at once; what the kernel refused of them, in their order."""
        self._send(veth.burst(requests))
        found = []
        while True:
            for answer in self._answers():
                if answer.kind == NLMSG_ERROR:
                    said = error_of(answer)
                    if said.errno:
                        found.append(Refused(said.errno, said.text))
                    if veth.is_last(said.request):
                        return found

    def link(self, name: str) -> veth.LinkState | None:
        """One link; None where there is none."""
        self._send(veth.get_link(name))
        for answer in self._answers():
            if answer.kind != NLMSG_ERROR:
                return veth.link_of(answer.body)
            said = error_of(answer)
            if said.errno != errno.ENODEV:
                raise Refused(said.errno, said.text)
        return None

    def index(self, name: str) -> int:
        """The index of a link, 0 where there is none; waits for nothing, unlike :meth:`link` (netdevice(7))."""
        try:
            told = fcntl.ioctl(self._socket, _SIOCGIFINDEX, pack("16s24x", name.encode()))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return 0
            raise KniError(Refusal.BROKEN, f"{name}: {error.strerror}") from error
        return int(unpack_from("=i", told, 16)[0])

    def veths(self) -> list[veth.LinkState]:
        """The veths of the namespace."""
        self._send(veth.get_veths())
        found = [veth.link_of(body) for body in self._dump()]
        return [link for link in found if link.kind == "veth"]

    def addresses(self, index: int) -> set[tuple[bytes, int]]:
        """Packed addresses and prefix lengths of an interface."""
        found = set()
        for family in (4, 6):
            self._send(veth.get_addresses(family, index))
            found |= veth.addresses_of(self._dump(), index)
        return found

    def _send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            raise KniError(Refusal.BROKEN, f"netlink: {error}") from error

    def _dump(self) -> Iterator[bytes]:
        while True:
            for answer in self._answers():
                if answer.kind == NLMSG_DONE:
                    return
                if answer.kind == NLMSG_ERROR:
                    said = error_of(answer)
                    raise Refused(said.errno, said.text)
                yield answer.body

    def _answers(self) -> list[Message]:
        try:
            return list(messages(self._socket.recv(_DATAGRAM)))
        except (OSError, MalformedMessage) as error:
            raise KniError(Refusal.BROKEN, f"netlink: {error}") from error
