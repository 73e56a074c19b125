"""Kubernetes objects to nodes: what is taken, what is refused, and that one bad entry costs itself only."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from kroute.codec.kubefields import LONGEST_ANNOTATION, MOST_ENTRIES
from kroute.codec.kubernetes import node_of, read_nodes
from kroute.model.errors import InputError
from kroute.model.net import Family
from kroute.model.node import Node
from support.inventory import node_object


def node(**parts: Any) -> Node:
    found, problems = node_of({**node_object(1), **parts})
    assert found is not None
    assert not problems
    return found


def complaints(**parts: Any) -> tuple[Node, list[str]]:
    found, problems = node_of({**node_object(1), **parts})
    assert found is not None
    assert {p.object for p in problems} <= {"node/n1"}
    return found, [f"{p.field}: {p.reason}" for p in problems]


def names(text: str) -> list[str]:
    nodes, problems = read_nodes(text, "file")
    assert not problems
    return [n.name for n in nodes]


def addresses(*pairs: tuple[str, Any]) -> dict[str, Any]:
    return {"addresses": [{"type": kind, "address": text} for kind, text in pairs]}


def test_a_node_keeps_what_routing_needs():
    thing = node_object(3, rack="r1")
    thing["metadata"] |= {"uid": "u-3", "annotations": {"kroute.io/x": "y"}}
    thing["spec"]["unschedulable"] = True
    found, problems = node_of(thing)
    assert not problems
    assert found is not None
    assert (found.name, found.uid, found.created) == ("n3", "u-3", "2026-01-01T00:00:00Z")
    assert found.labels == {"rack": "r1"}
    assert found.annotations == {"kroute.io/x": "y"}
    assert found.unschedulable
    assert [str(c) for c in found.pod_cidrs] == ["10.244.3.0/24"]


@pytest.mark.parametrize(
    ("conditions", "ready"),
    [
        (
            [{"type": "Ready", "status": "True"}, {"type": "MemoryPressure", "status": "False"}],
            True,
        ),
        ([{"type": "Ready", "status": "False"}], False),
        ([{"type": "Ready", "status": "Unknown"}], False),
        ([{"type": "Ready"}], True),
        (["Ready", None], True),
        ("Ready", True),
        (None, True),
    ],
)
def test_a_node_is_ready_unless_its_condition_says_otherwise(conditions: Any, ready: bool):
    assert node(status={"conditions": conditions}).ready is ready


def test_internal_addresses_count_and_keep_their_order():
    found = node(
        status=addresses(
            ("Hostname", "n1"),
            ("ExternalIP", "203.0.113.1"),
            ("InternalIP", "2001:db8::1"),
            ("InternalIP", "10.0.0.1"),
            ("InternalIP", "10.0.0.1"),
        )
    )
    assert [str(a) for a in found.addresses] == ["2001:db8::1", "10.0.0.1"]
    assert str(found.primary) == "2001:db8::1"
    assert str(found.address(Family.IPV4)) == "10.0.0.1"


def test_external_addresses_stand_in_where_there_are_no_internal_ones():
    found = node(status=addresses(("Hostname", "n1"), ("ExternalIP", "203.0.113.1")))
    assert str(found.primary) == "203.0.113.1"


def test_pod_cidrs_are_preferred_over_the_single_pod_cidr():
    both = node(spec={"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00::/64"]})
    assert [str(c) for c in both.pod_cidrs] == ["10.1.0.0/24", "fd00::/64"]
    assert [str(c) for c in node(spec={"podCIDR": "10.1.0.0/24"}).pod_cidrs] == ["10.1.0.0/24"]
    assert node(spec={"podCIDR": "", "podCIDRs": []}).pod_cidrs == ()


@pytest.mark.parametrize("parts", [{"spec": None, "status": None}, {"spec": {}, "status": {}}])
def test_a_node_may_have_neither_podcidr_nor_address_yet(parts: dict[str, Any]):
    found = node(**parts)
    assert found.pod_cidrs == ()
    assert found.primary is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "n1.example",
        "10.0.0.256",
        "0.0.0.0",
        "224.0.0.5",
        "127.0.0.1",
        "::1",
        "255.255.255.255",
        "::",
        "fe80::1%eth0",
        7,
        None,
        {},
    ],
)
def test_an_address_that_no_session_can_use_is_left_out_and_told(text: Any):
    found, told = complaints(status=addresses(("InternalIP", text), ("InternalIP", "10.0.0.9")))
    assert [str(a) for a in found.addresses] == ["10.0.0.9"]
    assert len(told) == 1
    assert told[0].startswith("status.addresses: InternalIP ")


@pytest.mark.parametrize(
    "text",
    ["10.244.1.1/24", "10.244.1.0/33", "10.244.1.0", "10.244.1.0/255.255.255.0", "pods", "0.0.0.0/0",
     "::/0", "224.0.0.0/4", "127.0.0.0/8", "/", "/24", 7, None, "0.0.0.0/1", "10.0.0.0/7", "fc00::/15"],
)  # fmt: skip
def test_a_podcidr_that_is_none_is_left_out_and_told(text: Any):
    found, told = complaints(spec={"podCIDRs": [text, "10.9.0.0/24"]})
    assert [str(c) for c in found.pod_cidrs] == ["10.9.0.0/24"]
    assert len(told) == 1
    assert told[0].startswith("spec.podCIDRs: ")
    assert told[0].endswith("it is left out")


def test_a_podcidr_that_contains_the_nodes_own_address_is_left_out_and_told():
    cidrs = ["10.0.0.0/24", "2001:db8::/48", "10.0.1.0/24"]
    status = addresses(("InternalIP", "10.0.0.9"), ("InternalIP", "2001:db8::9"))
    found, told = complaints(status=status, spec={"podCIDRs": cidrs})
    assert [str(c) for c in found.pod_cidrs] == ["10.0.1.0/24"]
    assert told == [
        "spec.podCIDRs: 10.0.0.0/24 contains the node's own address 10.0.0.9; it is left out",
        "spec.podCIDRs: 2001:db8::/48 contains the node's own address 2001:db8::9; it is left out",
    ]


def test_the_widest_podcidrs_that_are_believed():
    cidrs = ["11.0.0.0/8", "fd00::/16"]
    assert [str(c) for c in node(spec={"podCIDRs": cidrs}).pod_cidrs] == cidrs


@pytest.mark.parametrize("name", [None, "", 7, "a b", "-a", "a\nb", "x" * 254, "a/b", ["a"]])
def test_what_has_no_nodes_name_is_no_node(name: Any):
    found, (problem,) = node_of({"metadata": {"name": name}})
    assert found is None
    assert problem.field == "metadata.name"


def test_one_node_cannot_flood_the_report():
    many = [("InternalIP", f"bad{i}") for i in range(10_000)]
    metadata = {"name": "n1", "labels": {f"l{i}": i for i in range(10_000)}}
    _, told = complaints(
        metadata=metadata, status=addresses(*many), spec={"podCIDRs": ["x" * 10_000] * 10_000}
    )
    assert len(told) <= 3 * MOST_ENTRIES
    assert max(map(len, told)) < 200


def test_long_annotations_are_left_out():
    metadata = node_object(1)["metadata"]
    metadata["annotations"] = {"short": "yes", "long": "x" * (LONGEST_ANNOTATION + 1)}
    assert node(metadata=metadata).annotations == {"short": "yes"}


@pytest.mark.parametrize("key", ["labels", "annotations"])
@pytest.mark.parametrize("value", [True, 1, None, [], {}])
def test_a_label_without_quotes_is_left_out_and_told(key: str, value: Any):
    metadata = {**node_object(1)["metadata"], key: {"kroute.io/odd": value, "kroute.io/good": "1"}}
    found, told = complaints(metadata=metadata)
    assert getattr(found, key) == {"kroute.io/good": "1"}
    assert told == [
        f"metadata.{key}: 'kroute.io/odd' is no text; write its value in quotes; it is left out"
    ]


def test_nodes_hold_the_labels_that_they_share_once():
    texts = [
        f'{{"metadata": {{"name": "n{i}", "labels": {{"some/label": "a value"}}}}}}' for i in (1, 2)
    ]
    first, second = (read_nodes(text, "file")[0][0] for text in texts)
    assert next(iter(first.labels)) is next(iter(second.labels))
    assert first.labels["some/label"] is second.labels["some/label"]


# --- texts --------------------------------------------------------------------------------------------

ITEMS = [node_object(1), node_object(2)]
SERVICE = {"kind": "Service", "metadata": {"name": "s"}}


@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump], ids=["json", "yaml"])
@pytest.mark.parametrize(
    ("document", "found"),
    [
        (node_object(1), ["n1"]),
        ({"metadata": {"name": "bare"}}, ["bare"]),
        ({"kind": "List", "items": [*ITEMS, SERVICE]}, ["n1", "n2"]),
        ({"kind": "NodeList", "items": [{"metadata": {"name": "n1"}}]}, ["n1"]),
        ({"kind": "ServiceList", "items": [{"metadata": {"name": "s"}}]}, []),
        ({"kind": "NodeList", "items": None}, []),
        ({"kind": "NodeList", "items": {"a": 1}}, []),
        ({"kind": "NodeList"}, []),
        (SERVICE, []),
        ({"items": ITEMS, "kind": "List", "metadata": {"resourceVersion": ""}}, ["n1", "n2"]),
    ],
    ids=range(10),
)
def test_documents_of_all_shapes_are_read(write: Any, document: Any, found: list[str]):
    assert names(write(document)) == found


def test_several_documents_are_read_in_order():
    text = yaml.safe_dump_all([node_object(2), None, {"kind": "List", "items": ITEMS[:1]}, SERVICE])
    assert names(text) == ["n2", "n1"]


def test_json_documents_one_after_another_are_read_as_yaml_documents_only_when_marked():
    one = json.dumps(node_object(1))
    assert names(f"---\n{one}\n---\n{one}") == ["n1", "n1"]
    with pytest.raises(InputError):
        read_nodes(one + one, "file")


@pytest.mark.parametrize("text", ["", " \n\t\n", "\n"])
def test_an_empty_text_is_an_error_since_files_are_empty_while_they_are_written(text: str):
    with pytest.raises(InputError, match="file: is empty"):
        read_nodes(text, "file")


@pytest.mark.parametrize("cut", [1, 20, 100, 300, 500])
def test_half_of_a_json_list_is_an_error(cut: int):
    text = json.dumps({"kind": "List", "items": ITEMS})
    with pytest.raises(InputError):
        read_nodes(text[:-cut], "file")


def test_a_broken_text_is_told_with_its_line():
    with pytest.raises(InputError, match="file: line 4: is not YAML"):
        read_nodes("kind: Node\nmetadata:\n  name: [n1\nspec: {}\n", "file")


def test_a_key_that_stands_twice_is_an_error_in_json_too():
    with pytest.raises(InputError, match="a second time"):
        read_nodes('{"kind": "Node",\n "kind": "Node"}', "file")


def test_a_document_that_is_no_object_is_a_problem():
    nodes, (problem,) = read_nodes("just text", "file")
    assert not nodes
    assert "no object" in problem.reason


def test_aliases_between_the_items_of_a_list_are_followed():
    text = (
        "kind: List\nitems:\n- kind: Node\n  metadata: {name: a}\n  spec: &s {podCIDR: 10.1.0.0/24}\n"
        "- kind: Node\n  metadata: {name: b}\n  spec: *s\n"
    )
    nodes, _ = read_nodes(text, "file")
    assert [str(n.pod_cidrs[0]) for n in nodes] == ["10.1.0.0/24"] * 2
