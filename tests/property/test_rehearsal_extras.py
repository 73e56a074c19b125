"""A rehearsal with extras tells the very same as one in which every node is played in full."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from unittest.mock import patch

import hypothesis.strategies as st
from hypothesis import given

from kroute.codec.config import parse_config
from kroute.daemon import rehearsal
from kroute.daemon.rehearsal import Setting, casting, rehearse
from kroute.daemon.rehearsal.troupe import Troupe
from kroute.model.config import Config
from kroute.model.net import Family
from kroute.model.node import Node
from kroute.model.rehearsal import RehearsalReport
from kroute.model.service import (
    AddressKind,
    EndpointSlice,
    NodeEndpoints,
    Service,
    TrafficPolicy,
)
from kroute.model.state import Observed

MARK = "kroute.io/route-reflector"
ASN = "example.org/asn"
TOR = "{name: tor, address: 192.0.2.254, asn: 65001"
POLICY = """
policies:
- name: p
  rules:
  - {name: some, match: {prefixes: [{prefix: 10.244.0.0/21, ge: 24, le: 24}]}, set: {localPref: 50}, then: accept}
  - {name: zone, match: {nodeSelector: {zone: a}}, then: reject}
"""
OF_ONE = """
policies:
- name: p
  rules:
  - {name: one, match: {peers: [node/n03]}, then: reject}
