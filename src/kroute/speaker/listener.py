"""Listening sockets, shared by all peers on one local address and port."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from exabgp.reactor.network.error import NetworkError

from kroute.codec.frames import SessionParameters
from kroute.speaker.device import arrival, note_arrivals
from kroute.speaker.endpoint import Endpoint
from kroute.speaker.hooks.wire import words
from kroute.speaker.loop import READ, Loop, Timer
from kroute.speaker.neighbor import listening_socket
from kroute.speaker.protection import LOWEST_TTL, lowest_ttl, set_key

_RETRY: Final = 2.0
_STRANGERS: Final = 256
_ACCEPTS: Final = 64

Accept = Callable[[socket.socket], None]
Complain = Callable[[str], None]


class _Port:
    """One listening socket and the peers behind it."""

    def __init__(self, local: Endpoint, port: int) -> None:
        self.local = local
        self.port = port
        self.sock: socket.socket | None = None
        self.peers: dict[tuple[bytes, str], tuple[SessionParameters, Accept, Complain]] = {}
        self.guards: dict[tuple[bytes, str], int] = {}
        """The lowest TTLs of those peers that have one (GTSM)."""
        self.lowest = 0
        """What the socket has."""
        self.notes_arrivals = False
        """Whether connections know by which interface they came."""
        self.retry: Timer | None = None

    def put(
        self, key: tuple[bytes, str], peer: tuple[SessionParameters, Accept, Complain] | None
    ) -> bool:
        """Take a peer in, or out (None); whether it was there before."""
        known = self.peers.pop(key, None) is not None
        self.guards.pop(key, None)
        if peer is not None:
            self.peers[key] = peer
            if lowest := lowest_ttl(peer[0]):
                self.guards[key] = lowest
        return known

    def lowest_ttl(self) -> int:
        """The lowest TTL that all peers agree on; each connection gets its own once it is accepted."""
        return min(self.guards.values()) if 0 < len(self.guards) == len(self.peers) else 0


class Listener:
    """Accepts connections and gives each to the peer whose address it comes from; others are closed."""

    def __init__(self, loop: Loop, log: Callable[[str], None]) -> None:
        self._loop = loop
        self._log = log
        self._strangers: set[Endpoint] = set()
        self._ports: dict[tuple[tuple[bytes, str], int], _Port] = {}

    def add(self, parameters: SessionParameters, accept: Accept, complain: Complain) -> None:
        """Listen for this peer; ``complain`` hears in words when that fails, and it is tried again.

        Once more for a known peer: takes its new parameters over.
        """
        local = Endpoint.parse(parameters.local_address)
        port = self._ports.setdefault(
            (local.key, parameters.listen_port), _Port(local, parameters.listen_port)
        )
        port.put(Endpoint.parse(parameters.address).key, (parameters, accept, complain))
        if port.sock is None:
            self._open(port)
        else:
            self._configure(port, parameters, parameters.password, complain)

    def remove(self, parameters: SessionParameters) -> None:
        """Listen no longer for this peer; the last one closes the socket."""
        local = Endpoint.parse(parameters.local_address)
        port = self._ports.get((local.key, parameters.listen_port))
        if port is None or not port.put(Endpoint.parse(parameters.address).key, None):
            return
        if port.peers:
            if port.sock is not None:
                self._configure(port, parameters, "", lambda text: None)
            return
        del self._ports[local.key, parameters.listen_port]
        self._close(port)

    def _open(self, port: _Port) -> None:
        port.retry = None
        try:
            port.sock, port.lowest = listening_socket(port.local, port.port), 0
            port.notes_arrivals = False
        except OSError as error:
            for _, _, complain in port.peers.values():
                complain(f"cannot listen on {port.local.address} port {port.port}: {words(error)}")
            port.retry = self._loop.later(_RETRY, lambda: self._open(port))
            return
        for parameters, _, complain in port.peers.values():
            self._configure(port, parameters, parameters.password, complain)
        self._loop.watch(port.sock.fileno(), READ, lambda events: self._accept(port))

    def _close(self, port: _Port) -> None:
        if port.retry is not None:
            port.retry.cancel()
        if port.sock is not None:
            self._loop.forget(port.sock.fileno())
            port.sock.close()

    def _configure(
        self, port: _Port, parameters: SessionParameters, password: str, complain: Complain
    ) -> None:
        """Keys are the kernel's per peer; the lowest TTL of the socket is what all its peers agree on."""
        assert port.sock is not None
        lowest = port.lowest_ttl()
        try:
            if password or parameters.password:
                set_key(port.sock, parameters, password)
            if lowest != port.lowest:
                port.sock.setsockopt(*LOWEST_TTL[port.local.family], lowest)
                port.lowest = lowest
            if parameters.device and not port.notes_arrivals:
                note_arrivals(port.sock)
                port.notes_arrivals = True
        except (NetworkError, OSError) as error:
            complain(f"cannot protect {port.local.address} port {port.port}: {error}")

    def _accept(self, port: _Port) -> None:
        for _ in range(_ACCEPTS):
            if port.sock is None:
                return
            try:
                sock, sockaddr = port.sock.accept()
                remote = Endpoint.of_sockaddr(sockaddr)
                came_by = arrival(sock) if port.notes_arrivals else ""
            except BlockingIOError:
                return
            except OSError:
                continue
            found = port.peers.get(remote.key)
            if found is None:
                sock.close()
                self._refused(remote, port, "no such peer")
            elif found[0].device not in ("", came_by):
                sock.close()
                self._refused(remote, port, f"it came by {came_by}, not by {found[0].device}")
            else:
                found[1](sock)

    def _refused(self, remote: Endpoint, port: _Port, why: str) -> None:
        """Log a stranger once, as long as there are not too many of them."""
        if remote not in self._strangers and len(self._strangers) < _STRANGERS:
            self._strangers.add(remote)
            self._log(f"refused a connection from {remote.address} to {port.local.address}: {why}")
