"""One node on a page: real objects, configuration and UPDATE messages in; what it wants and says out, as text.

All of the daemon that decides runs here as it is, from the observation to bytes for the speaker; only the drivers
are played. The node's kernel knows the networks of its own addresses (/24 and /64), on eth0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from kroute.codec.bgp import UpdateDecoder, encode_updates, end_of_rib
from kroute.codec.bgp.text import render
from kroute.codec.config import parse_config
from kroute.codec.frames import SessionParameters
from kroute.codec.kubernetes import read_objects
from kroute.daemon.control import Control
from kroute.daemon.road import Road
from kroute.drivers.speaker import Down, Up, Updates
from kroute.model.bgp import (
    Asn,
    AsSegment,
    Attributes,
    Negotiated,
    Peer,
    PeerName,
    PeerRestart,
    SegmentType,
    SessionDown,
)
from kroute.model.cni import Conflist
from kroute.model.communities import parse_community
from kroute.model.config import Cni, Config
from kroute.model.fib import Nexthops, place_of, place_words
from kroute.model.inventory import Listed, Problems, ServicesListed, SlicesListed
from kroute.model.kernel import KernelRoute, KernelState, Link
from kroute.model.net import Address, Family, Nlri, address_of, family_of, nlri_of, prefix_of
from kroute.model.node import Node
from kroute.model.service import CheckState
from kroute.model.state import Observed
from kroute.plan import queries, service_queries
from kroute.plan.observe import Checked, ConfigChanged, KernelChanged
from kroute.plan.routing import Routing

HEADER = 19
"""Octets of a BGP message's header."""


