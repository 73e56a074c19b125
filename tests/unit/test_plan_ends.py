"""Where explicit peers are: annotations, default gateways, router advertisements, the other ends of cables."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address, ip_address, ip_interface
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kroute.model.bgp import ANY_ASN, Asn, Peer, PeerKind, takes_as
from kroute.model.config import Bgp, Config
from kroute.model.config_peering import PeerConfig, Peering, Topology
from kroute.model.kernel import KernelRoute, KernelState, Link
from kroute.model.node import Node
from kroute.model.problem import Problem
from kroute.model.selection import (
    AddressFrom,
    FromLabel,
    Gateways,
    NodeSelector,
    Operator,
    RemoteAs,
    Requirement,
    Routers,
    Unnumbered,
)
from kroute.model.state import Observed
from kroute.plan import explicit, plan
from kroute.plan.ends import MOST, RTPROT_RA
from kroute.plan.sessions import View
from support.routing import kernel_route, node

KEY = "example.org/tors"
LINKS = tuple(Link(index=i, name=f"eth{i}", up=True, carrier=i != 3, mtu=1500) for i in range(1, 4))
ADDRESSES = tuple(
    (index, ip_interface(text))
    for index, text in (
        (1, "192.0.2.1/24"), (1, "fe80::11/64"), (2, "198.51.100.7/24"), (2, "198.51.100.3/24"), (2, "fe80::12/64"),
    )
)  # fmt: skip


def default(gateway: str, oif: int, **changes: Any) -> KernelRoute:
    prefix = "::/0" if ":" in gateway else "0.0.0.0/0"
    return kernel_route(prefix, gateway=ip_address(gateway).packed, oif=oif, **changes)


def kernel(*routes: KernelRoute) -> KernelState:
    return KernelState(links=LINKS, addresses=ADDRESSES, routes=routes)


def found(me: Node, state: KernelState | None, *, heard: Any = None, asn: Any = 65001, bgp: Bgp | None = None,
          **keys: Any) -> tuple[dict[str, Peer], list[Problem]]:  # fmt: skip
    """Peers by name, and problems, of one explicit peer ``tor``."""
    config = Config(
        bgp=bgp or Bgp(), peering=Peering(peers=(PeerConfig(name="tor", asn=asn, **keys),))
    )
    view = View(me=me, nodes={me.name: me}, config=config, kernel=state, routers=heard or {})
    every = list(explicit.peers(view))
    assert all(p.configured == "tor" for p in every if isinstance(p, Peer))
    return {p.name: p for p in every if isinstance(p, Peer)}, [
        p for p in every if isinstance(p, Problem)
    ]


def annotated(value: str) -> Node:
    return replace(node(1), annotations={KEY: value})


def test_each_address_of_an_annotation_is_a_session_of_its_own():
    source = AddressFrom(annotation=KEY)
    peers, problems = found(
        annotated("192.0.2.9, 198.51.100.9,192.0.2.9"), kernel(), address_from=source
    )
    assert list(peers) == ["peer/tor/192.0.2.9", "peer/tor/198.51.100.9"]
    assert problems == []
    again, _ = found(annotated("198.51.100.9,192.0.2.8"), kernel(), address_from=source)
    assert again["peer/tor/198.51.100.9"] == peers["peer/tor/198.51.100.9"]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("tor1", "'tor1' is no IP address"),
        ("", "'' is no IP address"),
        ("0.0.0.0", "is no address of another host"),
        ("ff02::1%eth1", "is no address of another host"),
        ("fe80::1", "it needs its interface, as in fe80::1%eth0"),
        ("2001:db8::1%eth0", "names an interface, which only link-local addresses may"),
        ("fe80::1%eth9", "there is no interface eth9; the session is not set up"),
        ("fe80::1%eth3", "eth3 has no IPv6 link-local address"),
        ("2001:db8::1", "has no ipv6 address to reach 2001:db8::1 from"),
    ],
)
def test_a_wrong_address_costs_itself_alone(item: str, reason: str):
    me = annotated(f"192.0.2.9,{item},198.51.100.9")
    peers, (problem,) = found(me, kernel(), address_from=AddressFrom(annotation=KEY))
    assert len(peers) == 2
    assert problem.object == "peer/tor"
    assert reason in problem.reason


def test_a_node_without_the_annotation_has_no_session_and_is_told_so():
    peers, (problem,) = found(node(1), kernel(), address_from=AddressFrom(annotation=KEY))
    assert (peers, problem.field) == ({}, "addressFrom.annotation")
    assert "node n1 has no annotation example.org/tors" in problem.reason


@given(st.text(max_size=200) | st.lists(st.sampled_from(["192.0.2.9", "fe80::1%eth1", "fe80::1%", "1", "::", "%"]))
       .map(",".join))  # fmt: skip
def test_no_annotation_however_odd_does_harm(value: str):
    me = replace(annotated(value), labels={"as": value, KEY: value})
    for asn in (65001, FromLabel(from_label="as")):
        peers, problems = found(
            me, kernel(), asn=asn, address_from=AddressFrom(annotation=KEY), bgp=Bgp(asn_label=KEY)
        )
        assert len(peers) <= MOST
        assert peers or problems


def test_an_annotation_of_very_many_addresses_is_cut():
    me = annotated(",".join(f"203.0.113.{i}" for i in range(1, 200)))
    peers, (problem,) = found(me, kernel(), address_from=AddressFrom(annotation=KEY))
    assert len(peers) == MOST
    assert f"more than {MOST} peers" in problem.reason


def test_default_gateways_of_both_families_become_peers():
    state = kernel(
        default("192.0.2.9", 1), default("198.51.100.9", 2, metric=50), default("fe80::9", 2)
    )
    peers, problems = found(node(1), state, address_from=AddressFrom(default_gateway=Gateways()))
    assert sorted(peers) == ["peer/tor/192.0.2.9", "peer/tor/198.51.100.9", "peer/tor/fe80::9%eth2"]
    assert problems == []
    one = AddressFrom(default_gateway=Gateways(interface="eth2"))
    assert len(found(node(1), state, address_from=one)[0]) == 2
    none = AddressFrom(default_gateway=Gateways(interface="eth3"))
    peers, (problem,) = found(node(1), state, address_from=none)
    assert not peers
    assert "no default route that leaves by eth3" in problem.reason


def test_before_the_kernel_is_read_nothing_is_said_of_gateways():
    source = AddressFrom(default_gateway=Gateways())
    assert found(node(1), None, address_from=source) == ({}, [])


def test_router_advertisements_give_one_session_for_each_uplink():
    state = kernel(
        default("fe80::9", 1, protocol=RTPROT_RA), default("fe80::8", 1, protocol=RTPROT_RA),
        default("fe80::a", 2, protocol=RTPROT_RA), default("fe80::b", 3),
    )  # fmt: skip
    every = AddressFrom(router_advertisement=Routers())
    peers, problems = found(node(1), state, address_from=every)
    assert {n: str(p.address) for n, p in peers.items()} == {
        "peer/tor/eth1": "fe80::8%eth1",
        "peer/tor/eth2": "fe80::a%eth2",
    }
    assert problems == []
    some = AddressFrom(router_advertisement=Routers(interfaces=("eth2", "eth3")))
    peers, (problem,) = found(node(1), state, address_from=some)
    assert list(peers) == ["peer/tor/eth2"]
    assert "on eth3" in problem.reason


def test_an_unnumbered_peer_is_who_was_heard_on_the_cable():
    source = AddressFrom(unnumbered=Unnumbered(interfaces=("eth1", "eth2", "eth3", "eth9")))
    heard = {"eth1": (IPv6Address("fe80::f1"),)}
    me = node(1, "10.244.1.0/24")
    peers, problems = found(me, kernel(), heard=heard, asn=RemoteAs.EXTERNAL, address_from=source)
    (peer,) = peers.values()
    assert (peer.name, peer.kind, peer.asn) == ("peer/tor/eth1", PeerKind.EXTERNAL, ANY_ASN)
    assert (str(peer.address), str(peer.local_address)) == ("fe80::f1%eth1", "fe80::11%eth1")
    assert (peer.interface, peer.extended_nexthop) == ("eth1", True)
    assert [p.reason.partition(";")[0] for p in problems] == [
        "no router advertisement was heard on eth2 yet",
        "eth3 is down or has no carrier",
        "there is no interface eth9",
    ]


def test_only_cables_that_are_plugged_in_are_listened_to():
    source = AddressFrom(unnumbered=Unnumbered(interfaces=("eth1", "eth3", "eth9")))
    tor = PeerConfig(name="tor", asn=RemoteAs.EXTERNAL, address_from=source)
    seen = Observed(
        me="n1",
        config=Config(peering=Peering(peers=(tor,))),
        nodes={"n1": node(1)},
        kernel=kernel(),
    )
    assert plan(seen).unnumbered == {"eth1"}


@pytest.mark.parametrize(
    ("remote", "local"),
    [
        ("192.0.2.9", "192.0.2.1"),  # in the node's own network: the node's address
        ("198.51.100.9", "198.51.100.3"),  # in that of another interface: its lowest address
        ("203.0.113.9", "192.0.2.1"),  # elsewhere: the node's address
    ],
)
def test_our_end_is_in_the_peers_network_where_we_have_an_address_there(remote: str, local: str):
    peers, _ = found(node(1), kernel(), address=ip_address(remote))
    assert str(peers["peer/tor"].local_address) == local


# --- for which nodes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "meant"),
    [
        ({"node_selector": NodeSelector(match_labels={"rack": "1"})}, True),
        ({"node_selector": NodeSelector(match_labels={"rack": "2"})}, False),
        ({"node_selector": {"rack": "1"}, "nodes": ("n2",)}, False),
        ({"node_annotation": "tor"}, True),
        ({"node_annotation": "tor=yes"}, True),
        ({"node_annotation": "tor=no"}, False),
        ({"node_annotation": "off"}, False),
        ({"node_annotation": "absent"}, False),
    ],
)
def test_a_peer_is_for_the_nodes_it_selects(keys: Any, meant: bool):
    me = replace(node(1), labels={"rack": "1"}, annotations={"tor": "yes", "off": "false"})
    peers, problems = found(me, kernel(), address=ip_address("192.0.2.9"), **keys)
    assert (bool(peers), problems) == (meant, [])


@pytest.mark.parametrize(
    ("key", "operator", "values", "met"),
    [
        ("rack", Operator.IN, ("1", "2"), True),
        ("rack", Operator.IN, ("2",), False),
        ("gone", Operator.IN, ("1",), False),
        ("rack", Operator.NOT_IN, ("2",), True),
        ("rack", Operator.NOT_IN, ("1",), False),
        ("gone", Operator.NOT_IN, ("1",), True),
        ("rack", Operator.EXISTS, (), True),
        ("gone", Operator.EXISTS, (), False),
        ("rack", Operator.DOES_NOT_EXIST, (), False),
        ("gone", Operator.DOES_NOT_EXIST, (), True),
    ],
)
def test_expressions_mean_what_they_do_in_kubernetes(
    key: str, operator: Operator, values: tuple[str, ...], met: bool
):
    wanted = NodeSelector(
        match_expressions=(Requirement(key=key, operator=operator, values=values),)
    )
    me = replace(node(1), labels={"rack": "1"})
    peers, _ = found(me, kernel(), address=ip_address("192.0.2.9"), node_selector=wanted)
    assert bool(peers) is met


# --- AS numbers -----------------------------------------------------------------------------------------


def test_as_numbers_come_from_labels_or_annotations_of_the_node():
    me = replace(node(1), labels={"mine": "64701"}, annotations={"theirs": " 65101 "})
    keys = {"asn": FromLabel(from_label="theirs"), "local_asn": FromLabel(from_label="mine")}
    peers, problems = found(me, kernel(), address=ip_address("192.0.2.9"), **keys)
    assert [(p.asn, p.local_asn) for p in peers.values()] == [(65101, 64701)]
    assert problems == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "node n1 has no label or annotation theirs"),
        ("", "'' is no AS number"),
        ("AS65101", "'AS65101' is no AS number"),
        ("0", "0 is no AS number"),
        ("4294967296", "4294967296 is no AS number"),
        ("23456", "23456 is AS_TRANS"),
        ("6510１", "is no AS number"),
    ],
)
def test_a_label_that_holds_no_as_number_keeps_the_session_down_and_says_why(
    text: str | None, reason: str
):
    me = replace(node(1), labels={} if text is None else {"theirs": text})
    peers, (problem,) = found(
        me, kernel(), address=ip_address("192.0.2.9"), asn=FromLabel(from_label="theirs")
    )
    assert (peers, problem.object, problem.field) == ({}, "peer/tor", "asn")
    assert reason in problem.reason


def test_nodes_of_an_as_of_their_own_peer_with_switches_as_that():
    me = replace(node(1), labels={"as": "64701"})
    peers, _ = found(me, kernel(), address=ip_address("192.0.2.9"), bgp=Bgp(asn_label="as"))
    assert peers["peer/tor"].local_asn == 64701


def test_a_mesh_of_nodes_of_different_ases_gets_a_clear_answer():
    nodes = {f"n{i}": replace(node(i), labels={"as": f"6470{i}"}) for i in range(1, 7)}
    nodes["n7"] = replace(node(7), labels={"as": "64701"})
    nodes["n8"] = replace(node(8), labels={"as": "64701x"})
    seen = Observed(me="n1", config=Config(bgp=Bgp(asn_label="as")), nodes=nodes, listed=True)
    wanted = plan(seen)
    assert set(wanted.peers) == {"node/n7"}
    assert wanted.peers["node/n7"].asn == 64701  # type: ignore[index]
    reasons = {p.object: p.reason for p in wanted.problems if p.field == "as"}
    assert "it is of AS 64701, while n2, n3, n4 and 3 more are of others" in reasons["node/n1"]
    assert "'64701x' is no AS number; it is ignored" in reasons["node/n8"]
    switch = PeerConfig(name="tor", asn=65001, address=ip_address("192.0.2.99"))
    for peering in (Peering(topology=Topology.NONE), Peering(peers=(switch,))):
        other = plan(replace(seen, config=replace(seen.config, peering=peering)))
        assert [p for p in other.problems if p.field == "as" and p.object == "node/n1"] == []


def test_an_external_peer_that_is_a_node_of_our_as_is_the_topologys():
    nodes = {
        f"n{i}": replace(node(i), labels={"as": asn}) for i, asn in ((1, "64701"), (2, "64702"))
    }
    there = nodes["n2"].addresses[0]
    other = PeerConfig(name="n2", asn=RemoteAs.EXTERNAL, address=there)
    config = Config(bgp=Bgp(asn_label="as"), peering=Peering(peers=(other,)))
    seen = Observed(me="n1", config=config, nodes=nodes, listed=True)
    assert set(plan(seen).peers) == {"peer/n2"}
    moved = replace(nodes["n2"], labels={"as": "64701"})
    wanted = plan(replace(seen, nodes={**nodes, "n2": moved}))
    assert set(wanted.peers) == {"node/n2"}
    assert not [p for p in wanted.problems if p.object in ("peer/n2", "node/n2")]
    told = replace(other, asn=64702)
    known = replace(config, peering=Peering(peers=(told,)))
    assert set(plan(replace(seen, config=known)).peers) == {"peer/n2"}


@pytest.mark.parametrize(
    ("wanted", "told", "taken"),
    [
        (65001, 65001, True),
        (65001, 65002, False),
        (64512, 64512, True),
        (ANY_ASN, 65002, True),
        (ANY_ASN, 64512, False),
    ],
)
def test_an_external_peer_is_of_any_as_but_ours(wanted: int, told: int, taken: bool):
    assert takes_as(Asn(wanted), Asn(64512), Asn(told)) is taken
