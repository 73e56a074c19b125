"""A road with stand-ins for the speaker and the kernel, for tests of the daemon without either."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kroute.codec.bgp import announce, attribute_block
from kroute.codec.frames import SessionParameters
from kroute.daemon.road import Road
from kroute.drivers.speaker import SpeakerEvent, Up, Updates
from kroute.model.bgp import Attributes, Peer, PeerName
from kroute.model.fib import Nexthops
from kroute.model.net import Family, Nlri
from kroute.plan.routing import Routing
from support.routing import V4, Listener, listener, n, negotiated


class FakeSpeaker:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.sessions: dict[int, SessionParameters] = {}
        self.removed: list[tuple[int, int]] = []
        """Index and subcode."""
        self.data: dict[int, bytes] = {}
        """Data of the NOTIFICATION that a removed peer got."""
        self.resets: list[tuple[int, int, int]] = []
        """Index, code, subcode."""
        self.sent: list[tuple[tuple[int, ...], bytes]] = []

    def add(self, index: int, parameters: SessionParameters) -> None:
        self.sessions[index] = parameters

    def remove(self, index: int, *, subcode: int = 3, data: bytes = b"", **_more: Any) -> None:
        del self.sessions[index]
        self.data[index] = data
        self.removed.append((index, subcode))

    def reset(self, index: int, *, code: int, subcode: int, **_more: Any) -> None:
        self.resets.append((index, code, subcode))

    def send(self, indexes: Iterable[int], messages: bytes) -> None:
        self.sent.append((tuple(indexes), messages))


class FakeFib:
    """Holds routes as the kernel would."""

    def __init__(self) -> None:
        self.routes: dict[Family, dict[Nlri, Nexthops]] = {f: {} for f in Family}

    def update(self, family: Family, changes: Mapping[Nlri, Nexthops | None]) -> None:
        for nlri, legs in changes.items():
            if legs is None:
                self.routes[family].pop(nlri, None)
            else:
                self.routes[family][nlri] = legs


class Street:
    """A road, its stand-ins, a clock that stands still until moved, and peers with sessions."""

    def __init__(self, *peers: Peer) -> None:
        self.listener: Listener = listener(*peers)
        self.routing: Routing = self.listener.routing
        self.speaker, self.fib = FakeSpeaker(), FakeFib()
        self.now = 0.0
        self.road = Road(self.routing, self.speaker, self.fib, lambda: self.now)
        self.peers = {peer.name: peer for peer in peers}
        self.wanted = {peer.name: parameters(peer) for peer in peers}
        self.road.set_sessions(self.wanted)

    def index(self, peer: Peer) -> int:
        """The present index of a peer's session at the speaker."""
        found = [i for i, p in self.speaker.sessions.items() if p.address == str(peer.address)]
        assert len(found) == 1, found
        return found[0]

    def happens(self, *events: SpeakerEvent) -> None:
        """The speaker says this in one batch."""
        self.road.on_events(list(events))

    def up(self, peer: Peer, **changes: Any) -> None:
        """A session comes up."""
        self.happens(Up(self.index(peer), negotiated(peer, **changes)))

    def announces(self, peer: Peer, attributes: Attributes, *prefixes: str) -> Updates:
        """The UPDATEs with which a peer announces IPv4 prefixes."""
        block = attribute_block(V4, attributes, asn4=True)
        messages = announce(block, [n(p) for p in prefixes], message_size=4096)
        return Updates(self.index(peer), [m[19:] for m in messages])

    def kernel(self) -> set[Nlri]:
        """IPv4 prefixes in the stand-in of the kernel."""
        return set(self.fib.routes[V4])


def parameters(peer: Peer, **changes: Any) -> SessionParameters:
    """What the speaker is told of a peer of the tests."""
    values: dict[str, Any] = {
        "address": str(peer.address),
        "local_address": str(peer.local_address),
        "asn": peer.asn,
        "local_asn": peer.local_asn,
        "router_id": peer.router_id,
    }
    return SessionParameters(**(values | changes))


def state(street: Street, peer: Peer) -> Any:
    """What the routing knows of a peer."""
    return street.routing.peers[PeerName(peer.name)]
