"""KNI's decisions: what plugins are told, what is answered."""

from __future__ import annotations

import pytest

from kroute.model.kni import (
    Attachment,
    AttachRequest,
    DnsConfig,
    Generation,
    KniError,
    NodeFacts,
    OtherNode,
    Phase,
    Pool,
    PortMapping,
    Refusal,
    Wiring,
)
from kroute.plan import kni as plan


def attachment(**more) -> Attachment:
    base = {"id": "a", "netns": "/n/a", "phase": Phase.ATTACHED, "generation": Generation.V008}
    return Attachment(**base | {"boot": "b"} | more)


def facts(**more) -> NodeFacts:
    base = {"node": "n1", "pod_cidrs": ("10.0.0.0/24",), "conflist_written": True}
    return NodeFacts(**base | more)


def test_capabilities_hold_what_the_request_says_and_nothing_empty():
    request = AttachRequest(
        dns_config=DnsConfig(servers=("10.96.0.10",)),
        port_mappings=(
            PortMapping(protocol=1, container_port=53, host_port=5353, host_ip="192.0.2.1"),
            PortMapping(container_port=80),
        ),
        annotations={
            "kubernetes.io/ingress-bandwidth": "10M",
            "kroute.io/ips": "10.0.0.9, fd00::9",
        },
        extradata={"cgroupPath": "/kubepods/x"},
    )
    offered = plan.capabilities(request)
    assert offered["portMappings"] == [
        {"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "192.0.2.1"}
    ]
    assert offered["bandwidth"] == {"ingressRate": 10_000_000, "ingressBurst": 4294967295}
    assert offered["dns"] == {"servers": ["10.96.0.10"]}
    assert offered["ips"] == ["10.0.0.9", "fd00::9"]
    assert offered["cgroupPath"] == "/kubepods/x"
    assert plan.capabilities(AttachRequest()) == {}


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1k", 1000),
        ("1.5M", 1_500_000),
        ("1e6", 10**6),
        ("2E3", 2000),
        ("0.5Gi", 1 << 29),
        (".001G", 10**6),
        ("1234.2", 1235),
        ("1P", 10**15),
        ("+8Ki", 8192),
    ],
)
def test_a_bandwidth_is_any_quantity_of_kubernetes(text, rate):
    annotations = {"kubernetes.io/egress-bandwidth": text}
    offered = plan.capabilities(AttachRequest(annotations=annotations))
    assert offered["bandwidth"]["egressRate"] == rate


@pytest.mark.parametrize("rate", ["fast", "10m", "999", "2P", "-1k", "1e", "1.M.", ".", "1E"])
def test_a_bandwidth_that_is_none_is_refused(rate):
    request = AttachRequest(annotations={"kubernetes.io/egress-bandwidth": rate})
    with pytest.raises(KniError, match="egress-bandwidth"):
        plan.capabilities(request)


@pytest.mark.parametrize(
    "port",
    [
        {"host_port": 70000, "container_port": 80},
        {"host_port": -1, "container_port": 80},
        {"host_port": 8080, "container_port": 0},
        {"host_port": 8080, "container_port": 70000},
        {"host_port": 8080, "container_port": 80, "protocol": 3},
    ],
)
def test_a_port_mapping_that_is_none_is_refused(port):
    with pytest.raises(KniError, match="port mapping") as caught:
        plan.capabilities(AttachRequest(port_mappings=(PortMapping(**port),)))
    assert caught.value.refusal is Refusal.INVALID


def test_cni_args_leave_out_what_would_break_them():
    assert plan.cni_args("c1", "web", "a;b", "u=1") == (
        "IgnoreUnknown=1;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c1"
    )


@pytest.mark.parametrize(
    ("annotations", "networks"),
    [
        ({}, ()),
        ({"kni.io/multi-network": "a@net7, b"}, (("a", "net7"), ("b", "net2"))),
        ({"k8s.v1.cni.cncf.io/networks": "ns/a,b@x"}, (("a", "net1"), ("b", "x"))),
        (
            {"k8s.v1.cni.cncf.io/networks": '[{"name": "a"}, {"name": "b", "interface": "x"}]'},
            (("a", "net1"), ("b", "x")),
        ),
    ],
)
def test_further_networks_come_from_either_annotation(annotations, networks):
    assert plan.further_networks(annotations) == networks


@pytest.mark.parametrize(
    "text", ["a@eth0", "a@lo", "a@x,b@x", "a@much-too-long-a-name", "a b@x", "[1]"]
)
def test_networks_that_cannot_be_are_refused(text):
    with pytest.raises(KniError):
        plan.further_networks({"k8s.v1.cni.cncf.io/networks": text})


def test_a_reply_names_every_interface_of_the_result_once():
    result = {
        "interfaces": [{"name": "br"}, {"name": "eth0", "mac": "02:00:00:00:00:01"}],
        "ips": [
            {"interface": 1, "address": "10.0.0.2/24", "gateway": "10.0.0.1"},
            {"address": "fd00::2/64"},
        ],
    }
    known = attachment(wirings=(Wiring(interface="eth0", network={}, result=result),))
    reply = plan.pod_reply(known)
    assert set(reply.ipconfigs) == {"eth0", "br", "lo"}
    assert reply.ipconfigs["eth0"].ip == ("10.0.0.2", "fd00::2")
    assert reply.ipconfigs["eth0"].extradata == {
        "cidrs": "10.0.0.2/24,fd00::2/64",
        "gateways": "10.0.0.1",
    }


@pytest.mark.parametrize("phase", [Phase.ATTACHING, Phase.DETACHING])
def test_a_pod_that_comes_or_goes_reads_empty(phase):
    assert plan.pod_reply(attachment(phase=phase)).ipconfigs == {}


def test_readiness_needs_podcidr_conflist_plugins_and_store_but_no_free_address():
    full = Pool(prefix="10.0.0.0/24", size=253, used=253)
    own = plan.nodes_reply(facts(pools=(full,))).networks[0]
    assert own.ready
    assert own.extradata["exhausted"] == "10.0.0.0/24"
    for lacking in (
        {"pod_cidrs": ()},
        {"conflist_written": False},
        {"missing_plugins": ("bridge",)},
        {"store_fault": "the disk is full"},
    ):
        own = plan.nodes_reply(facts(**lacking)).networks[0]
        assert not own.ready
        assert own.extradata["reasons"]


def test_other_nodes_follow_the_own_one_and_are_ready_when_routed_to():
    there = OtherNode(name="n2", pod_cidrs=("a", "b"), established=1, sessions=1, routed=2)
    gone = OtherNode(name="n3", pod_cidrs=("c",), established=0, sessions=1, routed=0)
    own, *others = plan.nodes_reply(facts(others=(there, gone))).networks
    assert own.extradata["node"] == "n1"
    assert [(n.name, n.ready) for n in others] == [("node/n2", True), ("node/n3", False)]


def test_an_age_is_never_negative_however_the_clock_jumps():
    (row,) = plan.pods([attachment(since=1000.0)], 10.0)
    assert row["age"] == 0.0
