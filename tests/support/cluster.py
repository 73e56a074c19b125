"""A whole cluster in memory: the deciding half of several daemons, and a network that carries what they say.

Nothing happens by itself. A test says which sessions come up, which message arrives next and how time passes, so that
every order of events between nodes can be played.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kroute.codec.frames import SessionParameters
from kroute.daemon.control import Control
from kroute.daemon.road import Road
from kroute.drivers.speaker import Down, SpeakerEvent, Up, Updates
from kroute.model.bgp import CeaseSubcode, NoticeCode, SessionDown
from kroute.model.config import Config
from kroute.model.fib import Nexthops
from kroute.model.inventory import Listed
from kroute.model.net import Family, Nlri, nlri_of
from kroute.model.node import Node
from kroute.model.state import Observed
from kroute.plan.observe import ConfigChanged, KernelChanged
from kroute.plan.routing import Routing
from support.routing import kernel, negotiated

HEADER = 19
Link = tuple[str, str]


class Machine:
    """One node. It plays speaker and kernel for its daemon."""

    def __init__(self, cluster: Cluster, name: str, config: Config) -> None:
        self.cluster, self.name = cluster, name
        self.sessions: dict[int, SessionParameters] = {}
        self.routes: dict[Family, dict[Nlri, Nexthops]] = {f: {} for f in Family}
        self.routing = Routing(now=0.0, legs=8, deferral=60.0)
        self.road = Road(self.routing, self, self, lambda: cluster.now)
        self.control = Control(
            Observed(me=name, config=config), self.road, lambda _: None, lambda: cluster.now
        )

    def index(self, other: str) -> int | None:
        """The index of the session with another node, if it is held."""
        address = str(self.cluster.nodes[other].primary)
        return next((i for i, p in self.sessions.items() if p.address == address), None)

    def other(self, index: int) -> str:
        return self.cluster.at[self.sessions[index].address]

    def tick(self) -> None:
        """What the daemon does as time passes."""
        self.routing.tick(self.cluster.now)
        self.control.proceed()
        self.road.flush()

    # --- the speaker's part ---------------------------------------------------------------------------

    def add(self, index: int, parameters: SessionParameters) -> None:
        self.sessions[index] = parameters

    def remove(self, index: int, *, subcode: int = 3, **_more: Any) -> None:
        other = self.other(index)
        del self.sessions[index]
        if (self.name, other) in self.cluster.up:
            # As the speaker does with a peer that keeps routes over an ordinary NOTIFICATION (RFC 8538 §3.1).
            hard = subcode == CeaseSubcode.PEER_DECONFIGURED
            sent = CeaseSubcode.HARD_RESET if hard else subcode
            self.cluster.close(self.name, other, (NoticeCode.CEASE, sent))

    def reset(self, index: int, *, code: int, subcode: int, **_more: Any) -> None:
        raise AssertionError(f"{self.name} resets {self.other(index)}: {code}/{subcode}")

    def send(self, indexes: Iterable[int], messages: bytes) -> None:
        for index in indexes:
            link = self.name, self.other(index)
            if link in self.cluster.up:
                self.cluster.wires[link].append(list(_bodies(messages)))

    # --- the kernel's part ----------------------------------------------------------------------------

    def update(self, family: Family, changes: Mapping[Nlri, Nexthops | None]) -> None:
        for nlri, legs in changes.items():
            if legs is None:
                self.routes[family].pop(nlri, None)
            else:
                self.routes[family][nlri] = legs


class Cluster:
    """Nodes on one link. ``up`` has both directions of each session that is up."""

    def __init__(self, nodes: Iterable[Node], config: Config) -> None:
        self.now = 0.0
        self.nodes = {node.name: node for node in nodes}
        self.at = {str(node.primary): node.name for node in self.nodes.values()}
        self.up: set[Link] = set()
        self.wires: dict[Link, deque[list[bytes] | SessionDown]] = {
            (a, b): deque() for a in self.nodes for b in self.nodes if a != b
        }
        self.machines = {name: Machine(self, name, config) for name in self.nodes}
        for machine in self.machines.values():
            machine.control.post(KernelChanged(kernel()))
            machine.control.post(Listed(tuple(self.nodes.values())))
            machine.control.replan()

    def configure(self, name: str, config: Config) -> None:
        """A node hears of a new configuration."""
        self.machines[name].control.post(ConfigChanged(config))
        self.machines[name].control.replan()

    # --- sessions -------------------------------------------------------------------------------------

    def connectable(self) -> list[Link]:
        """Pairs that both want a session and have none, with nothing on the wire from the one before."""
        return [
            (a, b)
            for a, b in self.wires
            if a < b
            and (a, b) not in self.up
            and not self.wires[a, b]
            and not self.wires[b, a]
            and self.machines[a].index(b) is not None
            and self.machines[b].index(a) is not None
        ]

    def connect(self, a: str, b: str) -> None:
        """Their session comes up."""
        self.up |= {(a, b), (b, a)}
        for here, there in ((a, b), (b, a)):
            machine, index = self.machines[here], self.machines[here].index(there)
            assert index is not None
            known = machine.routing.peers.values()
            peer = next(s.peer for s in known if s.peer.node == there)
            router = str(self.nodes[there].primary)
            self._tell(here, Up(index, negotiated(peer, router_id=router)))

    def close(self, here: str, there: str, notice: tuple[int, int]) -> None:
        """One end closes; what it has sent before arrives first, what the other has sent does not."""
        self.up -= {(here, there), (there, here)}
        self.wires[there, here].clear()
        self.wires[here, there].append(SessionDown(reason="closed", received=notice))

    def deliver(self, a: str, b: str) -> None:
        """The next thing on the wire from a to b arrives."""
        found, index = self.wires[a, b].popleft(), self.machines[b].index(a)
        if index is None:
            return
        if isinstance(found, SessionDown):
            self._tell(b, Down(index, found))
        else:
            self._tell(b, Updates(index, found))

    def _tell(self, name: str, event: SpeakerEvent) -> None:
        self.machines[name].road.on_events([event])

    # --- everything -----------------------------------------------------------------------------------

    def settle(self) -> Iterator[None]:
        """Whatever can happen does, until nothing can any more; stops after each event."""
        idle = 0
        while idle < 4:
            busy = [link for link, wire in self.wires.items() if wire]
            for link in busy:
                self.deliver(*link)
                yield
            ready = self.connectable()
            for link in ready:
                if link in self.connectable():
                    self.connect(*link)
                    yield
            before = self._shape()
            self.wait()
            for machine in self.machines.values():
                machine.tick()
                yield
            idle = idle + 1 if not busy and not ready and before == self._shape() else 0

    def wait(self) -> None:
        """Half a second passes, in which whatever is on a wire arrives: so it passes only once it has."""
        if not any(self.wires.values()):
            self.now += 0.5

    def _shape(self) -> object:
        sessions = {(m.name, i) for m in self.machines.values() for i in m.sessions}
        return sessions, set(self.up), sum(map(len, self.wires.values()))

    def lacking(self) -> list[str]:
        """Which node has no route, or a wrong one, to whose pods."""
        return [
            f"{machine.name} to {node.name}"
            for machine in self.machines.values()
            for node in self.nodes.values()
            if node.name != machine.name and not _leads_to(machine, node)
        ]

    def sessions(self) -> dict[str, set[str]]:
        """With whom each node has a session that is up."""
        return {name: {b for a, b in self.up if a == name} for name in self.nodes}


def _leads_to(machine: Machine, node: Node) -> bool:
    assert node.primary is not None
    (prefix,) = node.pod_cidrs
    legs = machine.routes[Family.IPV4].get(nlri_of(prefix)) or ()
    return [leg.gateway for leg in legs] == [node.primary.packed]


def _bodies(messages: bytes) -> Iterator[bytes]:
    """The bodies of a run of messages (RFC 4271 §4.1)."""
    while messages:
        size = int.from_bytes(messages[16:18], "big")
        yield messages[HEADER:size]
        messages = messages[size:]