class Scenario:
    """A node that is told sections of a page one after the other. It plays speaker, FIB and CNI driver itself."""

    def __init__(self) -> None:
        self.now = 0.0
        self.held: dict[int, SessionParameters] = {}
        self.told: dict[int, dict[Family, dict[Nlri, Attributes]]] = {}
        self.ended: dict[int, list[Family]] = {}
        self.agreed: dict[int, Negotiated] = {}
        self.kernel: dict[Family, dict[Nlri, Nexthops]] = {f: {} for f in Family}
        self.wanted: Conflist | None = None
        self.config = Config()
        self.nodes: tuple[Node, ...] = ()
        self._control: Control | None = None

    # --- what goes in --------------------------------------------------------------------------------

    def given_config(self, text: str) -> None:
        """``config.yaml``: the whole configuration; nodeName says who we are."""
        self.config = parse_config(text, "config.yaml")
        if self._control is not None:
            self._control.post(ConfigChanged(self.config))
            self._control.replan()

    def given_nodes(self, text: str) -> None:
        """``nodes.yaml``: the whole inventory, as `kubectl get nodes -o yaml` prints it."""
        found = read_objects(text, "nodes.yaml", services=self.config.services.enabled)
        self.nodes, problems = found.nodes, found.problems
        if self.config.services.enabled:
            self.control.post(ServicesListed(found.services))
            self.control.post(SlicesListed(found.slices))
        self.control.post(Listed(self.nodes))
        self.control.post(Problems(problems))
        own = next((n.addresses for n in self.nodes if n.name == self.config.node_name), None)
        if own is not None:
            self.control.post(KernelChanged(_kernel(own)))
        self.control.replan()

    def given_checks(self, text: str) -> None:
        """``checks``: one health check a line, ``<static service> good|bad <words>``."""
        for line in text.splitlines():
            name, result, words = line.split(maxsplit=2)
            self.control.post(Checked(name, CheckState(result == "good", words)))
        self.control.replan()

    def given_updates(self, text: str) -> None:
        """``updates``: one event a line, ``<peer> up|announces|withdraws|ends|down …`` or ``time <seconds>``."""
        for line in text.splitlines():
            subject, *words = line.split()
            if subject == "time":
                self.now += float(words[0])
                self.road.routing.tick(self.now)
                self.control.proceed()
                self.road.flush()
                continue
            index = self._index(subject)
            happen: dict[str, Callable[[int, list[str]], Any]] = {
                "up": self._up,
                "down": lambda i, _: Down(i, SessionDown(reason="connection lost")),
                "announces": self._announce,
                "withdraws": self._withdraw,
                "ends": lambda i, _: Updates(
                    i, [end_of_rib(f)[HEADER:] for f in self.agreed[i].families]
                ),
            }
            self.road.on_events([happen[words[0]](index, words[1:])])

    @property
    def control(self) -> Control:
        """The daemon's control half, born with the first inventory, once the configuration is known."""
        if self._control is None:
            routing = Routing(now=0.0, legs=8, deferral=60.0)
            self.road = Road(routing, self, self, lambda: self.now)
            observed = Observed(me=self.config.node_name, config=self.config)
            self._control = Control(observed, self.road, self._want, lambda: self.now)
        return self._control

    def _want(self, wanted: tuple[Cni, Conflist]) -> None:
        self.wanted = wanted[1]

    # --- what peers say ------------------------------------------------------------------------------

    def _index(self, name: str) -> int:
        peer = self.road.routing.peers[PeerName(name)].peer
        return max(i for i, p in self.held.items() if _same(p, peer))

    def _up(self, index: int, words: list[str]) -> Up:
        """``up [<router id>] [plain] [restarting]``: plain is without graceful restart and RFC 8950."""
        offered = self.held[index]
        families = tuple(Family(f) for f in offered.families)
        given = [w for w in words if w[0].isdecimal()]
        restart = PeerRestart(
            restarting="restarting" in words,
            notification=True,
            restart_time=120,
            forwarding=families,
            families=families,
        )
        self.agreed[index] = Negotiated(
            asn=Asn(offered.asn),
            router_id=given[0] if given else str(ip_address(f"192.0.2.{_last(offered.address)}")),
            asn4=True,
            message_size=4096,
            hold_time=90,
            families=families,
            extended_nexthop=offered.extended_nexthop and "plain" not in words,
            restart=None if "plain" in words else restart,
        )
        self.told[index] = {f: {} for f in Family}
        self.ended[index] = []
        return Up(index, self.agreed[index])

    def _announce(self, index: int, words: list[str]) -> Updates:
        """``announces <prefix>… via <next hop> [as <number>…] [<other attribute> <value>…]``."""
        said: dict[str, list[str]] = {"": []}
        key = ""
        for word in words:
            if word in ("via", "as", "med", "local-pref", "originator", "cluster", "community"):
                key = word
                said[key] = []
            else:
                said[key].append(word)
        path = tuple(map(int, said.get("as", ())))
        internal = self.held[index].asn == self.held[index].local_asn
        pref = int(said.get("local-pref", ["100"])[0]) if internal else None
        found = Attributes(
            nexthop=ip_address(said["via"][0]).packed,
            as_path=(AsSegment(SegmentType.AS_SEQUENCE, path),) if path else (),
            local_pref=pref,
            med=int(said["med"][0]) if "med" in said else None,
            originator_id=_quad(said["originator"][0]) if "originator" in said else None,
            cluster_list=tuple(map(_quad, said.get("cluster", ()))),
            communities=tuple(sorted(map(_community, said.get("community", ())))),
        )
        return Updates(index, list(_bodies(said[""], found)))

    def _withdraw(self, index: int, words: list[str]) -> Updates:
        return Updates(index, list(_bodies(words, None)))

    # --- what goes out: the speaker's and the FIB's part ---------------------------------------------

    def add(self, index: int, parameters: SessionParameters) -> None:
        self.held[index] = parameters

    def remove(self, index: int, **_notice: Any) -> None:
        for table in (self.held, self.told, self.ended, self.agreed):
            table.pop(index, None)  # type: ignore[attr-defined]

    def reset(self, index: int, **_notice: Any) -> None:
        raise AssertionError(f"the session of {self.held[index]} is reset")

    def send(self, indexes: Iterable[int], messages: bytes) -> None:
        for index in indexes:
            agreed = self.agreed[index]
            decoder: UpdateDecoder[Attributes] = UpdateDecoder(
                agreed,
                internal=self.held[index].asn == self.held[index].local_asn,
                make=lambda _family, attributes: attributes,
            )
            decoded = decoder.decode_run(_cut(messages))
            assert not decoded.problems, decoded.problems
            for family, attributes, nlris in decoded.steps:
                for nlri in nlris:
                    if attributes is None:
                        self.told[index][family].pop(nlri, None)
                    else:
                        self.told[index][family][nlri] = attributes
            self.ended[index] += decoded.end_of_rib

    def update(self, family: Family, changes: Mapping[Nlri, Nexthops | None]) -> None:
        for nlri, legs in changes.items():
            if legs is None:
                self.kernel[family].pop(nlri, None)
            else:
                self.kernel[family][nlri] = legs

    # --- what goes out, as text ----------------------------------------------------------------------

    def sessions(self) -> Iterator[str]:
        """``sessions``: those that the speaker holds."""
        for name, state in sorted(self.road.routing.peers.items()):
            peer = state.peer
            extras = [
                peer.initiate.value,
                *(["rfc8950"] if peer.extended_nexthop else []),
                *([f"cluster {peer.cluster_id}"] if peer.cluster_id else []),
                *([state.hold.words(self.now)] if state.hold else []),
            ]
            families = "+".join(f.label for f in peer.families)
            assert any(_same(p, peer) for p in self.held.values()), f"{name} is not held"
            yield (
                f"{name}  {peer.kind.value}  {peer.local_address} -> {peer.address}  "
                f"AS {peer.asn}  {families}  {', '.join(extras)}"
            )

    def announced(self) -> Iterator[str]:
        """``announced``: what each peer with an established session has been told."""
        for name in sorted(self.road.routing.peers):
            told = self.told.get(self._index(name))
            if told is None:
                continue
            for family, table in told.items():
                for prefix in _sorted(family, table):
                    words = render(table[nlri_of(prefix)])
                    via = words.pop("next_hop")
                    rest = [
                        f"{k} {v}" for k, v in words.items() if v and (k, v) != ("origin", "igp")
                    ]
                    yield "  ".join((name, str(prefix), f"via {via}", *rest))
            ended = " ".join(f.label for f in self.ended[self._index(name)])
            if ended:
                yield f"{name}  End-of-RIB {ended}"

    def routes(self) -> Iterator[str]:
        """``routes``: what the kernel holds, and after it what is known but not used, and why."""
        routing = self.road.routing
        sources = {r["prefix"]: r["from"] for r in queries.routes(routing)}
        for family, table in self.kernel.items():
            for prefix in _sorted(family, table):
                legs = ", ".join(
                    f"via {address_of(leg.gateway)} dev eth0"
                    + (f" weight {leg.weight}" if leg.weight > 1 else "")
                    for leg in table[nlri_of(prefix)]
                    if leg.gateway
                )
                legs = " ".join(
                    (legs or "blackhole", place_words(place_of(table[nlri_of(prefix)])))
                )
                legs = legs.rstrip()
                yield f"{prefix}  {legs}  from {', '.join(sorted(sources[str(prefix)]))}"
        for unused in queries.routes(routing, rejected=True):
            why = " ".join((unused["why"], unused["rule"])).rstrip()
            yield f"{unused['prefix']}  not used from {unused['from']}: {why}"

    def services(self) -> Iterator[str]:
        """``services``: as `kroute show services --all` has them."""
        observed, desired = self.control.observed, self.control.desired
        rows = service_queries.services(observed, desired, self.road.routing, everything=True)
        for row in rows:
            became = f"as {row['as']} to {', '.join(row['to']) or 'nobody'}" if row["as"] else "no"
            yield (
                f"{row['address']}  {row['class']} of {row['service']}  "
                f"{row['local']}/{row['total']}  {became}: {row['verdict']}, {row['reason']}"
            )

    def conflist(self) -> Iterator[str]:
        """``conflist``: the essence of what the CNI driver is asked to write."""
        if self.wanted is not None:
            yield f"{self.wanted.name}  bridge {self.wanted.bridge}  mtu {self.wanted.mtu}"
            yield from (f"range {r}" for r in self.wanted.ranges)

    def problems(self) -> Iterator[str]:
        """``problems``: as `kroute show problems` has them."""
        found = queries.problems(self.control.desired, self.road.routing, self.now)
        for p in found:
            yield f"{p.severity.value}  {p.object}  {p.field or '-'}  {p.reason}"


