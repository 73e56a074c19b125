"""Which addresses of services this node announces, as what, and why not the others."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from kroute.codec.services import service_of, slice_of
from kroute.model.communities import Communities, read_communities
from kroute.model.config import Config
from kroute.model.config_services import (
    Aggregate,
    Check,
    DownAction,
    Services,
    StaticService,
    TcpCheck,
)
from kroute.model.node import Node
from kroute.model.policies import OriginClass
from kroute.model.service import Announceable, CheckState, Verdict
from kroute.model.state import Desired, Observed, Origination
from kroute.plan import plan
from support.services import endpoint, service_object, slice_object

ALL = ("clusterIP", "externalIP", "loadBalancerIP")
RANGES = tuple(map(ip_network, ("198.51.100.0/24", "10.96.0.0/16", "2001:db8:96::/64")))
CONFIG = Services(enabled=True, advertise=ALL, ranges=RANGES)
NODES = {
    "n1": Node(
        name="n1",
        addresses=(ip_address("192.0.2.1"),),
        pod_cidrs=(ip_network("10.244.1.0/24"),),
    ),
    "n2": Node(
        name="n2",
        addresses=(ip_address("198.51.100.200"),),
        pod_cidrs=(ip_network("10.96.7.0/24"),),
    ),
}
DRAINING = {"ready": False, "serving": True, "terminating": True}


def planned(*things: dict[str, Any], config: Services = CONFIG, **observed: Any) -> Desired:
    """What n1 wants, given these objects."""
    services = [service_of(t)[0] for t in things if t["kind"] == "Service"]
    slices = [slice_of(t)[0] for t in things if t["kind"] == "EndpointSlice"]
    known: dict[str, Any] = {
        "me": "n1",
        "config": Config(services=config),
        "nodes": NODES,
        "listed": True,
        "services": {s.key: s for s in services if s},
        "slices": {s.key: s for s in slices if s},
        "services_listed": True,
        "slices_listed": True,
    }
    return plan(Observed(**{**known, **observed}))


def row(desired: Desired) -> Announceable:
    (found,) = desired.services
    return found


def routes(desired: Desired) -> dict[str, Origination]:
    return {str(o.prefix): o for o in desired.originations if o.kind is OriginClass.SERVICE}


def web(address: str = "198.51.100.1", **spec: Any) -> dict[str, Any]:
    return service_object(balancer=[address], **spec)


def test_an_address_with_a_ready_endpoint_anywhere_is_announced_by_every_node():
    found = planned(web(), slice_object(endpoint("n2")))
    assert row(found).verdict is Verdict.ANNOUNCED
    assert (row(found).local, row(found).total) == (0, 1)
    route = routes(found)["198.51.100.1/32"]
    assert not route.internal
    assert "default/web" in route.source
    assert found.complete


def test_with_policy_local_only_nodes_with_endpoints_announce():
    local = web(externalTrafficPolicy="Local")
    elsewhere = planned(local, slice_object(endpoint("n2")))
    assert row(elsewhere).verdict is Verdict.NO_LOCAL_ENDPOINTS
    assert not routes(elsewhere)
    assert routes(planned(local, slice_object(endpoint("n2"), endpoint("n1"))))


def test_each_policy_is_for_its_kind_of_address():
    thing = service_object(
        clusterIPs=["10.96.0.1"], externalIPs=["198.51.100.1"], internalTrafficPolicy="Local"
    )
    found = planned(thing, slice_object(endpoint("n2")))
    assert list(routes(found)) == ["198.51.100.1/32"]


def test_terminating_endpoints_count_where_no_ready_one_is_left_anywhere():
    local = web(externalTrafficPolicy="Local")
    assert routes(planned(local, slice_object(endpoint("n1", **DRAINING))))
    with_ready = planned(local, slice_object(endpoint("n1", **DRAINING), endpoint("n2")))
    assert row(with_ready).verdict is Verdict.NO_LOCAL_ENDPOINTS


def test_a_service_without_endpoints_withdraws_only_itself():
    other = service_object("db", balancer=["198.51.100.2"])
    found = planned(web(), other, slice_object(endpoint("n1"), service="db"))
    assert list(routes(found)) == ["198.51.100.2/32"]
    assert {r.service: r.verdict for r in found.services} == {
        "default/web": Verdict.NO_ENDPOINTS,
        "default/db": Verdict.ANNOUNCED,
    }


def test_endpoints_of_the_other_family_do_not_count():
    thing = service_object(clusterIPs=["10.96.0.1", "2001:db8:96::1"])
    found = planned(thing, slice_object(endpoint("n1"), addressType="IPv6"))
    assert list(routes(found)) == ["2001:db8:96::1/128"]


def test_endpoints_of_several_slices_are_one_services():
    second = slice_object(endpoint("n1"), number=2)
    found = planned(web(externalTrafficPolicy="Local"), slice_object(endpoint("n2")), second)
    assert (row(found).local, row(found).total) == (1, 2)


def test_nothing_is_announced_unless_enabled_or_asked_for():
    things = (web(), slice_object(endpoint("n1")))
    assert planned(*things, config=replace(CONFIG, enabled=False)).services == ()
    assert planned(*things, config=replace(CONFIG, advertise=("clusterIP",))).services == ()


def test_an_annotation_has_the_last_word():
    ready = slice_object(endpoint("n1"))
    no = web(annotations={"kroute.io/advertise": "false"})
    yes = web(annotations={"kroute.io/advertise": "loadBalancerIP"})
    assert planned(no, ready).services == ()
    assert routes(planned(yes, ready, config=replace(CONFIG, advertise=())))
    assert routes(planned(yes, ready, config=replace(CONFIG, selector={"x": "y"})))


def test_selector_and_class_choose_services():
    things = (
        service_object("a", balancer=["198.51.100.1"], labels={"edge": "yes"}),
        service_object("b", balancer=["198.51.100.2"], loadBalancerClass="x/y"),
        slice_object(endpoint("n1"), service="a"),
        slice_object(endpoint("n1"), service="b"),
    )
    chosen = planned(*things, config=replace(CONFIG, selector={"edge": "yes"}))
    assert list(routes(chosen)) == ["198.51.100.1/32"]
    classed = planned(*things, config=replace(CONFIG, load_balancer_classes=("x/y",)))
    assert list(routes(classed)) == ["198.51.100.2/32"]


def test_an_address_out_of_range_is_not_announced_and_that_is_said():
    found = planned(web("203.0.113.1"), slice_object(endpoint("n1")))
    assert row(found).verdict is Verdict.OUT_OF_RANGE
    (problem,) = found.problems
    assert problem.object == "service/default/web"
    assert "203.0.113.1 is not within services.ranges and is not announced" in problem.reason


def test_without_ranges_one_problem_says_it_all():
    found = planned(web(), slice_object(endpoint("n1")), config=replace(CONFIG, ranges=()))
    (problem,) = found.problems
    assert (problem.object, problem.field) == ("config", "services.ranges")


@pytest.mark.parametrize("address", ["198.51.100.200", "10.96.7.9"])
def test_addresses_of_nodes_and_pods_are_never_a_services(address: str):
    found = planned(service_object(externalIPs=[address]), slice_object(endpoint("n1")))
    assert row(found).verdict is Verdict.TAKEN
    assert not routes(found)
    assert [p.severity.value for p in found.problems] == ["error"]


def test_a_node_excluded_from_balancers_announces_cluster_ips_only():
    label = {"node.kubernetes.io/exclude-from-external-load-balancers": ""}
    nodes = {**NODES, "n1": replace(NODES["n1"], labels=label)}
    thing = service_object(clusterIPs=["10.96.0.1"], externalIPs=["198.51.100.1"])
    found = planned(thing, slice_object(endpoint("n1")), nodes=nodes)
    assert list(routes(found)) == ["10.96.0.1/32"]


def test_communities_of_configuration_and_annotation_are_announced():
    thing = web(annotations={"kroute.io/communities": "64512:7,64512:1:2"})
    config = replace(CONFIG, communities=("64512:1",))
    route = routes(planned(thing, slice_object(endpoint("n1")), config=config))["198.51.100.1/32"]
    assert Communities(route.attributes.communities, route.attributes.large_communities) == (
        read_communities(["64512:1", "64512:7", "64512:1:2"])
    )


def test_communities_may_bear_names_of_the_operators_own():
    named = Config(
        community_names={"edge": "64512:5"}, services=replace(CONFIG, communities=("edge",))
    )
    state = {"me": "n1", "nodes": NODES, "services_listed": True, "slices_listed": True}
    service, _ = service_of(web())
    ready, _ = slice_of(slice_object(endpoint("n1")))
    assert service is not None
    assert ready is not None
    known = Observed(
        config=named, services={service.key: service}, slices={ready.key: ready}, **state
    )
    assert routes(plan(known))["198.51.100.1/32"].attributes.communities == (64512 << 16 | 5,)


def test_an_aggregate_stands_for_the_addresses_in_it_and_stops_loops():
    config = replace(CONFIG, aggregates=(Aggregate(prefix=RANGES[0]),))
    other = service_object("db", balancer=["198.51.100.2"])
    ready = (slice_object(endpoint("n2")), slice_object(endpoint("n2"), service="db"))
    found = planned(web(), other, *ready, config=config)
    (route,) = routes(found).values()
    assert (str(route.prefix), route.blackhole) == ("198.51.100.0/24", True)
    assert {r.verdict for r in found.services} == {Verdict.AGGREGATED}
    assert not routes(planned(web(), config=config))


def test_each_family_has_its_aggregate_and_its_blackhole():
    config = replace(CONFIG, aggregates=(Aggregate(prefix=RANGES[0]), Aggregate(prefix=RANGES[2])))
    both = service_object(balancer=["198.51.100.1", "2001:db8:96::1"])
    slices = [
        slice_object(endpoint("n2")),
        slice_object(endpoint("n2"), number=2, addressType="IPv6"),
    ]
    found = routes(planned(both, *slices, config=config))
    assert {k: r.blackhole for k, r in found.items()} == {
        "198.51.100.0/24": True,
        "2001:db8:96::/64": True,
    }
    assert list(routes(planned(both, slices[1], config=config))) == ["2001:db8:96::/64"]


def test_what_needs_a_route_of_its_own_is_announced_beside_the_aggregate():
    config = replace(CONFIG, aggregates=(Aggregate(prefix=RANGES[0]),))
    local = service_object("db", balancer=["198.51.100.2"], externalTrafficPolicy="Local")
    ready = (slice_object(endpoint("n1")), slice_object(endpoint("n1"), service="db"))
    found = planned(web(), local, *ready, config=config)
    assert list(routes(found)) == ["198.51.100.0/24", "198.51.100.2/32"]


def test_no_blackhole_swallows_what_host_processes_send_to_cluster_ips():
    config = replace(CONFIG, aggregates=(Aggregate(prefix=RANGES[1]),))
    thing = service_object(clusterIPs=["10.96.0.1"])
    (route,) = routes(planned(thing, slice_object(endpoint("n1")), config=config)).values()
    assert (str(route.prefix), route.blackhole) == ("10.96.0.0/16", False)


def test_of_two_services_of_one_address_the_older_counts_and_both_are_told():
    young = service_object("young", externalIPs=["198.51.100.1"], created="2026-02-01T00:00:00Z")
    things = (young, web(), slice_object(endpoint("n1"), service="young"))
    alone = planned(*things)
    assert "default/young" in routes(alone)["198.51.100.1/32"].source
    both = planned(*things, slice_object(endpoint("n1")))
    assert "default/web and 1 more" in routes(both)["198.51.100.1/32"].source
    (problem,) = both.problems
    assert problem.object == "service/default/young"
    assert "of service default/web as well" in problem.reason


def test_balancers_may_share_an_address_on_purpose():
    tcp, udp = web(), service_object("udp", balancer=["198.51.100.1"])
    ready = (slice_object(endpoint("n1")), slice_object(endpoint("n1"), service="udp"))
    found = planned(tcp, udp, *ready)
    assert list(routes(found)) == ["198.51.100.1/32"]
    assert not found.problems


def test_absence_means_nothing_until_services_and_slices_are_listed():
    assert planned(services_listed=False).pending == "services have not been listed"
    assert planned(slices_listed=False).pending == "endpoint slices have not been listed"
    assert not planned().pending
    assert not planned(services_listed=False, config=replace(CONFIG, enabled=False)).pending


def test_internal_peers_are_told_where_asked():
    config = replace(CONFIG, internal_peers=True)
    found = planned(web(), slice_object(endpoint("n1")), config=config)
    assert routes(found)["198.51.100.1/32"].internal


# --- static services ---------------------------------------------------------------------------------

DNS = StaticService(
    name="dns",
    addresses=(ip_address("203.0.113.53"), ip_address("2001:db8::53")),
    check=Check(tcp=TcpCheck(port=53)),
    communities=("64512:53",),
    med=7,
)


def static(service: StaticService, state: CheckState | None) -> Desired:
    checks = {} if state is None else {service.name: state}
    return planned(config=Services(static=(service,)), checks=checks)


def test_a_static_service_is_announced_while_its_check_is_good_whatever_the_ranges():
    found = static(DNS, CheckState(True, "connected"))
    assert list(routes(found)) == ["203.0.113.53/32", "2001:db8::53/128"]
    attributes = routes(found)["203.0.113.53/32"].attributes
    assert (attributes.med, attributes.communities) == (7, (64512 << 16 | 53,))
    assert "static/dns: its check is good: connected" in routes(found)["203.0.113.53/32"].source
    assert not found.problems


def test_a_failed_check_withdraws_it_and_says_so():
    found = static(DNS, CheckState(False, "refused"))
    assert not routes(found)
    (problem,) = found.problems
    assert (problem.object, problem.reason) == ("service/static/dns", "its check fails: refused")


def test_a_failed_check_may_lower_its_preference_instead():
    low = replace(DNS, down_action=DownAction.LOWER_PREFERENCE)
    route = routes(static(low, CheckState(False, "refused")))["203.0.113.53/32"]
    assert (route.attributes.med, route.attributes.local_pref) == (0xFFFFFFFF, 0)
    assert 0xFFFF0000 in route.attributes.communities


def test_nothing_is_withdrawn_before_the_first_check_has_ended():
    found = static(DNS, None)
    assert not routes(found)
    assert found.pending == "the first check of static/dns has not ended"
    assert [r.verdict for r in found.services] == [Verdict.NOT_CHECKED] * 2


def test_a_static_service_without_check_is_always_up_and_runs_where_its_selectors_say():
    always = replace(DNS, check=None)
    assert len(routes(static(always, None))) == 2
    assert not routes(static(replace(always, nodes=("n2",)), None))
    assert not routes(static(replace(always, node_selector={"a": "b"}), None))
