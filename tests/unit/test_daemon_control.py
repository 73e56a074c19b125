"""Control: events become a plan, and only what has changed reaches the sessions; keys; what needs a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from kroute.daemon.control import Control
from kroute.drivers.speaker import Up, Updates
from kroute.model.bgp import CeaseSubcode, PeerKind, PeerName
from kroute.model.cni import Conflist
from kroute.model.config import Bgp, Cni, Config, Fib, Http, Seeding
from kroute.model.config_peering import Accept, PeerConfig, Peering, Topology
from kroute.model.inventory import Listed, NodeChanged, NodeGone
from kroute.model.net import Family
from kroute.model.problem import Problem
from kroute.model.selection import AddressFrom, Gateways, Unnumbered
from kroute.model.session_keys import AnnotatedKey, Sealed
from kroute.model.state import Observed
from kroute.plan.observe import ConfigChanged, KernelChanged
from support.daemon_road import Street
from support.netns import until
from support.routing import (
    attributes,
    connected,
    dual,
    kernel,
    kernel_route,
    n,
    negotiated,
    node,
    packed,
)

N1 = node(1, "10.244.1.0/24", addresses=dual(1))
N2 = node(2, "10.244.2.0/24", addresses=dual(2))
N3 = node(3, "10.244.3.0/24", addresses=dual(3))
TOR = "peer/tor"


def external(**changes: Any) -> PeerConfig:
    values: dict[str, Any] = {"name": "tor", "address": ip_address("192.0.2.9"), "asn": 65009}
    return PeerConfig(**(values | changes))


def with_peer(**changes: Any) -> Config:
    seeding = Seeding(enabled=False)  # what the peer says is all there is
    return Config(bgp=Bgp(seeding=seeding), peering=Peering(peers=(external(**changes),)))


class Desk:
    """A control with a road of stand-ins."""

    def __init__(self, config: Config | None = None) -> None:
        self.street = Street()
        self.conflists: list[tuple[Cni, Conflist]] = []
        observed = Observed(me="n1", config=config or Config())
        self.control = Control(
            observed, self.street.road, self.conflists.append, lambda: self.street.now
        )

    def happens(self, *events: Any) -> None:
        """Observe, and plan at once."""
        for event in events:
            self.control.post(event)
        self.control.replan()

    def begins(self, *nodes: Any) -> None:
        """The kernel is known and the inventory listed."""
        self.happens(KernelChanged(kernel()), Listed(nodes or (N1, N2)))

    @property
    def sessions(self) -> dict[str, Any]:
        """Peer name to the parameters its session has now."""
        names = self.street.road._names
        return {names[i]: p for i, p in self.street.speaker.sessions.items()}

    def index(self, name: str) -> int:
        return next(i for i, known in self.street.road._names.items() if known == name)

    def up(self, name: str) -> None:
        peer = self.street.routing.peers[PeerName(name)].peer
        self.street.happens(Up(self.index(name), negotiated(peer, router_id=str(peer.address))))

    def announces(self, name: str, prefix: str, nexthop: str, *path: int) -> None:
        peer = self.street.routing.peers[PeerName(name)].peer
        made = Street.announces
        self.street.peers[peer.name] = peer
        event: Updates = made(self.street, peer, attributes(nexthop, *path), prefix)
        self.street.happens(event)

    def problems(self) -> dict[str, str]:
        found = (*self.control.desired.problems, *self.control.secret_problems)
        return {f"{p.object} {p.field}".strip(): p.reason for p in found}


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def key(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "key"
    yield path
    with suppress(FileNotFoundError):
        path.unlink()


# --- sessions follow the plan


def test_nodes_become_sessions_and_a_conflist(desk: Desk) -> None:
    desk.begins(N1, N2, N3)
    assert set(desk.sessions) == {"node/n2", "node/n3"}
    assert len(desk.conflists) == 1


def test_a_session_is_replaced_only_where_its_own_parameters_differ(desk: Desk) -> None:
    desk.begins(N1, N2, N3)
    before = {name: desk.index(name) for name in desk.sessions}
    desk.happens(NodeChanged(replace(N2, pod_cidrs=(ip_network("10.244.22.0/24"),))))
    desk.happens(NodeChanged(replace(N2, labels={"a": "b"})))
    desk.happens(ConfigChanged(Config(cni=Cni(mtu=1400), bgp=Bgp(multipath=2, max_prefixes=5))))
    assert {name: desk.index(name) for name in desk.sessions} == before
    desk.happens(NodeChanged(replace(N2, addresses=dual(22))))
    assert desk.index("node/n2") != before["node/n2"]
    assert desk.index("node/n3") == before["node/n3"]
    desk.happens(ConfigChanged(Config(bgp=Bgp(hold_time=30))))
    assert desk.index("node/n3") != before["node/n3"]


def test_the_end_of_our_restart_is_no_reason_for_a_new_session(desk: Desk) -> None:
    desk.begins()
    assert desk.sessions["node/n2"].restarting
    index = desk.index("node/n2")
    desk.control.restarting = False
    desk.control.replan()
    assert not desk.sessions["node/n2"].restarting
    assert desk.index("node/n2") == index


def test_every_open_says_that_forwarding_goes_on_for_both_families(desk: Desk) -> None:
    desk.begins()
    assert desk.sessions["node/n2"].forwarding == tuple(int(f) for f in Family)


def test_a_node_that_goes_takes_its_session_and_routes_along(desk: Desk) -> None:
    desk.begins(N1, N2, N3)
    desk.up("node/n2")
    desk.announces("node/n2", "10.244.2.0/24", "192.0.2.2")
    assert desk.street.kernel() == {n("10.244.2.0/24"), n("10.244.3.0/24")}
    desk.happens(NodeGone("n2"))
    assert set(desk.sessions) == {"node/n3"}
    assert desk.street.kernel() == {n("10.244.3.0/24")}, "seeded"


def test_nothing_goes_while_the_plan_is_incomplete(desk: Desk) -> None:
    desk.happens(KernelChanged(kernel()), NodeChanged(N1), NodeChanged(N2))
    desk.up("node/n2")
    desk.announces("node/n2", "10.244.2.0/24", "192.0.2.2")
    desk.happens(NodeGone("n2"))
    assert set(desk.sessions) == {"node/n2"}
    assert desk.street.kernel() == {n("10.244.2.0/24")}
    desk.happens(Listed((N1,)))
    assert desk.sessions == {}


def test_our_own_node_may_vanish_for_a_while(desk: Desk) -> None:
    desk.begins()
    desk.up("node/n2")
    desk.announces("node/n2", "10.244.2.0/24", "192.0.2.2")
    index = desk.index("node/n2")
    desk.happens(NodeGone("n1"))
    assert desk.index("node/n2") == index
    assert desk.street.kernel() == {n("10.244.2.0/24")}
    assert "no node of this name" in desk.problems()["node/n1"]
    desk.happens(NodeChanged(N1))
    assert desk.index("node/n2") == index
    assert desk.problems() == {}


def test_an_external_peer_may_leave_the_configuration_while_the_plan_is_incomplete() -> None:
    desk = Desk(with_peer(accept=Accept.ALL))
    desk.begins()
    desk.up(TOR)
    desk.announces(TOR, "198.51.100.0/24", "192.0.2.9", 65009)
    desk.happens(NodeGone("n1"), ConfigChanged(replace(with_peer(), peering=Peering())))
    assert TOR in desk.sessions
    assert desk.street.kernel() == {n("198.51.100.0/24")}
    desk.happens(NodeChanged(N1))
    assert TOR not in desk.sessions
    assert desk.street.kernel() == set()


def test_what_an_external_peer_may_say_changes_without_a_new_session() -> None:
    desk = Desk(with_peer())
    desk.begins()
    desk.up(TOR)
    index = desk.index(TOR)
    desk.announces(TOR, "10.244.2.0/24", "192.0.2.9", 65009)
    for accept, expected in (
        (Accept.NONE, set()),
        (Accept.POD_CIDRS, {n("10.244.2.0/24")}),
        (Accept.DEFAULT_ROUTE, set()),
        (Accept.ALL, set()),
    ):
        desk.happens(ConfigChanged(with_peer(accept=accept)))
        assert desk.street.kernel() == expected, accept
    assert desk.index(TOR) == index


# --- configuration that needs a restart


def test_what_is_read_at_start_only_is_called_so_until_it_is_changed_back(desk: Desk) -> None:
    desk.begins()
    desk.happens(ConfigChanged(Config(fib=Fib(metric=600), http=Http(port=9))))
    assert {k for k in desk.problems() if k.startswith("config")} == {"config fib", "config http"}
    assert "restart the daemon" in desk.problems()["config fib"]
    desk.happens(ConfigChanged(Config(fib=Fib(metric=600))))
    assert "config fib" in desk.problems(), "still not in force"
    desk.happens(ConfigChanged(Config(node_name="n9")))
    assert desk.problems().keys() == {"config nodeName"}, "as the file writes it"
    desk.happens(ConfigChanged(Config()))
    assert desk.problems() == {}


# --- keys


def test_a_missing_key_keeps_the_session_down_until_its_file_is_there(key: Path) -> None:
    desk = Desk(with_peer(password_file=str(key)))
    desk.begins()
    assert TOR not in desk.sessions
    assert "node/n2" in desk.sessions, "one without a key is not held up"
    assert "never opened without" in desk.problems()[f"{TOR} passwordFile"]
    assert "never opened without" in desk.street.routing.peers[PeerName(TOR)].attempt
    plans = desk.control.plans
    desk.control.look_at_keys()
    assert desk.control.plans == plans, "nothing new, nothing done"
    key.write_text("s3cret\n")
    desk.control.look_at_keys()
    assert desk.sessions[TOR].password == "s3cret"
    assert desk.problems() == {}


def test_a_rotated_key_is_set_on_the_running_session(key: Path) -> None:
    key.write_text("old")
    desk = Desk(with_peer(password_file=str(key)))
    desk.begins()
    index, other = desk.index(TOR), desk.index("node/n2")
    key.write_text("new")
    desk.control.look_at_keys()
    assert desk.sessions[TOR].password == "new"
    assert desk.index(TOR) == index
    assert desk.index("node/n2") == other


def test_a_key_that_vanishes_leaves_the_session_alone_and_is_a_problem(key: Path) -> None:
    key.write_text("s3cret")
    desk = Desk(with_peer(password_file=str(key)))
    desk.begins()
    desk.up(TOR)
    index = desk.index(TOR)
    key.unlink()
    desk.control.look_at_keys()
    assert desk.index(TOR) == index
    assert "stays in force" in desk.problems()[f"{TOR} passwordFile"]
    key.write_text("s3cret")
    desk.control.look_at_keys()
    assert desk.index(TOR) == index
    assert desk.problems() == {}


def test_another_file_without_a_key_ends_the_session_and_keeps_its_paths(key: Path) -> None:
    key.write_text("s3cret")
    desk = Desk(with_peer(password_file=str(key), accept=Accept.ALL))
    desk.begins()
    desk.up(TOR)
    desk.announces(TOR, "198.51.100.0/24", "192.0.2.9", 65009)
    missing = with_peer(password_file=str(key) + "2", accept=Accept.ALL)
    desk.happens(ConfigChanged(missing))
    assert TOR not in desk.sessions
    assert not desk.street.routing.peers[PeerName(TOR)].established
    assert desk.street.kernel() == {n("198.51.100.0/24")}


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 81, b"\xff\xfe", "schlüssel".encode()])
def test_a_file_that_holds_no_key_is_a_problem_and_says_nothing_of_its_content(
    key: Path, content: bytes
) -> None:
    key.write_bytes(content)
    desk = Desk(with_peer(password_file=str(key)))
    desk.begins()
    assert TOR not in desk.sessions
    reason = desk.problems()[f"{TOR} passwordFile"]
    assert str(key) in reason
    assert "schl" not in reason


def annotated(**keys: str) -> dict[str, AnnotatedKey]:
    return {"192.0.2.9": AnnotatedKey(Sealed(keys["tor"]))} if keys else {}


def test_a_key_of_annotations_is_waited_for_and_rotated_on_the_running_session() -> None:
    desk = Desk(with_peer(password_annotation=True))
    desk.begins()
    assert TOR not in desk.sessions
    assert "never opened without" in desk.problems()[f"{TOR} passwordAnnotation"]
    desk.control.on_annotated_keys(annotated(tor="old\n"))
    assert desk.sessions[TOR].password == "old\n", "to the last octet, as kube-router has it"
    assert desk.problems() == {}
    index, plans = desk.index(TOR), desk.control.plans
    desk.control.on_annotated_keys(annotated(tor="old\n"))
    assert desk.control.plans == plans, "nothing new, nothing done"
    desk.control.on_annotated_keys(annotated(tor="new"))
    assert desk.sessions[TOR].password == "new"
    assert desk.index(TOR) == index
    desk.control.on_annotated_keys(annotated())
    assert desk.index(TOR) == index
    assert "stays in force" in desk.problems()[f"{TOR} passwordAnnotation"]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (AnnotatedKey(None, "is not the base64 of a text"), "not the base64"),
        (AnnotatedKey(Sealed("")), "it holds 0"),
        (AnnotatedKey(Sealed("x" * 81)), "it holds 81"),
        (AnnotatedKey(Sealed("schlüssel")), "not ASCII"),
    ],
)
def test_an_annotation_that_holds_no_key_keeps_the_session_down_with_that_reason(
    found: AnnotatedKey, words: str
) -> None:
    desk = Desk(with_peer(password_annotation=True))
    desk.control.on_annotated_keys({"192.0.2.9": found})
    desk.begins()
    assert TOR not in desk.sessions
    reason = desk.problems()[f"{TOR} passwordAnnotation"]
    assert words in reason
    assert words in desk.street.routing.peers[PeerName(TOR)].attempt
    assert "schl" not in reason
    assert "xxx" not in reason


# --- the loop


async def test_a_flock_of_events_makes_one_plan(desk: Desk) -> None:
    task = asyncio.create_task(desk.control.run())
    desk.control.post(KernelChanged(kernel()))
    desk.control.post(Listed((N1, N2)))
    await until(lambda: desk.sessions)
    plans = desk.control.plans
    for number in range(10, 60):
        desk.control.post(NodeChanged(node(number, f"10.244.{number}.0/24")))
    await until(lambda: len(desk.sessions) == 51)
    assert desk.control.plans == plans + 1
    task.cancel()


async def test_what_changes_nothing_makes_no_plan(desk: Desk) -> None:
    desk.begins()
    plans = desk.control.plans
    task = asyncio.create_task(desk.control.run())
    await until(lambda: desk.control.plans == plans + 1, what="the plan of the beginning")
    desk.control.post(NodeChanged(N2))
    desk.control.report("cni", (Problem(object="cni", reason="full"),))
    await until(lambda: desk.control.plans == plans + 2, what="the plan of the report")
    desk.control.report("cni", (Problem(object="cni", reason="full"),))
    desk.control.post(NodeChanged(N2))
    assert not desk.control._news.is_set()
    task.cancel()


# --- make before break


RR_LABEL = "kroute.io/route-reflector"
REFLECTING = Config(peering=Peering(topology=Topology.ROUTE_REFLECTOR))


def to_reflector(desk: Desk) -> None:
    """A mesh of three, up, is to become n2's clients; n2 does not reflect yet."""
    desk.begins(N1, replace(N2, labels={RR_LABEL: "true"}), N3)
    for other in ("n2", "n3"):
        desk.up(f"node/{other}")
    desk.announces("node/n3", "10.244.3.0/24", "192.0.2.3")
    desk.happens(ConfigChanged(REFLECTING))


