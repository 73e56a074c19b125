"""kube-router's node annotations: what can be read counts, what cannot is told, and no password is kept."""

from __future__ import annotations

import pickle
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kroute.codec.kube_router.annotations import node_annotations, node_keys
from kroute.model.kube_router import NodePeer
from kroute.model.session_keys import AnnotatedKey, Sealed


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


# --- passwords


def keys(**said: str):
    return node_keys({f"kube-router.io/{k.replace('_', '.')}": v for k, v in said.items()})


def listed(password: str):
    return keys(peers=f"[{{remoteip: 192.0.2.1, remoteasn: 64601, password: {password}}}]")


def test_passwords_of_the_list_and_of_the_older_lists_are_the_octets_that_base64_says():
    assert listed("c2VjcmV0") == {"192.0.2.1": AnnotatedKey(Sealed("secret"))}
    assert listed('"c2Vj\n  cmV0Cg=="') == {"192.0.2.1": AnnotatedKey(Sealed("secret\n"))}
    older = keys(
        peer_ips="192.0.2.1,2001:DB8::2, 192.0.2.3",
        peer_asns="64601,64602,64603",
        peer_passwords=",c2VjcmV0,",
    )
    assert older == {"2001:db8::2": AnnotatedKey(Sealed("secret"))}


@pytest.mark.parametrize("password", ["c2VjcmV", "c2Vj*mV0", "/w==", "not-standard_"])
def test_a_password_that_is_no_base64_is_a_key_that_cannot_be_used(password):
    (found,) = listed(password).values()
    assert found.key is None
    assert "not the base64" in found.complaint
    assert password not in found.complaint


@pytest.mark.parametrize("password", ["12345678", "0", "true", "1e10", "[a]"])
def test_a_password_that_is_no_text_to_yaml_is_never_taken_for_none(password):
    (found,) = listed(password).values()
    assert found.key is None
    assert "in quotes" in found.complaint
    assert (
        read(peers=f"[{{remoteip: 192.0.2.1, remoteasn: 1, password: {password}}}]")[0]
        .peers[0]
        .keyed
    )


@pytest.mark.parametrize("password", ['""', "null", "~", ""])
def test_no_password_is_none(password):
    assert listed(password) == {}


def test_of_two_entries_of_one_peer_the_first_has_the_password():
    twice = "[{remoteip: 192.0.2.1, remoteasn: 5, password: YQ==}, {remoteip: 192.0.2.1, remoteasn: 5, password: Yg==}]"
    assert keys(peers=twice) == {"192.0.2.1": AnnotatedKey(Sealed("a"))}


def test_what_is_sealed_is_not_printed_and_does_not_leave_the_process():
    sealed = Sealed("secret")
    assert "secret" not in f"{sealed} {sealed!r} {[AnnotatedKey(sealed)]}"
    assert sealed == Sealed("secret") != Sealed("other")
    with pytest.raises(TypeError, match="sealed"):
        pickle.dumps(sealed)
