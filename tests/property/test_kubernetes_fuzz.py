"""Whatever an API server, a kubelet or a file says: an answer, never an exception of another kind."""

from __future__ import annotations

import json
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from kroute.codec.kubernetes import node_of, read_nodes, read_objects
from kroute.codec.services import service_of, slice_of
from kroute.model.errors import InputError
from kroute.model.node import Node
from support.inventory import node_object

ADDRESSES = st.sampled_from(
    ["10.0.0.1", "fd00::1", "x", "0.0.0.0", "fe80::1%eth0", "10.0.0.1/24", ""]
)
TEXT = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=12)
"""Without pairs of surrogates, which JSON and YAML escape differently."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | ADDRESSES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


def mapping(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A mapping with some of the keys, or anything else."""
    return JSON | st.fixed_dictionaries({}, optional={k: v | JSON for k, v in values.items()})


ENTRIES = st.lists(mapping(type=st.sampled_from(["InternalIP", "ExternalIP"]), address=ADDRESSES))
CONDITIONS = st.lists(mapping(type=st.just("Ready"), status=st.sampled_from(["True", "Unknown"])))
NODES = mapping(
    kind=st.sampled_from(["Node", "List", "NodeList", "Service"]),
    metadata=mapping(
        name=st.sampled_from(["n1", "n2", "a b"]),
        labels=mapping(a=JSON),
        annotations=mapping(a=JSON),
        creationTimestamp=JSON,
    ),
    spec=mapping(podCIDR=ADDRESSES, podCIDRs=st.lists(ADDRESSES | JSON), unschedulable=JSON),
    status=mapping(addresses=ENTRIES, conditions=CONDITIONS),
)


SERVICES = mapping(
    kind=st.sampled_from(["Service", "ServiceList"]),
    metadata=mapping(
        name=st.sampled_from(["web", "a b"]),
        namespace=st.sampled_from(["default", ""]),
        annotations=mapping(
            **{
                "kroute.io/advertise": st.sampled_from(["true", "clusterIP,x", ","]),
                "kroute.io/communities": st.sampled_from(["1:2", "1:2:3", "no-export,9", ":"]),
            }
        ),
    ),
    spec=mapping(
        type=st.sampled_from(["ClusterIP", "LoadBalancer", "ExternalName"]),
        clusterIP=ADDRESSES,
        clusterIPs=st.lists(ADDRESSES | JSON),
        externalIPs=st.lists(ADDRESSES | JSON),
        externalTrafficPolicy=st.sampled_from(["Local", "Cluster", "local"]),
    ),
    status=mapping(
        loadBalancer=mapping(
            ingress=st.lists(mapping(ip=ADDRESSES, ipMode=st.sampled_from(["VIP", "Proxy"])))
        )
    ),
)
CONDITION = st.booleans() | st.none()
SLICES = mapping(
    metadata=mapping(
        name=st.just("web-1"), labels=mapping(**{"kubernetes.io/service-name": st.just("web")})
    ),
    addressType=st.sampled_from(["IPv4", "IPv6", "FQDN", "IPX"]),
    endpoints=st.lists(
        mapping(
            nodeName=st.sampled_from(["n1", "n2"]),
            conditions=mapping(ready=CONDITION, serving=CONDITION, terminating=CONDITION),
        )
    ),
)


@given(SERVICES)
def test_any_object_is_a_service_or_a_problem(thing: Any):
    service, problems = service_of(thing)
    assert service is not None or problems
    assert all(len(p.reason) < 400 for p in problems)
    if service is not None:
        assert isinstance(hash(service), int)
        assert not any(a.is_loopback or a.is_multicast for _, a in service.addresses)


@given(SLICES)
def test_any_object_is_an_endpoint_slice_or_a_problem(thing: Any):
    found, problems = slice_of(thing)
    assert found is not None or problems
    assert found is None or all(n.ready + n.draining > 0 for n in found.nodes)


@given(
    st.lists(SERVICES | SLICES | NODES, max_size=4),
    st.sampled_from(["List", "ServiceList", "EndpointSliceList"]),
)
def test_json_and_yaml_of_the_same_services_are_the_same(items: list[Any], kind: str):
    text = json.dumps({"items": items, "kind": kind})
    assert everything(text) == everything(f"# yaml\n{text}")


def everything(text: str) -> Any:
    """What a text says of nodes and services, or that it is refused."""
    try:
        return read_objects(text, "file", services=True)
    except InputError:
        return None


def is_sound(node: Node) -> bool:
    """Whether a node holds what its type promises."""
    texts = [*node.labels.items(), *node.annotations.items(), (node.created, node.uid)]
    return (
        all(isinstance(a, str) and isinstance(b, str) for a, b in texts)
        and not any(a.is_unspecified or a.is_multicast for a in node.addresses)
        and all(c.prefixlen > 0 for c in node.pod_cidrs)
        and isinstance(node.ready, bool)
        and isinstance(hash(node), int)
    )


@given(NODES)
def test_any_object_is_a_node_or_a_problem(thing: Any):
    node, problems = node_of(thing)
    assert node is not None or problems
    assert node is None or is_sound(node)
    assert all(len(p.reason) < 400 for p in problems)


@given(st.lists(NODES, max_size=4), st.sampled_from(["List", "NodeList", "ServiceList", None, 7]))
def test_json_and_yaml_of_the_same_list_are_the_same(items: list[Any], kind: Any):
    text = json.dumps({"items": items, "kind": kind})
    assert read(text) == read(f"# yaml\n{text}")


@given(st.text())
def test_any_text_is_nodes_or_an_input_error(text: str):
    read(text)
    read("{" + text)


@given(st.data())
def test_a_list_cut_or_garbled_anywhere_is_nodes_or_an_input_error(data: st.DataObject):
    write = data.draw(st.sampled_from([json.dumps, yaml.safe_dump]))
    whole = write({"kind": "List", "items": [node_object(1), node_object(2)]})
    at = data.draw(st.integers(0, len(whole)))
    text = whole[:at] + data.draw(st.text(max_size=3)) + whole[at + data.draw(st.integers(0, 3)) :]
    read(text)


def read(text: str) -> Any:
    """What a text says, or that it is refused."""
    try:
        return read_nodes(text, "file")
    except InputError:
        return None
