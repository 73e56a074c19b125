"""kube-router's node annotations: what can be read counts, what cannot is told, and no password is kept."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kroute.codec.kube_router.annotations import node_annotations
from kroute.model.kube_router import NodePeer


def read(**said: str):
    complaints: list[tuple[str, str]] = []
    keys = {f"kube-router.io/{k.replace('__', '-').replace('_', '.')}": v for k, v in said.items()}
    return node_annotations(keys, lambda key, why: complaints.append((key, why))), complaints


def test_others_annotations_say_nothing():
    assert node_annotations({"node.alpha.kubernetes.io/ttl": "0", "x": 1}, pytest.fail) is (None)


def test_the_list_of_peers():
    found, complaints = read(
        peers="""
        - {remoteip: 192.0.2.1, remoteasn: 64601, password: c2VjcmV0, localip: 192.0.2.11}
        - {remoteip: "2001:db8::1", remoteasn: 4200000000, port: 1790, bfd: {enabled: true}}
        """
    )
    assert not complaints
    assert found.peers == (
        NodePeer(
            address=ip_address("192.0.2.1"),
            asn=64601,
            local_address=ip_address("192.0.2.11"),
            keyed=True,
        ),
        NodePeer(address=ip_address("2001:db8::1"), asn=4200000000, port=1790),
    )
    assert "c2VjcmV0" not in repr(found)


def test_the_older_parallel_lists_with_blank_entries():
    found, complaints = read(
        peer_ips="192.0.2.1, 192.0.2.2", peer_asns="64601,64602", peer_passwords=",c2VjcmV0"
    )
    assert not complaints
    assert [(p.asn, p.keyed) for p in found.peers] == [(64601, False), (64602, True)]


def test_one_bad_peer_suffers_alone():
    found, complaints = read(
        peers="[{remoteip: nowhere, remoteasn: 1}, {remoteip: 192.0.2.1, remoteasn: 64601}, 7, "
        "{remoteip: 192.0.2.2, remoteasn: 0}, {remoteip: 192.0.2.1, remoteasn: 5}]"
    )
    assert [p.asn for p in found.peers] == [64601]
    assert {key for key, _ in complaints} == {f"kube-router.io/peers[{i}]" for i in (0, 2, 3, 4)}


@pytest.mark.parametrize("text", ["a: [", "just words", "{}"])
def test_a_list_that_is_none_is_told(text):
    found, complaints = read(peers=text)
    assert found.peers == ()
    assert complaints[0][0] == "kube-router.io/peers"


def test_lists_of_unequal_length_set_up_no_peer():
    found, complaints = read(peer_ips="192.0.2.1,192.0.2.2", peer_asns="64601")
    assert found.peers == ()
    assert complaints == [
        ("kube-router.io/peer.asns", "has 1 entries for 2 in peer.ips; no peer is set up")
    ]


def test_prepending_communities_ranges():
    found, complaints = read(
        path__prepend_as="64512",
        path__prepend_repeat__n="3",
        node_bgp_communities="64512:666, no-export, 4259840100, 70000:1",
        node_bgp_customimportreject="10.0.0.0/8,2001:db8::/32,x",
        pod__cidrs="10.244.9.0/24,fd00:9::/64",
    )
    assert found.prepend == (64512, 3)
    assert found.communities == (64512 << 16 | 666, 0xFFFFFF01, 4259840100)
    assert found.import_reject == (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))
    assert found.pod_cidrs == (ip_network("10.244.9.0/24"), ip_network("fd00:9::/64"))
    assert [key for key, _ in complaints] == [
        "kube-router.io/node.bgp.communities",
        "kube-router.io/node.bgp.customimportreject",
    ]


def test_half_a_prepending_is_told():
    found, complaints = read(path__prepend_as="64512")
    assert found.prepend is None
    assert complaints[0][0] == "kube-router.io/path-prepend.repeat-n"


@given(st.dictionaries(st.sampled_from(
    ["peers", "peer.ips", "peer.asns", "peer.ports", "path-prepend.as", "path-prepend.repeat-n",
     "node.bgp.communities", "node.bgp.customimportreject", "pod-cidrs"]), st.text()))  # fmt: skip
def test_any_text_is_read_or_told(said):
    node_annotations({f"kube-router.io/{k}": v for k, v in said.items()}, lambda _k, _w: None)