"""
PEERINGS = [
    "",
    "peering: {topology: fullMesh}",
    "peering: {topology: fullMesh, initiate: both}",
    "peering: {topology: fullMesh, transport: perFamily}",
    "peering: {topology: fullMesh, fullMesh: {groupLabel: zone}}",
    "peering: {topology: none}",
    "peering: {topology: routeReflector}",
    "peering: {topology: routeReflector, routeReflector: {nodes: [n05, n06]}}",
    "peering: {topology: routeReflector, routeReflector: {nodes: [n05, n06, n07], perClient: 1}}",
    "peering: {topology: routeReflector, addPath: both, routeReflector: {nodes: [n05], zoneLabel: zone}}",
    "peering: {topology: auto, auto: {threshold: 8, hysteresis: 3, zoneLabel: zone}}",
    "peering: {topology: auto, auto: {threshold: 3, hysteresis: 0, reflectorsPerZone: 1}}",
    f"peering: {{topology: fullMesh, peers: [{TOR}}}]}}",
    f"peering: {{topology: fullMesh, peers: [{TOR}, nodeSelector: {{zone: a}}}}]}}",
    f"peering: {{topology: fullMesh, peers: [{TOR}, announce: [ownPods, peerPods]}}]}}",
    f"peering: {{topology: fullMesh, peers: [{TOR}, passOn: true, accept: all}}]}}",
    "peering: {topology: none, peers: [{name: rr, address: 192.0.2.100, asn: internal, reflector: true}]}",
    "peering: {topology: none, peers: [{name: n3, address: 192.0.2.3, asn: internal}]}",
    "peering: {topology: fullMesh, import: p}" + POLICY,
    "peering: {topology: fullMesh, export: p}" + POLICY,
    "peering: {topology: fullMesh, import: p}" + OF_ONE,
    "peering: {topology: fullMesh, export: p}" + OF_ONE,
]
SERVICES = "services: {enabled: true, advertise: [loadBalancerIP], ranges: [198.51.100.0/24], internalPeers: true}"
MORE = [
    "",
    "bgp: {holdTime: 9}",
    "bgp: {asn: 64513}",
    f"bgp: {{asnLabel: {ASN}}}",
    "bgp: {maxPrefixes: 4}",
    "bgp: {gracefulRestart: {enabled: false}}",
    "bgp: {routerId: 1.2.3.4}",
    "originCheck: {mode: off}",
    "cni: {mtu: 1400}",
    "fib: {enabled: false}",
    "services: {internalPeers: true, static: [{name: s, addresses: [198.51.100.53]}]}",
    "services: {internalPeers: true, static: [{name: s, addresses: [198.51.100.53], nodes: [n02, n09]}]}",
    SERVICES,
    SERVICES,
    "services: {static: [{name: s, addresses: [198.51.100.53], nodeSelector: {zone: a}}]}",
]


@st.composite
def two_configs(draw: st.DrawFn) -> tuple[Config, Config]:
    """A configuration, and another one that differs in one way or two."""
    was = draw(st.sampled_from(PEERINGS)), draw(st.sampled_from(MORE))
    will = draw(st.sampled_from(PEERINGS)), draw(st.sampled_from(MORE))
    stays = draw(st.sampled_from(["", "peering", "more"]))
    new = was[0] if stays == "peering" else will[0], was[1] if stays == "more" else will[1]
    return parse_config("\n".join(was)), parse_config("\n".join(new))


ODD = ["mark", "asn", "lost", "bare", "away", "shared", "v4", "v6", "zone"]
"""What single nodes may have of their own."""


@st.composite
def some_nodes(draw: st.DrawFn) -> dict[str, Node]:
    """A cluster in which most nodes are alike, but for the order of their addresses."""
    count = draw(st.integers(7, 16))
    orders = draw(st.permutations(range(1, count + 1))), range(1, count + 1)
    second = draw(st.integers(0, 1))
    usual = draw(st.sampled_from(["v4", "v4", "dual", "v6 first", "v6"]))
    zones = draw(st.sampled_from(["a", "a", "ab"]))
    odd = draw(st.dictionaries(st.integers(1, count), st.sampled_from(ODD), max_size=2))
    ranges = draw(st.integers(1, 2))
    return {
        (
            node := _node(
                i, orders[0][i - 1], orders[second][i - 1], usual, zones, odd.get(i, ""), ranges
            )
        ).name: node
        for i in range(1, count + 1)
    }


def _node(number: int, one: int, other: int, usual: str, zones: str, odd: str, ranges: int) -> Node:
    v4, v6 = ip_address(f"192.0.2.{one}"), ip_address(f"2001:db8::{other}")
    addresses = {
        "v4": (v4,),
        "dual": (v4, v6),
        "v6 first": (v6, v4),
        "v6": (v6,),
        "bare": (),
        "shared": (ip_address("192.0.2.1"),),
    }
    zone = "b" if odd == "zone" else zones[number % len(zones)]
    labels = {"zone": zone, "kubernetes.io/hostname": f"n{number:02}"}
    labels |= {MARK: "true"} if odd == "mark" else {ASN: "64999"} if odd == "asn" else {}
    third = 1 if odd == "lost" else number
    cidrs = (ip_network(f"10.244.{third}.0/24"), ip_network(f"fd00:{number}::/64"))
    return Node(
        name=f"n{number:02}",
        addresses=addresses.get(odd, addresses[usual]),
        pod_cidrs=cidrs[:ranges],
        labels=labels,
        ready=odd != "away",
    )


@st.composite
def two_settings(draw: st.DrawFn) -> tuple[Setting | None, Setting]:
    nodes, (old, new) = draw(some_nodes()), draw(two_configs())
    first, second = dict(nodes), dict(nodes)
    for changed in (first, second):
        for name in draw(st.lists(st.sampled_from(sorted(nodes)), max_size=1)):
            changed.pop(name, None)
    only = draw(
        st.none() | st.none() | st.lists(st.sampled_from(sorted(nodes)), min_size=1, max_size=4)
    )
    before, after = (
        _setting(n, c, draw(some_services(nodes))) for n, c in ((first, old), (second, new))
    )
    if only is not None:
        configs = dict.fromkeys(only, new)
        return before, replace(after, observed=replace(after.observed, config=old), configs=configs)
    return (before if draw(st.integers(0, 5)) else None), after


@st.composite
def some_services(draw: st.DrawFn, nodes: dict[str, Node]) -> list[str]:
    """Where the endpoints of a service are that nodes announce by themselves: on some, on most, on all."""
    without = draw(st.sets(st.sampled_from(sorted(nodes)), max_size=3))
    few = draw(st.booleans())
    return sorted(without if few else nodes.keys() - without)


def _setting(nodes: dict[str, Node], config: Config, ends: list[str]) -> Setting:
    web = Service(
        namespace="shop",
        name="web",
        addresses=((AddressKind.LOAD_BALANCER_IP, ip_address("198.51.100.10")),),
        external_policy=TrafficPolicy.LOCAL,
    )
    endpoints = tuple(NodeEndpoints(name, 1, 0) for name in ends)
    found = EndpointSlice(
        namespace="shop", name="web-1", service="web", family=Family.IPV4, nodes=endpoints
    )
    return Setting(
        observed=Observed(
            me="",
            config=config,
            nodes=nodes,
            listed=True,
            services={web.key: web},
            slices={found.key: found},
        )
    )


def in_full(before: Setting | None, after: Setting) -> RehearsalReport:
    with patch.object(rehearsal, "cast", lambda *_given: None):
        return rehearse(before, after)


@given(two_settings())
def test_nobody_can_tell_who_was_an_extra(given: tuple[Setting | None, Setting]) -> None:
    """Not even by what samples would betray: what is true of extras follows, it is not merely found out."""
    with patch.object(casting, "WORTH", 1.0), patch.object(Troupe, "_prove", lambda *_given: None):
        assert rehearse(*given) == in_full(*given)


@given(two_settings(), st.integers(0, 20))
def test_a_node_that_is_asked_for_alone_is_reported_as_among_all(
    given: tuple[Setting | None, Setting], which: int
) -> None:
    names = sorted(given[1].observed.nodes)
    name = names[which % len(names)]
    (alone,) = rehearse(*given, [name]).nodes
    assert alone == next(n for n in in_full(*given).nodes if n.node == name)
