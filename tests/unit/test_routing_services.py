"""While something of services is not known yet: none is withdrawn, peers are not told that this is all, pods go on."""

from __future__ import annotations

from ipaddress import ip_network

from kroute.model.bgp import Attributes
from kroute.model.policies import OriginClass
from kroute.model.state import Origination
from support.routing import V4, Listener, listener, n, peer

OTHER = peer(2)
UNKNOWN = "services have not been listed"
PODS = Origination(prefix=ip_network("10.244.1.0/24"), source="pods")
VIP = Origination(prefix=ip_network("198.51.100.1/32"), source="service", kind=OriginClass.SERVICE)


def announcing(*wanted: Origination, pending: str = "") -> Listener:
    node = listener(OTHER, deferral=60.0)
    node.routing.set_originations(wanted, True, pending)
    node.up(OTHER)
    node.end(OTHER)
    node.flush()
    return node


def test_end_of_rib_waits_for_services_but_not_longer_than_the_deferral():
    node = announcing(PODS, pending=UNKNOWN)
    assert n("10.244.1.0/24") in node.heard("node/n2")
    assert not node.ends
    assert node.routing.waiting_for(node.now) == [UNKNOWN]
    node.now = 60.0
    node.flush()
    assert node.ends["node/n2"]
    assert not node.routing.waiting_for(node.now)


def test_once_all_is_known_peers_are_told_that_this_is_all():
    node = announcing(PODS, pending=UNKNOWN)
    node.routing.set_originations((PODS, VIP), True)
    node.flush()
    assert n("198.51.100.1/32") in node.heard("node/n2")
    assert node.ends["node/n2"]


def test_no_service_is_withdrawn_while_services_are_not_known_and_pods_are():
    node = announcing(PODS, VIP)
    node.routing.set_originations((), True, UNKNOWN)
    node.flush()
    assert set(node.heard("node/n2")) == {n("198.51.100.1/32")}
    assert node.routing.own.sources[V4, n("198.51.100.1/32")] == "service"
    node.routing.set_originations((), True)
    node.flush()
    assert not node.heard("node/n2")


def test_a_prefix_takes_its_new_attributes_without_being_withdrawn():
    node = announcing(VIP)
    new = Origination(
        prefix=VIP.prefix,
        source="service",
        kind=OriginClass.SERVICE,
        attributes=Attributes(communities=(7,)),
    )
    node.routing.set_originations((new,), True)
    (tell,) = node.flush()
    assert not tell.withdrawn
    assert node.heard("node/n2")[n("198.51.100.1/32")].communities == (7,)


def test_an_aggregate_is_a_blackhole_in_the_kernel_until_it_goes():
    aggregate = Origination(
        prefix=ip_network("198.51.100.0/24"),
        source="aggregate",
        kind=OriginClass.SERVICE,
        blackhole=True,
    )
    node = announcing(aggregate)
    assert node.routes == {"198.51.100.0/24": ()}
    node.routing.set_originations((), True)
    node.flush()
    assert node.routes == {}


def test_internal_peers_are_not_told_where_they_should_not_be():
    outside = Origination(
        prefix=VIP.prefix, source="service", kind=OriginClass.SERVICE, internal=False
    )
    node = announcing(PODS, outside)
    assert set(node.heard("node/n2")) == {n("10.244.1.0/24")}
