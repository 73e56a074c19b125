"""kube-router's annotations in force: peers, policies and podCIDRs of the plan, and nothing unless asked for."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from kroute.codec.kubernetes import node_of
from kroute.codec.services import service_of
from kroute.model.config import Config
from kroute.model.config_peering import PeerConfig, Peering
from kroute.model.kernel import KernelState
from kroute.model.net import Family, nlri_of
from kroute.model.service import AddressKind, TrafficPolicy
from kroute.model.state import Observed
from kroute.plan import plan
from kroute.plan.kube_router import with_annotations
from kroute.plan.policy.assemble import Rulebook

ON = Peering(kube_router_annotations=True)
PEERS = "[{remoteip: 192.0.2.1, remoteasn: 64601, password: c2VjcmV0}]"


def node_with(**annotations: str):
    said = {
        f"kube-router.io/{k.replace('__', '-').replace('_', '.')}": v
        for k, v in annotations.items()
    }
    node, problems = node_of(
        {
            "metadata": {"name": "n1", "annotations": said},
            "spec": {"podCIDRs": ["10.244.1.0/24"]},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.11"}]},
        }
    )
    assert node is not None
    assert not problems
    return node


def seen(peering: Peering = ON, **annotations: str) -> Observed:
    nodes = {"n1": node_with(**annotations)}
    observed = Observed(me="n1", config=Config(peering=peering), nodes=nodes, listed=True)
    return with_annotations(replace(observed, kernel=KernelState()))


def test_an_annotated_peer_is_an_explicit_peer():
    found = plan(seen(peers=PEERS)).peers
    assert list(found) == ["peer/kube-router-192.0.2.1"]
    peer = found["peer/kube-router-192.0.2.1"]
    assert (str(peer.address), peer.asn) == ("192.0.2.1", 64601)
    assert peer.password_annotation
    assert (
        not plan(seen(peers=PEERS.replace("c2VjcmV0", '""'))).peers[peer.name].password_annotation
    )


def test_annotations_say_nothing_unless_asked_for():
    assert plan(seen(Peering(), peers=PEERS)).peers == {}


def test_what_the_configuration_says_of_an_address_goes_first():
    mine = PeerConfig(name="tor", address=ip_address("192.0.2.1"), asn=64999)
    found = plan(seen(replace(ON, peers=(mine,)), peers=PEERS)).peers
    assert [(name, peer.asn) for name, peer in found.items()] == [("peer/tor", 64999)]


def test_pod_cidrs_of_annotations_replace_those_of_the_object():
    desired = plan(seen(pod__cidrs="10.9.1.0/24,fd00:9::/64"))
    assert [str(o.prefix) for o in desired.originations] == ["10.9.1.0/24", "fd00:9::/64"]
    assert (Family.IPV4, nlri_of(ip_network("10.9.1.0/24"))) in desired.owners


def test_prepending_communities_and_refused_ranges_are_policies_of_external_peers():
    observed = seen(
        peers=PEERS,
        path__prepend_as="64512",
        path__prepend_repeat__n="2",
        node_bgp_communities="64512:666,planned-shut",
        node_bgp_customimportreject="10.0.0.0/8",
    )
    desired = plan(observed)
    rules = Rulebook(observed.config, observed.nodes, desired.owners).rules(desired.peers)
    (found,) = rules.values()
    assert found.exports.policy is not None
    assert found.imports.policy is not None
    exports, imports = observed.config.policies
    assert exports.name.endswith("import") != imports.name.endswith("import")
    said = {p.name: p.rules[0] for p in observed.config.policies}
    export = said["kube-router-annotations-export"].set
    assert (export.prepend.asn, export.prepend.times) == (64512, 2)
    assert export.communities.add == ("64512:666", "graceful-shutdown")
    (reject,) = said["kube-router-annotations-import"].match.prefixes
    assert (str(reject.prefix), reject.ge, reject.le) == ("10.0.0.0/8", 8, 32)


def test_a_peer_with_a_policy_of_its_own_keeps_it_and_internal_peers_have_none():
    peers = (
        PeerConfig(name="a", address=ip_address("192.0.2.1"), asn=64601, export="mine"),
        PeerConfig(name="b", address=ip_address("192.0.2.2"), asn=64512),
    )
    observed = seen(replace(ON, peers=peers), node_bgp_communities="64512:666")
    assert [p.export for p in observed.config.peering.peers] == ["mine", None]


def test_annotations_in_force_twice_are_in_force_once():
    observed = seen(peers=PEERS)
    assert [p.name for p in with_annotations(observed).config.peering.peers] == [
        "kube-router-192.0.2.1"
    ]


@pytest.mark.parametrize(
    ("annotations", "wishes"),
    [
        ({}, {}),
        ({"service.advertise.clusterip": "true"}, {AddressKind.CLUSTER_IP: True}),
        ({"service.advertise.externalip": "perhaps"}, {AddressKind.EXTERNAL_IP: False}),
        (
            {"service.advertise.loadbalancerip": "true", "service.skiplbips": ""},
            {AddressKind.LOAD_BALANCER_IP: False},
        ),
    ],
)
def test_annotations_of_services_are_wishes(annotations, wishes):
    said = {f"kube-router.io/{key}": value for key, value in annotations.items()}
    metadata = {"name": "web", "namespace": "default", "annotations": said}
    service, problems = service_of({"metadata": metadata, "spec": {"clusterIP": "10.96.0.10"}})
    assert not problems
    assert service is not None
    assert dict(service.advertise) == wishes


@pytest.mark.parametrize(
    ("said", "policy"), [("true", TrafficPolicy.LOCAL), ("false", TrafficPolicy.CLUSTER)]
)
def test_service_local_is_the_external_traffic_policy_local(said: str, policy: TrafficPolicy):
    metadata = {"name": "web", "annotations": {"kube-router.io/service.local": said}}
    service, _ = service_of({"metadata": metadata, "spec": {"clusterIP": "10.96.0.10"}})
    assert service is not None
    assert service.external_policy is policy
    assert service.internal_policy is TrafficPolicy.CLUSTER