def _kernel(own: Iterable[Address]) -> KernelState:
    held = [ip_interface(f"{a}/{24 if a.version == 4 else 64}") for a in own]
    routes = tuple(
        KernelRoute(
            family=family_of(i.ip),
            prefix=nlri_of(i.network),
            metric=0,
            oif=1,
            gateway=None,
            protocol=2,
            scope=253,
            kind=1,
        )
        for i in held
    )
    eth0 = Link(index=1, name="eth0", up=True, carrier=True, mtu=1500)
    return KernelState(links=(eth0,), addresses=tuple((1, i) for i in held), routes=routes)


def _same(held: SessionParameters, peer: Peer) -> bool:
    return (held.address, held.port) == (str(peer.address), peer.port)


def _last(address: str) -> int:
    return ip_address(address).packed[-1]


def _quad(text: str) -> bytes:
    return ip_address(text).packed


def _community(text: str) -> int:
    found = parse_community(text, {}).exact
    assert isinstance(found, int), f"{text} is no standard community"
    return found


def _sorted(family: Family, table: Mapping[Nlri, Any]) -> list[Any]:
    return sorted(prefix_of(family, nlri) for nlri in table)


def _cut(messages: bytes) -> Iterator[bytes]:
    """The bodies of a run of messages (RFC 4271 §4.1)."""
    while messages:
        size = int.from_bytes(messages[16:18], "big")
        yield messages[HEADER:size]
        messages = messages[size:]


def _bodies(prefixes: list[str], found: Attributes | None) -> Iterator[bytes]:
    """UPDATE bodies that announce prefixes of any family, or withdraw them (None)."""
    for family in Family:
        nlris = [nlri_of(p) for p in map(ip_network, prefixes) if family_of(p) is family]
        news, gone = ([], nlris) if found is None else (nlris, [])
        for message in encode_updates(family, found, news, gone, asn4=True, message_size=4096):
            yield message[HEADER:]
