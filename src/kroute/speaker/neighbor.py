"""From the daemon's parameters to ExaBGP's Neighbor and to sockets."""

from __future__ import annotations

import socket
from collections import defaultdict
from typing import Any, Final, NamedTuple

from exabgp.bgp.message.open.asn import ASN
from exabgp.bgp.message.open.holdtime import HoldTime
from exabgp.bgp.message.open.routerid import RouterID
from exabgp.bgp.neighbor import Neighbor
from exabgp.protocol.family import AFI, SAFI
from exabgp.protocol.ip import IP
from exabgp.reactor.network import tcp

from kroute.codec.frames import SessionParameters
from kroute.speaker.hooks.peer import FlatRib

_TCP_SYNCNT: Final = 7
_SYN_RETRIES: Final = 2
_IP_FREEBIND: Final = 15
_IPV6_FREEBIND: Final = 78
_HIGHEST_TTL: Final = 255
_SOCKADDR_IN6: Final = 4
_BACKLOG: Final = 256


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


def make_neighbor(parameters: SessionParameters) -> Any:
    """ExaBGP's description of the peer; no End-of-RIB of its own, no RIB, extended messages and AS4 offered."""
    neighbor = Neighbor()
    neighbor.parameters = parameters
    neighbor["peer-address"] = IP.create(Endpoint.parse(parameters.address).address)
    neighbor["local-address"] = IP.create(Endpoint.parse(parameters.local_address).address)
    neighbor["router-id"] = RouterID(parameters.router_id)
    neighbor["local-as"] = ASN(parameters.local_asn)
    neighbor["peer-as"] = ASN(parameters.asn)
    neighbor["hold-time"] = HoldTime(parameters.hold_time)
    neighbor["adj-rib-in"] = neighbor["adj-rib-out"] = False
    neighbor["manual-eor"] = True
    neighbor["capability"]["graceful-restart"] = parameters.restart_time or False
    neighbor["capability"]["nexthop"] = parameters.extended_nexthop
    for afi in parameters.families:
        neighbor.add_family((AFI.create(afi), SAFI.unicast))
    if parameters.extended_nexthop:
        neighbor.add_nexthop(AFI.ipv4, SAFI.unicast, AFI.ipv6)
    neighbor.api = defaultdict(bool, {"neighbor-changes": True})
    neighbor.rib = FlatRib()
    return neighbor


def sending_ttl(parameters: SessionParameters) -> int | None:
    """TTL of what we send; None leaves the kernel's. An external peer is one hop away unless told otherwise."""
    if parameters.ttl_security is not None:
        return _HIGHEST_TTL
    if parameters.multihop is not None:
        return parameters.multihop
    return None if parameters.asn == parameters.local_asn else 1


def lowest_ttl(parameters: SessionParameters) -> int:
    """TTL below which a packet is dropped (GTSM, RFC 5082 §3); 0 for none."""
    if parameters.ttl_security is None:
        return 0
    return _HIGHEST_TTL + 1 - parameters.ttl_security


def set_ttl(sock: socket.socket, parameters: SessionParameters) -> None:
    """TTL and GTSM of one connection.

    Raises:
        NetworkError: the kernel refuses.
    """
    peer = Endpoint.parse(parameters.address).address
    afi = IP.toafi(peer)
    tcp.set_sending_ttl(sock, afi, peer, sending_ttl(parameters))
    tcp.set_minimum_ttl(sock, afi, peer, lowest_ttl(parameters))


def set_key(sock: socket.socket, parameters: SessionParameters, password: str) -> None:
    """Set the peer's TCP MD5 key on this socket (RFC 2385); an empty one takes it away.

    Raises:
        NetworkError: the kernel refuses.
    """
    tcp.md5(sock, Endpoint.parse(parameters.address).address, 0, password, False)


def outgoing_socket(parameters: SessionParameters) -> socket.socket:
    """A socket from our address, ready to connect to the peer; never blocks, gives a dead peer up in seconds.

    Raises:
        NetworkError, OSError: an option or the local address is refused.
    """
    local = Endpoint.parse(parameters.local_address)
    sock = socket.socket(
        local.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, socket.IPPROTO_TCP
    )
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_SYNCNT, _SYN_RETRIES)
        set_ttl(sock, parameters)
        if parameters.password:
            set_key(sock, parameters, parameters.password)
        sock.bind(local.sockaddr(0))
    except BaseException:
        sock.close()
        raise
    return sock


def accepted_socket(sock: socket.socket, parameters: SessionParameters) -> None:
    """Prepare a connection that the peer opened.

    Raises:
        NetworkError, OSError: an option is refused.
    """
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    set_ttl(sock, parameters)


def listening_socket(local: Endpoint, port: int) -> socket.socket:
    """A listening socket; the address may come to the node later.

    Raises:
        OSError: port in use or forbidden, or no such interface.
    """
    sock = socket.socket(
        local.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, socket.IPPROTO_TCP
    )
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if local.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        sock.bind(local.sockaddr(port))
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
