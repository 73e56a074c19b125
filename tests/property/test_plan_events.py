"""Law 1: any order of the same events, doubled, split or squashed, ends in the same desired state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv6Address, ip_address, ip_interface, ip_network
from itertools import combinations
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from kroute.model.bgp import Initiate
from kroute.model.communities import Communities
from kroute.model.config import AnnouncePods, Config, Kni
from kroute.model.config_peering import PeerConfig, Peering, RouteReflector, Topology, Transport
from kroute.model.config_services import (
    Aggregate,
    Check,
    Services,
    StaticService,
    TcpCheck,
)
from kroute.model.inventory import (
    Fresh,
    Listed,
    NodeChanged,
    NodeGone,
    Problems,
    ServiceChanged,
    ServiceGone,
    ServicesListed,
    SliceChanged,
    SliceGone,
    SlicesListed,
    Stale,
)
from kroute.model.kernel import KernelState
from kroute.model.net import Family
from kroute.model.node import Node
from kroute.model.problem import Problem
from kroute.model.selection import AddressFrom, RemoteAs, Unnumbered
from kroute.model.service import (
    AddressKind,
    CheckState,
    EndpointSlice,
    NodeEndpoints,
    Service,
    TrafficPolicy,
)
from kroute.model.state import AttachedPod, Desired, Observed
from kroute.plan import plan
from kroute.plan.observe import (
    Checked,
    ConfigChanged,
    ControlEvent,
    KernelChanged,
    PodsAttached,
    Reported,
    RoutersHeard,
    observe,
)
from support.routing import dual, kernel

CABLES = AddressFrom(unnumbered=Unnumbered(interfaces=("eth1", "eth2")))
HEARD = IPv6Address("fe80::9")
NAMES = ["n1", "n2", "n3", "n10"]
CIDRS = ["10.0.0.0/24", "10.0.1.0/24", "10.0.0.0/16", "10.0.1.128/25", "fd00:1::/64", "fd00::/16"]
ADDRESSES = [a for i in (1, 2, 3) for a in dual(i)]

some_nodes = st.builds(
    Node,
    name=st.sampled_from(NAMES),
    addresses=st.lists(st.sampled_from(ADDRESSES), max_size=2, unique=True).map(tuple),
    pod_cidrs=st.lists(st.sampled_from(CIDRS).map(ip_network), max_size=3).map(tuple),
    labels=st.sampled_from([{}, {"kroute.io/route-reflector": "true"}, {"rack": "a"}]),
    created=st.sampled_from(["", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]),
)
some_configs = st.builds(
    Config,
    kni=st.sampled_from([Kni(announce_pods=which) for which in AnnouncePods]),
    services=st.deferred(lambda: st.sampled_from([Services(), SERVICES])),
    peering=st.builds(
        Peering,
        topology=st.sampled_from(list(Topology)),
        transport=st.sampled_from(list(Transport)),
        route_reflector=st.builds(RouteReflector, nodes=st.sampled_from([(), ("n1",), ("n2",)])),
        peers=st.sampled_from(
            [
                (),
                (PeerConfig(name="tor", address=ip_address("192.0.2.2"), asn=65001),),
                (PeerConfig(name="tor", address=ip_address("2001:db8::99"), asn=64512),),
                (PeerConfig(name="up", asn=RemoteAs.EXTERNAL, address_from=CABLES),),
            ]
        ),
    ),
)
some_kernels = st.sampled_from(
    [
        KernelState(),
        kernel(),
        replace(kernel(), addresses=((1, ip_interface("192.0.2.1/24")),)),
        replace(
            kernel(), addresses=((1, ip_interface("fe80::1/64")), (2, ip_interface("fe80::2/64")))
        ),
    ]
)
some_pods = st.permutations(
    [
        AttachedPod(name="a/b", addresses=dual(7), asks=True),
        AttachedPod(name="a/b", addresses=dual(8)[1:], asks=True),
        AttachedPod(name="a/c", addresses=dual(9)[:1], asks=False),
    ]
).map(tuple)
some_problems = st.lists(
    st.builds(Problem, object=st.sampled_from(["file/a", "file/b"]), reason=st.just("bad")),
    max_size=2,
).map(tuple)

SERVICES = Services(
    enabled=True,
    advertise=("clusterIP", "externalIP"),
    ranges=(ip_network("10.96.0.0/24"), ip_network("fd00:96::/64")),
    aggregates=(Aggregate(prefix=ip_network("10.96.0.0/25")),),
    static=(
        StaticService(
            name="dns",
            addresses=(ip_address("10.96.0.1"), ip_address("fd00:96::53")),
            check=Check(tcp=TcpCheck(port=53)),
        ),
    ),
)
VIPS = [ip_address(a) for a in ("10.96.0.1", "10.96.0.200", "10.9.0.1", "fd00:96::1", "10.0.1.9")]
some_services = st.builds(
    Service,
    namespace=st.just("default"),
    name=st.sampled_from(["web", "db"]),
    addresses=st.lists(
        st.tuples(
            st.sampled_from([AddressKind.CLUSTER_IP, AddressKind.EXTERNAL_IP]),
            st.sampled_from(VIPS),
        ),
        max_size=3,
        unique=True,
    ).map(tuple),
    external_policy=st.sampled_from(list(TrafficPolicy)),
    communities=st.sampled_from([Communities(), Communities((7,))]),
    created=st.sampled_from(["", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]),
)
some_slices = st.builds(
    EndpointSlice,
    namespace=st.just("default"),
    name=st.sampled_from(["web-1", "web-2", "db-1"]),
    service=st.sampled_from(["web", "db"]),
    family=st.sampled_from(list(Family)),
    nodes=st.lists(
        st.builds(NodeEndpoints, st.sampled_from(NAMES), st.integers(0, 2), st.integers(0, 1)),
        max_size=2,
    ).map(tuple),
)
service_event = st.one_of(
    some_services.map(ServiceChanged),
    st.sampled_from(["default/web", "default/db"]).map(ServiceGone),
    some_slices.map(SliceChanged),
    st.sampled_from(["default/web-1", "default/db-1"]).map(SliceGone),
    st.builds(
        Checked,
        st.just("dns"),
        st.none() | st.builds(CheckState, st.booleans(), st.just("said so")),
    ),
)

START = Observed(me="n1", config=Config())


def observed(events: Iterable[ControlEvent]) -> Observed:
    state = START
    for event in events:
        state = observe(state, event)
    return state


def desired(events: Iterable[ControlEvent]) -> tuple[Desired, list[str], list[Any]]:
    """What follows from events; also in which order, for an order tells history, too."""
    found = plan(observed(events))
    return found, list(found.peers), list(found.owners.items())


def subject(event: ControlEvent) -> tuple[Any, ...]:
    """What an event is about: of two events about one thing, the later one counts."""
    match event:
        case NodeChanged(node):
            return ("node", node.name)
        case NodeGone(name):
            return ("node", name)
        case Reported(source, _):
            return ("report", source)
        case Problems(_, of):
            return ("report", "inventory", of)
        case Stale(_, of) | Fresh(of):
            return ("source", of)
        case ServiceChanged(service):
            return ("service", service.key)
        case SliceChanged(changed):
            return ("slice", changed.key)
        case ServiceGone(key) | SliceGone(key):
            return (type(event).__name__.removesuffix("Gone").lower(), key)
        case Checked(name, _):
            return ("check", name)
        case _:
            return (type(event).__name__,)


one_node_event = st.one_of(some_nodes.map(NodeChanged), st.sampled_from(NAMES).map(NodeGone))
one_event = st.one_of(
    service_event,
    service_event,
    one_node_event,
    one_node_event,
    some_configs.map(ConfigChanged),
    some_kernels.map(KernelChanged),
    st.sampled_from([{}, {"eth1": (HEARD,)}, {"eth1": (HEARD,), "eth2": (HEARD,)}]).map(
        RoutersHeard
    ),
    st.builds(Reported, st.sampled_from(["cni", "fib"]), some_problems),
    some_problems.map(Problems),
    st.sampled_from([Stale("away"), Fresh()]),
    some_pods.map(PodsAttached),
)
some_lists = st.lists(some_nodes, max_size=4, unique_by=lambda n: n.name).map(
    lambda nodes: Listed(tuple(nodes))
)
one_per_thing = st.lists(one_event, max_size=12, unique_by=subject)


@given(some_lists, one_per_thing, st.data())
def test_events_about_different_things_may_come_in_any_order(
    listed: Listed, events: list[ControlEvent], data: st.DataObject
):
    shuffled = data.draw(st.permutations(events))
    expected = desired([listed, *events])
    assert desired([listed, *shuffled]) == expected
    assert desired([listed, *reversed(events)]) == expected


@given(some_lists, one_per_thing)
def test_events_may_come_twice(listed: Listed, events: list[ControlEvent]):
    doubled = [e for event in events for e in (event, event)]
    expected = desired([listed, *events])
    assert desired([listed, listed, *doubled]) == expected
    assert desired([listed, *events, *events]) == expected


@given(some_lists, st.lists(one_event, max_size=20))
def test_what_was_true_in_between_leaves_no_trace(listed: Listed, events: list[ControlEvent]):
    """Squashed to the last value of each thing, a history ends in the same state."""
    last = {subject(event): event for event in events}
    assert desired([listed, *events]) == desired([listed, *last.values()])


@given(some_lists, st.lists(one_event, max_size=12))
def test_a_list_is_worth_the_changes_that_make_it(listed: Listed, events: list[ControlEvent]):
    """A whole list, or its nodes one by one and the others gone: split as a watch stream splits it."""
    before = [Listed(()), *events]
    kept = {node.name for node in listed.nodes}
    split = [
        *(NodeGone(name) for name in NAMES if name not in kept),
        *(NodeChanged(node) for node in reversed(listed.nodes)),
    ]
    assert desired([*before, listed]) == desired([*before, *split])


@given(
    some_lists,
    st.lists(some_services, max_size=2, unique_by=lambda s: s.key),
    st.lists(some_slices, max_size=3, unique_by=lambda s: s.key),
    st.lists(service_event, max_size=8),
)
def test_lists_of_services_are_worth_the_changes_that_make_them(
    listed: Listed,
    services: list[Service],
    slices: list[EndpointSlice],
    events: list[ControlEvent],
):
    start = [listed, ConfigChanged(Config(services=SERVICES)), Checked("dns", CheckState(True, ""))]
    before = [*start, ServicesListed(()), SlicesListed(()), *events]
    whole = [ServicesListed(tuple(services)), SlicesListed(tuple(slices))]
    kept = {s.key for s in services} | {s.key for s in slices}
    split = [
        *(ServiceGone(key) for key in ("default/web", "default/db") if key not in kept),
        *(
            SliceGone(f"default/{n}")
            for n in ("web-1", "web-2", "db-1")
            if f"default/{n}" not in kept
        ),
        *(SliceChanged(each) for each in reversed(slices)),
        *(ServiceChanged(each) for each in reversed(services)),
    ]
    assert desired([*before, *whole]) == desired([*before, *split])


@given(some_lists, st.lists(one_event, max_size=12))
def test_planning_in_between_changes_nothing(listed: Listed, events: list[ControlEvent]):
    state = observe(START, listed)
    for event in events:
        plan(state)
        state = observe(state, event)
    assert plan(state) == plan(observed([listed, *events]))


@given(some_lists)
def test_the_order_of_a_list_does_not_matter(listed: Listed):
    backwards = Listed(tuple(reversed(listed.nodes)))
    assert desired([backwards]) == desired([listed])


@settings(max_examples=200)
@given(some_lists, some_configs)
def test_any_two_nodes_agree_about_their_sessions(listed: Listed, config: Config):
    """Whatever the inventory says, both ends are planned, match, and one of them connects."""
    config = replace(config, peering=replace(config.peering, peers=()))
    plans = {
        node.name: plan(replace(observed([listed, ConfigChanged(config)]), me=node.name))
        for node in listed.nodes
    }
    clashes = {p.object for found in plans.values() for p in found.problems if p.field == "address"}
    for one, two in combinations(plans, 2):
        if {f"node/{one}", f"node/{two}"} & {c.split("/ipv")[0] for c in clashes}:
            continue
        here = {p.name: p for p in plans[one].peers.values() if p.node == two}
        there = {p.name: p for p in plans[two].peers.values() if p.node == one}
        assert {k.removeprefix(f"node/{two}") for k in here} == {
            k.removeprefix(f"node/{one}") for k in there
        }
        for name, mine in here.items():
            theirs = there[f"node/{one}{name.removeprefix(f'node/{two}')}"]  # type: ignore[index]
            assert (mine.address, mine.local_address) == (theirs.local_address, theirs.address)
            assert (mine.families, mine.extended_nexthop) == (
                theirs.families,
                theirs.extended_nexthop,
            )
            assert {mine.initiate, theirs.initiate} == {Initiate.ACTIVE, Initiate.KNOCK}


@given(some_lists)
def test_no_address_belongs_to_two_nodes(listed: Listed):
    found = plan(observed([listed]))
    owned = [
        ip_network((nlri[1:].ljust(4 if family == 1 else 16, b"\0"), nlri[0]))
        for family, nlri in found.owners
    ]
    by_owner = dict(zip(owned, found.owners.values(), strict=True))
    for one, two in combinations(owned, 2):
        if one.version == two.version and one.overlaps(two):
            assert by_owner[one] == by_owner[two], f"{one} and {two} have different owners"