def test_a_session_of_the_mesh_closes_softly_once_the_reflector_has_its_routes(desk: Desk) -> None:
    to_reflector(desk)
    desk.control.proceed()
    assert set(desk.sessions) == {"node/n2", "node/n3"}
    leaving = desk.index("node/n3")
    desk.announces("node/n2", "10.244.3.0/24", "192.0.2.3")
    desk.control.proceed()
    assert set(desk.sessions) == {"node/n2"}
    assert desk.street.speaker.removed == [(leaving, CeaseSubcode.OTHER_CONFIG_CHANGE)]
    assert n("10.244.3.0/24") in desk.street.kernel()


def test_a_session_with_a_node_that_leaves_meanwhile_closes_at_once_and_for_good(
    desk: Desk,
) -> None:
    to_reflector(desk)
    leaving = desk.index("node/n3")
    desk.happens(NodeGone("n3"))
    assert desk.street.speaker.removed == [(leaving, CeaseSubcode.PEER_DECONFIGURED)]
    assert n("10.244.3.0/24") not in desk.street.kernel()


def test_a_transition_ends_when_its_time_is_over(desk: Desk) -> None:
    to_reflector(desk)
    desk.street.now = REFLECTING.peering.transition_time - 1.0
    desk.control.proceed()
    hold = desk.street.routing.peers[PeerName("node/n3")].hold
    assert hold is not None
    assert "at most 1 s more" in hold.words(desk.street.now)
    desk.street.now += 1.0
    desk.control.proceed()
    assert set(desk.sessions) == {"node/n2"}


