"""Addresses as sockets take them."""

from __future__ import annotations

import socket
from typing import Any, Final, NamedTuple

_SOCKADDR_IN6: Final = 4


class Endpoint(NamedTuple):
    """An address as sockets take it; ``interface`` only for link-local ones."""

    address: str
    interface: str = ""

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """``192.0.2.1``, ``2001:db8::1`` or ``fe80::1%eth0``."""
        address, _, interface = text.partition("%")
        return cls(address, interface)

    @classmethod
    def of_sockaddr(cls, sockaddr: tuple[Any, ...]) -> Endpoint:
        """From accept(2) or getpeername(2).

        Raises:
            OSError: the interface is gone.
        """
        scope = sockaddr[3] if len(sockaddr) == _SOCKADDR_IN6 else 0
        return cls(sockaddr[0].partition("%")[0], socket.if_indextoname(scope) if scope else "")

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET

    @property
    def key(self) -> tuple[bytes, str]:
        """Equal for equal addresses, however they are written."""
        return socket.inet_pton(self.family, self.address), self.interface

    def sockaddr(self, port: int) -> tuple[Any, ...]:
        """For bind(2) and connect(2).

        Raises:
            OSError: the interface does not exist.
        """
        if self.family == socket.AF_INET:
            return self.address, port
        return self.address, port, 0, socket.if_nametoindex(self.interface) if self.interface else 0
