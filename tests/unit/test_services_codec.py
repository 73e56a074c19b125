"""Service and EndpointSlice objects, as the API prints them, to slim values."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from kroute.codec.kubernetes import Objects, read_objects
from kroute.codec.services import service_of, slice_of
from kroute.model.communities import Communities
from kroute.model.net import Family
from kroute.model.service import AddressKind, NodeEndpoints, Service, TrafficPolicy
from support.services import endpoint, service_object, slice_object

CLUSTER, EXTERNAL, BALANCER = (
    AddressKind.CLUSTER_IP,
    AddressKind.EXTERNAL_IP,
    AddressKind.LOAD_BALANCER_IP,
)


def addresses(thing: Any) -> list[tuple[str, str]]:
    service, problems = service_of(thing)
    assert service is not None
    assert not problems
    return [(kind.value, str(address)) for kind, address in service.addresses]


def test_addresses_of_all_kinds_and_both_families_are_kept():
    thing = service_object(
        clusterIPs=["10.96.0.1", "fd00::1"], externalIPs=["198.51.100.1"], balancer=["203.0.113.1"]
    )
    assert addresses(thing) == [
        ("clusterIP", "10.96.0.1"),
        ("clusterIP", "fd00::1"),
        ("externalIP", "198.51.100.1"),
        ("loadBalancerIP", "203.0.113.1"),
    ]


def test_headless_services_and_names_of_others_have_no_address():
    assert addresses(service_object(clusterIPs=["None"])) == []
    assert addresses(service_object(type="ExternalName", externalIPs=["198.51.100.1"])) == []


def test_an_object_from_before_dual_stack_has_its_one_cluster_ip():
    thing = service_object()
    thing["spec"] = {"clusterIP": "10.96.0.9"}
    assert addresses(thing) == [("clusterIP", "10.96.0.9")]


def test_addresses_of_a_balancer_of_its_own_are_not_the_nodes_to_deliver():
    thing = service_object(balancer=["203.0.113.1", "203.0.113.2"])
    ingress = thing["status"]["loadBalancer"]["ingress"]
    ingress[0]["ipMode"] = "Proxy"
    ingress.append({"hostname": "lb.example"})
    assert addresses(thing)[-1] == ("loadBalancerIP", "203.0.113.2")


def test_policies_class_and_labels_are_kept():
    thing = service_object(
        externalTrafficPolicy="Local", internalTrafficPolicy="Cluster", loadBalancerClass="x/y"
    )
    thing["metadata"]["labels"] = {"app": "web"}
    service, _ = service_of(thing)
    assert service is not None
    assert service.policy(BALANCER) is TrafficPolicy.LOCAL
    assert service.policy(CLUSTER) is TrafficPolicy.CLUSTER
    assert (service.load_balancer_class, service.labels) == ("x/y", {"app": "web"})


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("true", {CLUSTER: True, EXTERNAL: True, BALANCER: True}),
        ("false", {CLUSTER: False, EXTERNAL: False, BALANCER: False}),
        ("externalIP, loadBalancerIP", {CLUSTER: False, EXTERNAL: True, BALANCER: True}),
    ],
)
def test_an_annotation_says_which_addresses_are_announced(
    text: str, wanted: dict[AddressKind, bool]
):
    service, problems = service_of(service_object(annotations={"kroute.io/advertise": text}))
    assert service is not None
    assert (service.advertise, problems) == (wanted, ())


def test_communities_stand_in_an_annotation():
    annotation = {"kroute.io/communities": "64512:100, no-export,64512:1:2, 70000:1"}
    service, problems = service_of(service_object(annotations=annotation))
    assert service is not None
    assert service.communities == Communities((0xFC000064, 0xFFFFFF01), ((64512, 1, 2),))
    (problem,) = problems
    assert problem.object == "service/default/web"
    assert "got '70000:1'; it is left out" in problem.reason


def test_a_bad_address_costs_only_itself():
    service, problems = service_of(
        service_object(externalIPs=["198.51.100.300", "127.0.0.1", "fe80::1", 7, "198.51.100.2"])
    )
    assert service is not None
    assert [str(a) for kind, a in service.addresses if kind is EXTERNAL] == ["198.51.100.2"]
    assert {p.field for p in problems} == {"spec.externalIPs"}
    assert len(problems) == 4


def test_an_unknown_policy_promises_less():
    service, problems = service_of(service_object(externalTrafficPolicy="Nearby"))
    assert service is not None
    assert service.external_policy is TrafficPolicy.LOCAL
    assert "'Nearby' is neither Cluster nor Local" in problems[0].reason


def test_endpoints_are_counted_by_node_and_state():
    found, problems = slice_of(
        slice_object(
            endpoint("n1"),
            endpoint("n1", ready=True, serving=True, terminating=False),
            endpoint("n1", ready=False, serving=True, terminating=True),
            endpoint("n2", ready=False, serving=False, terminating=True),
            endpoint("n3", ready=False, serving=False, terminating=False),
            endpoint("n4", ready=None),
            endpoint(None),
        )
    )
    assert found is not None
    assert not problems
    assert found.service_key == "default/web"
    assert found.nodes == (
        NodeEndpoints("", 1, 0),
        NodeEndpoints("n1", 2, 1),
        NodeEndpoints("n4", 1, 0),
    )


def test_a_slice_tells_its_family_and_one_of_names_has_no_endpoints():
    six, _ = slice_of(slice_object(endpoint("n1"), addressType="IPv6"))
    names, problems = slice_of(slice_object(endpoint("n1"), addressType="FQDN"))
    odd, complaints = slice_of(slice_object(endpoint("n1"), addressType="IPX"))
    assert six is not None
    assert names is not None
    assert odd is not None
    assert six.family is Family.IPV6
    assert (names.nodes, problems) == ((), ())
    assert odd.nodes == ()
    assert complaints[0].field == "addressType"


@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump])
def test_a_dump_of_all_kinds_is_read_in_one_go_and_services_only_where_wanted(write: Any):
    text = write({"kind": "List", "items": [service_object(), slice_object(endpoint("n1"))]})
    found = read_objects(text, "dump", services=True)
    assert [s.key for s in found.services] == ["default/web"]
    assert [s.key for s in found.slices] == ["default/web-1"]
    assert not found.nodes
    assert read_objects(text, "dump", services=False) == Objects()


@pytest.mark.parametrize("kind", ["ServiceList", "EndpointSliceList"])
def test_a_list_of_the_api_leaves_its_objects_kinds_to_itself(kind: str):
    things = [service_object(), slice_object(endpoint("n1"))]
    bare = [{k: v for k, v in thing.items() if k != "kind"} for thing in things]
    found = read_objects(json.dumps({"kind": kind, "items": bare}), "dump", services=True)
    assert bool(found.services) == (kind == "ServiceList")
    assert bool(found.slices) == (kind == "EndpointSliceList")


def test_what_is_no_service_is_told():
    for thing in (None, 7, {}, {"metadata": {"name": "a b"}}, {"metadata": []}):
        assert service_of(thing)[0] is None
        assert slice_of(thing)[1]


def test_equal_objects_are_equal_values():
    assert service_of(service_object()) == service_of(service_object())
    assert isinstance(hash(Service(namespace="a", name="b")), int)
