"""Who may announce what: the states of RFC 6811, by what Kubernetes says."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from kroute.model.bgp import AsSegment, Attributes, Peer, PeerKind, SegmentType
from kroute.model.config import Config, OriginCheck, OriginMode
from kroute.model.config_peering import Accept, PeerConfig, Peering
from kroute.model.net import Family, family_of, nlri_of
from kroute.model.node import Node
from kroute.model.policies import OriginState
from kroute.model.reason import Why
from kroute.model.state import Observed
from kroute.plan import plan
from kroute.plan.origin import Origins, origin_check
from kroute.plan.policy import UNASKED, UNCHECKED, OriginVerdict
from support.routing import attributes, dual, packed, peer

V, X, U = OriginState.VALID, OriginState.INVALID, OriginState.UNKNOWN


def node(number: int, *cidrs: str, **more: Any) -> Node:
    held = cidrs or (f"10.244.{number}.0/24", f"fd00:244:{number}::/64")
    return Node(
        name=f"n{number}",
        addresses=dual(number),
        pod_cidrs=tuple(map(ip_network, held)),
        **more,
    )


NODES = [node(i) for i in (1, 2, 3, 5)]
SERVICES = "10.96.0.0/12"


def config(mode: OriginMode = OriginMode.ENFORCE, **tor: Any) -> Config:
    tors = PeerConfig(name="tor", address=ip_address("192.0.2.254"), asn=65001, **tor)
    return Config(
        peering=Peering(peers=(tors,)),
        origin_check=OriginCheck(mode=mode, cluster_ranges=(ip_network(SERVICES),)),
    )


def known(*nodes: Node, of: Config | None = None, listed: bool = True) -> Observed:
    return Observed(
        me="n1",
        config=of or config(),
        nodes={n.name: n for n in nodes or NODES},
        listed=listed,
    )


def check(observed: Observed) -> Any:
    return origin_check(observed, plan(observed).owners, UNCHECKED)


def said(
    prefix: str, of: Peer, found: Attributes, observed: Observed | None = None
) -> OriginVerdict:
    """What the check says of a prefix; and that its sieve lets pass what is not unknown."""
    net = ip_network(prefix)
    family, nlri = family_of(net), nlri_of(net)
    origins = check(observed or known())
    verdict = origins.judge(found, of, family, nlri)
    assert verdict == UNASKED or origins.related(family, [nlri]) == [nlri]
    return verdict


N3, N5 = peer(3), peer(5)
REFLECTOR = replace(peer(2, PeerKind.REFLECTOR), node="")
TOR = replace(peer(254, PeerKind.EXTERNAL), name="peer/tor", node="", configured="tor")
PODS3 = "10.244.3.0/24"


def via(hop: str, originator: str = "") -> Attributes:
    return attributes(hop, originator_id=packed(originator) if originator else None)


# --- from inside the cluster


@pytest.mark.parametrize(
    ("prefix", "of", "found", "state"),
    [
        (PODS3, N3, via("192.0.2.3"), V),
        (PODS3, N3, via("2001:db8::3"), V),
        (PODS3, N3, via("198.51.100.3"), V),  # the owner itself says where its pods are
        ("fd00:244:3::/64", N3, via("2001:db8::3"), V),
        (PODS3, N5, via("192.0.2.5"), X),
        (PODS3, N5, via("192.0.2.3"), V),  # it leads to the owner, whoever says so
        (PODS3, N5, via("192.0.2.5", "192.0.2.3"), X),  # anybody can write an ORIGINATOR_ID
        (PODS3, N5, via("198.51.100.5", "192.0.2.3"), X),
        (PODS3, REFLECTOR, via("192.0.2.3", "192.0.2.3"), V),
        (PODS3, REFLECTOR, via("192.0.2.5", "192.0.2.5"), X),
        (PODS3, REFLECTOR, via("192.0.2.5", "192.0.2.3"), X),
        (PODS3, REFLECTOR, via("198.51.100.3", "192.0.2.3"), V),  # an address Kubernetes lacks
        (PODS3, REFLECTOR, via("198.51.100.3", "192.0.2.5"), X),
        (PODS3, peer(2, PeerKind.REFLECTOR), via("192.0.2.2", "192.0.2.3"), V),  # next-hop-self
        (PODS3, peer(2, PeerKind.REFLECTOR), via("192.0.2.5", "192.0.2.3"), X),
        (PODS3, REFLECTOR, via("198.51.100.9"), X),
        ("10.244.3.7/32", N3, via("192.0.2.3"), V),  # a part of its own range
        ("10.244.3.128/25", N5, via("192.0.2.5"), X),
        ("10.244.1.0/24", N5, via("192.0.2.5"), X),
        ("10.244.1.9/32", N5, via("192.0.2.5"), X),
        ("10.244.0.0/16", N5, via("192.0.2.5"), U),
        ("0.0.0.0/0", N5, via("192.0.2.5"), U),
        ("10.96.0.10/32", N5, via("192.0.2.5"), U),
        ("10.244.4.0/24", N5, via("192.0.2.5"), U),  # nobody's yet
        ("203.0.113.0/24", N5, via("192.0.2.5"), U),
    ],
)
def test_a_podcidr_from_inside_the_cluster_is_its_nodes(
    prefix: str, of: Peer, found: Attributes, state: OriginState
):
    assert said(prefix, of, found).state is state


def test_the_reason_names_owner_and_announcer():
    def words(prefix: str, of: Peer, hop: str) -> tuple[Why, str]:
        reason = said(prefix, of, via(hop)).reason
        assert reason is not None
        return reason.why, reason.text

    assert words(PODS3, N5, "192.0.2.5") == (
        Why.ORIGIN_HIJACK,
        "10.244.3.0/24 belongs to node n3 (spec.podCIDRs); announced by node n5",
    )
    assert words("10.244.3.0/25", REFLECTOR, "192.0.2.5") == (
        Why.ORIGIN_MORE_SPECIFIC,
        "10.244.3.0/24, which it is part of, belongs to node n3 (spec.podCIDRs); announced by node n5",
    )
    assert words(PODS3, REFLECTOR, "198.51.100.9")[1].endswith("announced by node/n2")
    assert words("10.244.1.0/24", TOR, "192.0.2.254")[1] == (
        "10.244.1.0/24 belongs to this node (spec.podCIDRs); announced by peer/tor"
    )
    assert words("10.0.0.0/8", TOR, "192.0.2.254") == (
        Why.ORIGIN_COVERING,
        "10.244.1.0/24, which it covers, belongs to this node (spec.podCIDRs); "
        "announced from outside the cluster by peer/tor",
    )
    assert words("10.96.0.0/24", TOR, "192.0.2.254") == (
        Why.ORIGIN_CLUSTER_RANGE,
        "10.96.0.0/12, which it is part of, is the cluster's own (originCheck.clusterRanges); "
        "announced from outside the cluster by peer/tor",
    )


# --- from outside the cluster

OUTSIDE = via("192.0.2.254")


@pytest.mark.parametrize(
    ("prefix", "accept", "state"),
    [
        (PODS3, Accept.ALL, X),
        (PODS3, Accept.POD_CIDRS, U),
        ("10.244.1.0/24", Accept.POD_CIDRS, X),  # our own never comes from outside
        ("10.244.3.128/25", Accept.POD_CIDRS, X),
        ("10.244.3.128/25", Accept.ALL, X),
        ("10.244.0.0/16", Accept.ALL, X),
        ("0.0.0.0/0", Accept.NONE, X),
        ("0.0.0.0/0", Accept.POD_CIDRS, X),
        ("0.0.0.0/0", Accept.DEFAULT_ROUTE, U),
        ("::/0", Accept.DEFAULT_ROUTE, U),
        ("0.0.0.0/0", Accept.ALL, U),
        ("0.0.0.0/1", Accept.ALL, X),
        ("10.96.0.10/32", Accept.ALL, X),
        (SERVICES, Accept.ALL, X),
        ("10.64.0.0/10", Accept.ALL, X),
        ("10.245.0.0/24", Accept.ALL, U),
        ("203.0.113.0/24", Accept.ALL, U),
        ("fd00:244:3:0:1::/80", Accept.ALL, X),
        ("fd00:244::/32", Accept.ALL, X),
        ("2001:db8:1::/48", Accept.ALL, U),
    ],
)
def test_from_outside_comes_nothing_of_the_cluster_unless_configured(
    prefix: str, accept: Accept, state: OriginState
):
    assert said(prefix, TOR, OUTSIDE, known(of=config(accept=accept))).state is state


@pytest.mark.parametrize(
    ("prefix", "state"),
    [
        ("10.0.0.0/8", U),
        ("10.96.0.10/32", U),
        (PODS3, U),
        ("10.244.3.128/25", U),
        ("10.244.1.0/24", X),
    ],
)
def test_a_prefix_that_is_named_may_come_from_outside_unless_it_is_our_own(
    prefix: str, state: OriginState
):
    of = config(accept_prefixes=(ip_network(prefix),))
    assert said(prefix, TOR, OUTSIDE, known(of=of)).state is state


def test_anycast_addresses_may_come_from_outside_one_by_one():
    of = config(accept=Accept.ANYCAST, accept_prefixes=(ip_network("10.96.0.0/16"),))
    observed = known(of=of)
    assert said("10.96.7.7/32", TOR, OUTSIDE, observed).state is U
    assert said("10.96.7.0/24", TOR, OUTSIDE, observed).state is X
    assert said("10.97.0.1/32", TOR, OUTSIDE, observed).state is X
    assert said("10.244.3.7/32", TOR, OUTSIDE, observed).state is X


def test_a_podcidr_from_outside_that_leads_to_its_node_is_valid():
    assert said(PODS3, TOR, via("192.0.2.3")).state is V
    assert said("10.244.3.0/25", TOR, via("192.0.2.3")).state is X
    assert said("10.244.1.0/24", TOR, via("192.0.2.1")).state is X


def labelled(number: int, asn: int) -> Node:
    return node(number, labels={"kroute.io/asn": str(asn)})


def test_a_podcidr_from_outside_whose_path_began_in_its_nodes_as_is_valid():
    of = config(accept=Accept.ALL)
    of = replace(of, bgp=replace(of.bgp, asn_label="kroute.io/asn"))
    rack = [labelled(1, 64701), labelled(3, 64703), labelled(5, 64705)]
    observed = known(*rack, of=of)

    def state(prefix: str, *path: int) -> OriginState:
        return said(prefix, TOR, attributes("192.0.2.254", *path), observed).state

    assert state(PODS3, 65001, 64703) is V
    assert state(PODS3, 65001, 64705) is X
    assert state("10.244.3.0/25", 65001, 64703) is X
    assert state(PODS3) is X
    shared = known(*rack, labelled(6, 64703), of=of)
    assert said(PODS3, TOR, attributes("192.0.2.254", 65001, 64703), shared).state is X
    moved = known(labelled(1, 64701), labelled(3, 64713), labelled(5, 64705), of=of)
    assert PODS3 in (again(observed, moved) or ())
    aggregate = (*attributes("192.0.2.254", 65001).as_path, AsSegment(SegmentType.AS_SET, (64703,)))
    assert said(PODS3, TOR, replace(OUTSIDE, as_path=aggregate), observed).state is X


# --- what it follows from


def test_before_the_inventory_is_listed_nothing_is_known():
    assert check(known(listed=False)) is UNCHECKED


def test_off_asks_nothing_and_warn_refuses_nothing():
    assert check(known(of=config(OriginMode.OFF))) is UNCHECKED
    warned = said(PODS3, N5, via("192.0.2.5"), known(of=config(OriginMode.WARN)))
    assert (warned.state, warned.refused) == (X, False)
    assert warned.reason
    assert said(PODS3, N5, via("192.0.2.5")).refused


def test_who_lost_a_range_to_an_older_claimant_does_not_own_it():
    young = node(5, PODS3, created="2026-02-01T00:00:00Z")
    old = node(3, created="2026-01-01T00:00:00Z")
    assert said(PODS3, N5, via("192.0.2.5"), known(NODES[0], old, young)).state is X


def test_an_address_that_two_nodes_claim_is_eithers():
    thief = replace(node(5), addresses=(ip_address("192.0.2.3"),))
    assert said(PODS3, REFLECTOR, via("192.0.2.3"), known(NODES[0], node(3), thief)).state is V


def test_a_router_id_in_the_configuration_is_no_other_nodes():
    of = config()
    of = replace(of, bgp=replace(of.bgp, router_id="10.9.9.9"))
    hidden = via("198.51.100.3", "192.0.2.3")
    assert said(PODS3, REFLECTOR, hidden, known(of=of)).state is V


def test_equal_verdicts_are_the_same_value():
    origins = check(known())
    found = [
        origins.judge(via("192.0.2.5"), N5, Family.IPV4, nlri_of(ip_network(f"10.244.3.{i}/32")))
        for i in range(50)
    ]
    assert len({id(verdict) for verdict in found}) == 1


# --- what changes


class Block:
    """What a table holds, as far as a concern looks at it."""

    def __init__(self, found: Attributes) -> None:
        self.attributes = found
        self.base = self


TABLE = {
    nlri_of(ip_network(text)): Block(via(hop))
    for text, hop in (
        ("0.0.0.0/0", "192.0.2.254"),
        ("10.0.0.0/8", "192.0.2.254"),
        (PODS3, "192.0.2.3"),
        ("10.244.3.9/32", "192.0.2.7"),
        ("10.244.2.0/24", "192.0.2.2"),
        ("10.244.7.0/24", "192.0.2.7"),
        ("10.244.70.0/24", "192.0.2.7"),
        ("203.0.113.0/24", "192.0.2.7"),
    )
}


def again(before: Observed, after: Observed) -> set[str] | None:
    """The prefixes of the table that are judged again."""
    old = check(before)
    concern = origin_check(after, plan(after).owners, old).differs(old)
    if concern is None:
        return None
    found = concern.among(Family.IPV4, TABLE)
    return {str(ip_network((n[1:].ljust(4, b"\0"), n[0]))) for n in found}


def test_a_new_node_concerns_its_range_and_what_leads_to_it():
    joined = known(*NODES, node(7))
    wanted = {"0.0.0.0/0", "10.0.0.0/8", "10.244.7.0/24", "10.244.3.9/32"}
    assert again(known(), joined) == wanted
    assert again(joined, known()) == wanted


def test_another_address_of_a_node_concerns_what_leads_there():
    moved = replace(node(3), addresses=(ip_address("192.0.2.7"),))
    rest = [n for n in NODES if n.name != "n3"]
    assert again(known(), known(*rest, moved)) == {PODS3, "10.244.3.9/32"}


def test_what_does_not_concern_origins_changes_no_check():
    before = known()
    old = check(before)
    labelled = [replace(n, labels={"rack": "a"}) for n in NODES]
    assert origin_check(known(*labelled), plan(before).owners, old) is old


def test_a_changed_configuration_concerns_everything():
    assert again(known(), known(of=config(OriginMode.WARN))) is None
    assert again(known(), known(of=config(accept=Accept.ALL))) is None


def test_what_has_been_worked_out_is_lent():
    old = check(known())
    new = origin_check(known(*NODES, replace(node(9), pod_cidrs=())), plan(known()).owners, old)
    assert isinstance(new, Origins)
    assert new is not old
    assert new.related(Family.IPV4, TABLE) == old.related(Family.IPV4, TABLE)
