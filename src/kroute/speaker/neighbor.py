"""From the daemon's parameters to ExaBGP's Neighbor and to sockets."""

from __future__ import annotations

import socket
from collections import defaultdict
from typing import Any, Final

from exabgp.bgp.message.open.asn import ASN
from exabgp.bgp.message.open.holdtime import HoldTime
from exabgp.bgp.message.open.routerid import RouterID
from exabgp.bgp.neighbor import Neighbor
from exabgp.protocol.family import AFI, SAFI
from exabgp.protocol.ip import IP

from kroute.codec.frames import ANY_ASN, SessionParameters
from kroute.speaker.device import bind_to
from kroute.speaker.endpoint import Endpoint
from kroute.speaker.hooks.peer import FlatRib
from kroute.speaker.protection import HIGHEST_TTL, TTL, set_key, set_ttl

_TCP_SYNCNT: Final = 7
_SYN_RETRIES: Final = 2
_IP_FREEBIND: Final = 15
_IPV6_FREEBIND: Final = 78
_BACKLOG: Final = 256
_RECEIVE, _SEND = 1, 2
"""Of the ADD-PATH capability: we are able to receive several paths, to send them (RFC 7911 §4)."""


def make_neighbor(parameters: SessionParameters) -> Any:
    """ExaBGP's description of the peer; no End-of-RIB of its own, no RIB, extended messages and AS4 offered."""
    neighbor = Neighbor()
    neighbor.parameters = parameters
    neighbor["peer-address"] = IP.create(Endpoint.parse(parameters.address).address)
    neighbor["local-address"] = IP.create(Endpoint.parse(parameters.local_address).address)
    neighbor["router-id"] = RouterID(parameters.router_id)
    neighbor["local-as"] = ASN(parameters.local_asn)
    neighbor["peer-as"] = ASN(parameters.asn) if parameters.asn != ANY_ASN else None
    neighbor["hold-time"] = HoldTime(parameters.hold_time)
    neighbor["adj-rib-in"] = neighbor["adj-rib-out"] = False
    neighbor["manual-eor"] = True
    neighbor["capability"]["graceful-restart"] = parameters.restart_time or False
    neighbor["capability"]["nexthop"] = parameters.extended_nexthop
    for afi in parameters.families:
        neighbor.add_family((AFI.create(afi), SAFI.unicast))
    if parameters.extended_nexthop:
        neighbor.add_nexthop(AFI.ipv4, SAFI.unicast, AFI.ipv6)
    ways = (_RECEIVE if parameters.add_path else 0) | (_SEND if parameters.add_path_send else 0)
    neighbor["capability"]["add-path"] = ways
    for afi in dict.fromkeys((*parameters.add_path, *parameters.add_path_send)):
        neighbor.add_addpath((AFI.create(afi), SAFI.unicast))
    neighbor.api = defaultdict(bool, {"neighbor-changes": True})
    neighbor.rib = FlatRib()
    return neighbor


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
        if parameters.local_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bind_to(sock, parameters.device)
        sock.bind(local.sockaddr(parameters.local_port))
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
    bind_to(sock, parameters.device)
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
        # The answer to a SYN is the listening socket's: a peer that guards itself (RFC 5082) takes no lower TTL.
        sock.setsockopt(*TTL[local.family], HIGHEST_TTL)
        sock.bind(local.sockaddr(port))
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
