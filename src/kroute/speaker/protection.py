"""What guards a connection: TTLs (GTSM, RFC 5082) and the TCP MD5 key (RFC 2385), also on one that is live."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from exabgp.protocol.ip import IP
from exabgp.reactor.network import tcp
from exabgp.reactor.network.error import NetworkError

from kroute.codec.frames import SessionParameters
from kroute.speaker.endpoint import Endpoint

HIGHEST_TTL: Final = 255
_KERNEL_S_OWN: Final = -1
TTL: Final[dict[int, tuple[int, int]]] = {
    socket.AF_INET: (socket.IPPROTO_IP, socket.IP_TTL),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
}
LOWEST_TTL: Final[dict[int, tuple[int, int]]] = {
    socket.AF_INET: (socket.IPPROTO_IP, 21),
    socket.AF_INET6: (socket.IPPROTO_IPV6, tcp.IPV6_MINHOPCOUNT),
}
"""IP_MINTTL and IPV6_MINHOPCOUNT (linux/in.h, linux/in6.h): what arrives with less is dropped; 0 for no limit."""


def sending_ttl(parameters: SessionParameters) -> int | None:
    """TTL of what we send; None leaves the kernel's. An external peer is one hop away unless told otherwise."""
    if parameters.ttl_security is not None:
        return HIGHEST_TTL
    if parameters.multihop is not None:
        return parameters.multihop
    return None if parameters.asn == parameters.local_asn else 1


def lowest_ttl(parameters: SessionParameters) -> int:
    """TTL below which a packet is dropped (GTSM, RFC 5082 §3); 0 for none."""
    if parameters.ttl_security is None:
        return 0
    return HIGHEST_TTL + 1 - parameters.ttl_security


def set_ttl(sock: socket.socket, parameters: SessionParameters) -> None:
    """TTL and GTSM of one connection.

    Raises:
        NetworkError: the kernel refuses.
    """
    peer = Endpoint.parse(parameters.address).address
    afi = IP.toafi(peer)
    ttl, lowest = sending_ttl(parameters), lowest_ttl(parameters)
    if ttl is None:
        sock.setsockopt(*TTL[sock.family], _KERNEL_S_OWN)  # it may have had another before
    if not lowest:
        sock.setsockopt(*LOWEST_TTL[sock.family], 0)
    tcp.set_sending_ttl(sock, afi, peer, ttl)
    tcp.set_minimum_ttl(sock, afi, peer, lowest)


def set_key(sock: socket.socket, parameters: SessionParameters, password: str) -> None:
    """Set the peer's TCP MD5 key on this socket (RFC 2385); an empty one takes it away.

    Raises:
        NetworkError: the kernel refuses.
    """
    tcp.md5(sock, Endpoint.parse(parameters.address).address, 0, password, False)


def reprotect(
    sock: socket.socket,
    before: SessionParameters,
    parameters: SessionParameters,
    complain: Callable[[str], None],
) -> None:
    """Give a live connection its new TTLs and its new key; ``complain`` hears in words what the kernel refuses.

    What travels meanwhile under the other key is dropped and sent again by TCP, so a session lives if its peer gets
    the new key within the hold time.
    """
    try:
        set_ttl(sock, parameters)
        if parameters.password and parameters.password != before.password:
            set_key(sock, parameters, parameters.password)
    except (NetworkError, OSError) as error:
        complain(f"cannot protect the connection anew: {error}")