def test_no_transition_begins_while_the_inventory_has_not_been_listed(desk: Desk) -> None:
    desk.happens(KernelChanged(kernel()), *map(NodeChanged, (N1, N2, N3)))
    for other in ("n2", "n3"):
        desk.up(f"node/{other}")
    desk.happens(ConfigChanged(Config(peering=Peering(topology=Topology.NONE))))
    assert set(desk.sessions) == {"node/n2", "node/n3"}
    assert desk.control.transition.holds == {}


# --- peers that are found: each is a session of its own


def gateways(*addresses: str) -> KernelChanged:
    routes = [
        kernel_route("0.0.0.0/0", gateway=packed(a), metric=i) for i, a in enumerate(addresses)
    ]
    return KernelChanged(kernel(connected("192.0.2.0/24"), *routes))


def test_a_gateway_that_changes_changes_its_own_session_only(desk: Desk) -> None:
    source = AddressFrom(default_gateway=Gateways())
    desk.happens(ConfigChanged(with_peer(address=None, address_from=source)))
    desk.happens(gateways("192.0.2.9", "192.0.2.8"), Listed((N1, N2)))
    before = {name: desk.index(name) for name in desk.sessions}
    assert set(before) == {"node/n2", "peer/tor/192.0.2.8", "peer/tor/192.0.2.9"}
    desk.happens(gateways("192.0.2.7", "192.0.2.9"))
    after = {name: desk.index(name) for name in desk.sessions}
    assert set(after) == {"node/n2", "peer/tor/192.0.2.7", "peer/tor/192.0.2.9"}
    assert {n for n in before if after.get(n) == before[n]} == {"node/n2", "peer/tor/192.0.2.9"}


