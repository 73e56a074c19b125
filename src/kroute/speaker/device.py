"""Sessions that stay on one interface: their connections are bound to it, and come from nowhere else."""

from __future__ import annotations

import os
import socket
import struct
from typing import Final

_PKTINFO: Final = {
    socket.AF_INET: (socket.IPPROTO_IP, 8),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO),
}
_PKTOPTIONS: Final = {
    socket.AF_INET: (socket.IPPROTO_IP, 9),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 6),
}
"""IP_PKTINFO, IP_PKTOPTIONS and IPV6_2292PKTOPTIONS (linux/in.h, linux/in6.h): of a TCP connection, what its SYN came
with, if the listening socket asked for it."""
_HEADER: Final = 16
_INDEX: Final = {socket.AF_INET: _HEADER, socket.AF_INET6: _HEADER + 16}
"""Where the interface's number is: behind a struct cmsghdr, in IPv6 behind the address as well."""
_SIZE: Final = 256


def bind_to(sock: socket.socket, device: str) -> None:
    """Let a connection's packets pass by one interface alone; empty: as routes lead.

    Raises:
        OSError: there is no such interface, or no right to it (Linux before 5.7 asks for CAP_NET_RAW); says which.
    """
    if not device:
        return
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise OSError(f"cannot bind to interface {device}: {reason}") from None


def note_arrivals(sock: socket.socket) -> None:
    """Have a listening socket's connections know by which interface they came.

    Raises:
        OSError: the kernel refuses.
    """
    sock.setsockopt(*_PKTINFO[sock.family], 1)


def arrival(sock: socket.socket) -> str:
    """The interface by which an accepted connection came; empty where it is not known. To be asked for once.

    Raises:
        OSError: the interface is gone.
    """
    found = sock.getsockopt(*_PKTOPTIONS[sock.family], _SIZE)
    # From here on the kernel would note it of every packet.
    sock.setsockopt(*_PKTINFO[sock.family], 0)
    at = _INDEX[sock.family]
    if len(found) < at + 4:
        return ""
    return socket.if_indextoname(struct.unpack_from("=i", found, at)[0])
