"""The keys of a session: inherited, defaulted, and refused where nobody can do what they ask for."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface
from typing import Any

import pytest

from kroute.model.bgp import GracefulRestart, Initiate, Peer, PeerName
from kroute.model.config import Bgp, Config, GracefulRestartConfig
from kroute.model.config_peering import PeerConfig, PeerGroup, Peering
from kroute.model.kernel import KernelState, Link
from kroute.model.net import Family
from kroute.model.problem import Problem, Severity
from kroute.model.session_keys import AddPath, PathSelect, PeerRestartKeys, SecretKey
from kroute.model.state import Observed
from kroute.plan import plan
from support.routing import dual, kernel, node

ME = node(1, "10.244.1.0/24", "fd00:10:244:1::/64", addresses=dual(1))
SECRET = SecretKey(namespace="kube-system", name="bgp")
EVERYTHING: dict[str, Any] = {
    "hold_time": 9,
    "keepalive": 2,
    "connect_retry": 7,
    "local_port": 10179,
    "add_path": AddPath.BOTH,
    "add_path_select": PathSelect.ALL,
    "add_path_max": 3,
    "graceful_restart": PeerRestartKeys(restart_time=30),
    "shutdown": "rack 4 moves",
    "max_prefixes": 50,
    "max_prefixes_warning": 60,
    "max_prefixes_restart": 300,
    "password_secret": SECRET,
    "ttl_security": 1,
    "passive": True,
    "description": "the left one",
}


def planned(
    *peers: PeerConfig,
    groups: tuple[PeerGroup, ...] = (),
    state: KernelState | None = None,
    **bgp: Any,
) -> tuple[dict[str, Peer], tuple[Problem, ...]]:
    """Peers by name, and problems."""
    config = Config(bgp=Bgp(**bgp), peering=Peering(peers=peers, groups=groups))
    observed = Observed(
        me="n1", config=config, nodes={"n1": ME}, listed=True, kernel=state or kernel()
    )
    desired = plan(observed)
    return {str(name): peer for name, peer in desired.peers.items()}, desired.problems


def tor(**changes: Any) -> PeerConfig:
    return PeerConfig(name="tor", address=ip_address("192.0.2.9"), asn=65009, **changes)


def the_tor(*peers: PeerConfig, **more: Any) -> Peer:
    return planned(*peers, **more)[0]["peer/tor"]


@pytest.mark.parametrize("by_group", [False, True])
def test_every_key_reaches_the_peer_by_itself_or_by_its_group(by_group: bool):
    if by_group:
        group = PeerGroup(name="tors", **EVERYTHING)
        found = the_tor(tor(group="tors"), groups=(group,))
    else:
        found = the_tor(tor(**EVERYTHING))
    assert found == replace(
        found,
        hold_time=9,
        keepalive=2,
        connect_retry=7,
        local_port=10179,
        add_path=(Family.IPV4, Family.IPV6),
        add_path_send=(Family.IPV4, Family.IPV6),
        add_path_select=PathSelect.ALL,
        add_path_max=3,
        graceful_restart=GracefulRestart(restart_time=30, stale_time=300),
        shutdown="rack 4 moves",
        max_prefixes=50,
        max_prefixes_warning=60,
        max_prefixes_restart=300,
        password_secret=SECRET,
        ttl_security=1,
        initiate=Initiate.PASSIVE,
        description="the left one",
    )
    assert found.name == PeerName("peer/tor")


def test_a_peer_takes_back_what_its_group_says():
    group = PeerGroup(name="tors", **EVERYTHING)
    own = tor(
        group="tors", shutdown="", max_prefixes_restart=0, add_path=AddPath.OFF, passive=False
    )
    found = the_tor(own, groups=(group,))
    assert found.shutdown == ""
    assert found.max_prefixes_restart is None
    assert found.add_path == ()
    assert found.initiate is Initiate.BOTH


@pytest.mark.parametrize(
    ("way", "receives", "sends"),
    [
        (AddPath.OFF, False, False),
        (AddPath.RECEIVE, True, False),
        (AddPath.SEND, False, True),
        (AddPath.BOTH, True, True),
    ],
)
def test_each_way_of_several_paths_is_asked_for_by_itself(
    way: AddPath, receives: bool, sends: bool
):
    found = the_tor(tor(add_path=way))
    assert (bool(found.add_path), bool(found.add_path_send)) == (receives, sends)


def test_a_peer_that_says_nothing_has_the_defaults():
    found = the_tor(tor())
    assert found == replace(
        found,
        hold_time=90,
        keepalive=None,
        connect_retry=None,
        local_port=None,
        add_path=(),
        add_path_send=(),
        add_path_select=PathSelect.EQUAL,
        add_path_max=8,
        graceful_restart=GracefulRestart(restart_time=120, stale_time=300),
        shutdown="",
        max_prefixes=1000,
        max_prefixes_warning=80,
        max_prefixes_restart=None,
        password_secret=None,
    )


@pytest.mark.parametrize(
    ("shared", "own", "expected"),
    [
        (True, PeerRestartKeys(enabled=False), None),
        (False, PeerRestartKeys(enabled=True), GracefulRestart(restart_time=120, stale_time=300)),
        (False, PeerRestartKeys(restart_time=9), None),
        (True, PeerRestartKeys(stale_time=9), GracefulRestart(restart_time=120, stale_time=9)),
    ],
)
def test_graceful_restart_is_the_peers_own_where_it_says_so(
    shared: bool, own: PeerRestartKeys, expected: GracefulRestart | None
):
    restart = GracefulRestartConfig(enabled=shared)
    found = the_tor(tor(graceful_restart=own), graceful_restart=restart)
    assert found.graceful_restart == expected


def test_tcp_ao_is_refused_and_the_session_not_opened_without_it():
    peers, problems = planned(
        tor(tcp_ao=True), replace(tor(), name="other", address=ip_address("192.0.2.8"))
    )
    assert list(peers) == ["peer/other"]
    (problem,) = [p for p in problems if p.object == "peer/tor"]
    assert (problem.field, problem.severity) == ("tcpAo", Severity.ERROR)
    assert "not opened without it" in problem.reason


def test_our_end_is_the_address_of_the_named_interface():
    links = (Link(index=7, name="eth7", up=True, carrier=True, mtu=1500),)
    addresses = tuple(
        (7, ip_interface(a)) for a in ("fe80::7/64", "198.51.100.9/24", "198.51.100.7/24")
    )
    state = KernelState(links=links, addresses=addresses)
    assert str(the_tor(tor(interface="eth7"), state=state).local_address) == "198.51.100.7"
    peers, problems = planned(tor(interface="eth9"), state=state)
    assert "peer/tor" not in peers
    assert [p.reason for p in problems if p.object == "peer/tor"] == [
        "there is no interface eth9; the session is not set up"
    ]
    six = replace(tor(interface="eth7"), address=ip_address("2001:db8::9"))
    peers, problems = planned(six, state=state)
    assert "peer/tor" not in peers
    assert [p.reason for p in problems if p.object == "peer/tor"] == [
        "eth7 has no address to reach 2001:db8::9 from; the session is not set up"
    ]


def test_a_session_is_bound_to_its_interface_where_that_is_asked_for():
    state = replace(kernel(links=7), addresses=((7, ip_interface("198.51.100.7/24")),))
    group = PeerGroup(name="racks", bind_to_interface=True)
    for keys, device in (
        ({}, ""),
        ({"interface": "eth7"}, ""),
        ({"interface": "eth7", "bind_to_interface": True}, "eth7"),
        ({"interface": "eth7", "group": "racks"}, "eth7"),
        ({"interface": "eth7", "group": "racks", "bind_to_interface": False}, ""),
    ):
        peers, _ = planned(tor(**keys), groups=(group,), state=state)
        assert peers["peer/tor"].device == device, keys