def test_an_annotation_that_changes_changes_the_sessions_it_names_only(desk: Desk) -> None:
    def annotated(value: str) -> NodeChanged:
        return NodeChanged(replace(N1, annotations={"tors": value}))

    desk.happens(
        ConfigChanged(with_peer(address=None, address_from=AddressFrom(annotation="tors")))
    )
    desk.begins(N1, N2)
    assert desk.problems()["peer/tor addressFrom.annotation"].startswith(
        "node n1 has no annotation"
    )
    desk.happens(annotated("192.0.2.9,192.0.2.8"))
    before = {name: desk.index(name) for name in desk.sessions}
    desk.happens(annotated("192.0.2.9,nonsense"))
    after = {name: desk.index(name) for name in desk.sessions}
    assert after == {name: before[name] for name in ("node/n2", "peer/tor/192.0.2.9")}
    assert "'nonsense' is no IP address" in desk.problems()["peer/tor addressFrom.annotation"]


def test_each_session_that_a_peer_stands_for_may_say_what_the_peer_may(desk: Desk) -> None:
    desk.happens(ConfigChanged(with_peer(address=None, address_from=AddressFrom(annotation="tors"),
                                         accept_prefixes=(ip_network("203.0.113.0/24"),))))  # fmt: skip
    desk.begins(replace(N1, annotations={"tors": "192.0.2.9"}))
    desk.up("peer/tor/192.0.2.9")
    desk.announces("peer/tor/192.0.2.9", "203.0.113.0/24", "192.0.2.9", 65009)
    assert set(desk.street.fib.routes[Family.IPV4]) == {n("203.0.113.0/24")}


def test_cables_are_listened_to_once_the_plan_is_whole(desk: Desk) -> None:
    wanted: list[frozenset[str]] = []
    desk.control._want_routers = wanted.append
    source = AddressFrom(unnumbered=Unnumbered(interfaces=("eth1", "eth9")))
    desk.happens(ConfigChanged(with_peer(address=None, address_from=source)))
    assert wanted == []
    desk.begins(N1, N2)
    assert wanted[-1] == {"eth1"}
    assert "no router was heard on eth1 yet" in desk.street.routing.waiting_for(1.0)


def test_a_node_changes_its_role_without_a_session_being_touched(desk: Desk) -> None:
    desk.begins(N1, N2, N3)
    for other in ("n2", "n3"):
        desk.up(f"node/{other}")
    before = desk.sessions
    desk.happens(ConfigChanged(REFLECTING), NodeChanged(replace(N1, labels={RR_LABEL: "true"})))
    kinds = {s.peer.kind for s in desk.street.routing.peers.values()}
    assert kinds == {PeerKind.CLIENT}
    assert desk.sessions == before
    assert desk.street.speaker.removed == []
