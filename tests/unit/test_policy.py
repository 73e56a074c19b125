"""What is taken from a peer and what it is told, each refusal with its reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kroute.model.bgp import AsSegment, Attributes, PeerKind, SegmentType, Unknown
from kroute.model.config_peering import Accept
from kroute.model.reason import Why
from kroute.plan.paths import Path, Source
from kroute.plan.policy import (
    EVERYTHING,
    ExportRules,
    Self,
    acceptance,
    exported,
    import_refusal,
    quad,
)
from support.routing import ASN, ME4, ME6, SELF, V4, V6, attributes, n, packed, peer

REFLECTOR = Self(router_id=SELF.router_id, cluster_id=packed("10.0.0.9"), addresses=SELF.addresses)
MESH, CLIENT, RR, EXTERNAL = (
    PeerKind.MESH,
    PeerKind.CLIENT,
    PeerKind.REFLECTOR,
    PeerKind.EXTERNAL,
)

# --- import -----------------------------------------------------------------------------------------

REFUSED: list[tuple[str, Self, Attributes, Why]] = [
    ("our AS in the path", SELF, attributes("192.0.2.2", 65001, ASN), Why.AS_PATH_LOOP),
    (
        "our AS in a set",
        SELF,
        replace(attributes(), as_path=(AsSegment(SegmentType.AS_SET, (5, ASN)),)),
        Why.AS_PATH_LOOP,
    ),
    ("we are the originator", SELF, attributes(originator_id=SELF.router_id), Why.ORIGINATOR_LOOP),
    (
        "our cluster in the list",
        REFLECTOR,
        attributes(cluster_list=(packed("10.0.0.8"), packed("10.0.0.9"))),
        Why.CLUSTER_LOOP,
    ),
    ("own IPv4 next hop", SELF, attributes(str(ME4)), Why.OWN_NEXTHOP),
    ("own IPv6 next hop", SELF, attributes(str(ME6)), Why.OWN_NEXTHOP),
    ("no next hop", SELF, replace(attributes(), nexthop=b""), Why.BAD_NEXTHOP),
    ("a next hop of 5 octets", SELF, replace(attributes(), nexthop=bytes(5)), Why.BAD_NEXTHOP),
    ("0.0.0.0", SELF, attributes("0.0.0.0"), Why.BAD_NEXTHOP),
    ("::", SELF, attributes("::"), Why.BAD_NEXTHOP),
    ("multicast", SELF, attributes("224.0.0.1"), Why.BAD_NEXTHOP),
    ("loopback", SELF, attributes("127.0.0.1"), Why.BAD_NEXTHOP),
    ("IPv6 loopback", SELF, attributes("::1"), Why.BAD_NEXTHOP),
]


@pytest.mark.parametrize(("what", "me", "found", "why"), REFUSED, ids=[r[0] for r in REFUSED])
def test_a_path_that_loops_or_leads_nowhere_is_refused(
    what: str, me: Self, found: Attributes, why: Why
):
    reason = import_refusal(peer(2), found, me)
    assert reason is not None
    assert reason.why is why
    assert reason.text


ACCEPTED: list[tuple[str, Self, Attributes]] = [
    ("a plain path", SELF, attributes()),
    ("an IPv6 next hop", SELF, attributes("2001:db8::2")),
    ("another's originator id", SELF, attributes(originator_id=packed("192.0.2.7"))),
    ("another's cluster", REFLECTOR, attributes(cluster_list=(packed("10.0.0.8"),))),
    ("any cluster where we reflect nothing", SELF, attributes(cluster_list=(b"\0\0\0\0",))),
    ("foreign ASes", SELF, attributes("192.0.2.2", 65001, 65002)),
]


@pytest.mark.parametrize(("what", "me", "found"), ACCEPTED, ids=[a[0] for a in ACCEPTED])
def test_a_sound_path_is_not_refused(what: str, me: Self, found: Attributes):
    assert import_refusal(peer(2), found, me) is None


def test_the_as_of_a_session_is_the_one_that_loops_are_seen_by():
    guest = replace(peer(9, EXTERNAL), local_asn=65500)
    assert import_refusal(guest, attributes("192.0.2.9", 65009, 65500), SELF) is not None
    assert import_refusal(guest, attributes("192.0.2.9", 65009), SELF) is None


# --- acceptance -------------------------------------------------------------------------------------

OWNERS = {(V4, n("10.244.2.0/24")): "n2", (V6, n("fd00:2::/64")): "n2"}
NAMED = frozenset({(V4, n("198.51.100.0/24"))})


def accepted(accept: Accept, **changes: Any) -> Any:
    values = {"named": frozenset(), "owners": OWNERS, "kind": EXTERNAL, "internal": False}
    values |= changes
    return acceptance(
        values["kind"], values["internal"], accept, values["named"], values["owners"]
    ).exact


def test_nothing_is_accepted_from_an_external_peer_unless_asked_for():
    found = acceptance(EXTERNAL, internal=False, accept=Accept.NONE, named=frozenset(), owners={})
    assert found.exact == frozenset()
    reason = found.refusal()
    assert reason is not None
    assert (reason.why, "RFC 8212" in reason.text) == (Why.NOT_ACCEPTED, True)


def test_the_default_route_preset_names_the_default_route_of_both_families():
    assert accepted(Accept.DEFAULT_ROUTE) == {(V4, n("0.0.0.0/0")), (V6, n("::/0"))}


def test_the_pod_preset_names_what_nodes_own():
    assert accepted(Accept.POD_CIDRS) == set(OWNERS)


@pytest.mark.parametrize("accept", [Accept.NONE, Accept.DEFAULT_ROUTE, Accept.POD_CIDRS])
def test_named_prefixes_come_on_top_of_every_preset(accept: Accept):
    assert accepted(accept, named=NAMED) == accepted(accept) | NAMED


def test_all_accepts_all():
    assert accepted(Accept.ALL) is None
    assert EVERYTHING.refusal() is None


@pytest.mark.parametrize("kind", [MESH, CLIENT, RR])
def test_internal_peers_are_believed(kind: PeerKind):
    assert accepted(Accept.NONE, kind=kind, internal=True) is None


def test_a_reflector_in_another_as_is_not_believed():
    assert accepted(Accept.NONE, kind=RR, internal=False) == frozenset()


# --- export -----------------------------------------------------------------------------------------


def rules(kind: PeerKind, **changes: Any) -> ExportRules:
    values: dict[str, Any] = {
        "kind": kind,
        "internal": kind is not EXTERNAL,
        "local_asn": ASN,
        "router_id": SELF.router_id,
        "cluster_id": packed("10.0.0.9"),
        "nexthops": ((V4, ME4.packed), (V6, ME6.packed)),
        "extended_nexthop": False,
        "asn4": True,
        "message_size": 4096,
    }
    return ExportRules(**(values | changes))


def path(kind: PeerKind | None, found: Attributes | None = None) -> Path:
    source = Source(peer(2, kind) if kind else None, packed("192.0.2.22"))
    return Path(source, found or (attributes() if kind else Attributes()))


PASSED_ON = {
    (CLIENT, MESH),
    (CLIENT, CLIENT),
    (CLIENT, RR),
    (MESH, CLIENT),
    (RR, CLIENT),
}


@pytest.mark.parametrize("source", list(PeerKind))
@pytest.mark.parametrize("to", list(PeerKind))
def test_what_is_learned_is_passed_on_as_rfc_4456_has_it_and_never_to_or_from_external_peers(
    source: PeerKind, to: PeerKind
):
    told = exported(rules(to), path(source), V4)
    assert (told is not None) == ((source, to) in PASSED_ON)


@pytest.mark.parametrize("to", [MESH, CLIENT, RR])
@pytest.mark.parametrize(("family", "own"), [(V4, ME4), (V6, ME6)])
def test_internal_peers_are_told_our_prefixes_with_our_next_hop_and_local_pref(
    to: PeerKind, family: Any, own: Any
):
    assert exported(rules(to), path(None), family) == Attributes(nexthop=own.packed, local_pref=100)


@pytest.mark.parametrize(("family", "own"), [(V4, ME4), (V6, ME6)])
def test_external_peers_are_told_our_prefixes_with_our_as_and_nothing_internal(
    family: Any, own: Any
):
    told = exported(rules(EXTERNAL, local_asn=65500), path(None), family)
    assert told == Attributes(
        nexthop=own.packed, as_path=(AsSegment(SegmentType.AS_SEQUENCE, (65500,)),)
    )


def test_a_family_without_own_next_hop_is_not_told():
    four = rules(MESH, nexthops=((V4, ME4.packed),))
    assert exported(four, path(None), V4) is not None
    assert exported(four, path(None), V6) is None


def test_our_ipv4_prefixes_travel_with_an_ipv6_next_hop_where_the_session_says_so():
    told = exported(rules(MESH, nexthops=((V4, ME6.packed),)), path(None), V4)
    assert told is not None
    assert told.nexthop == ME6.packed


def test_a_reflected_path_keeps_its_next_hop_and_says_where_it_has_been():
    found = attributes(
        "192.0.2.2",
        65001,
        med=7,
        communities=(1, 2),
        cluster_list=(packed("10.0.0.8"),),
        unknown=(Unknown(flags=0xC0, code=99, value=b"x"),),
    )
    told = exported(rules(MESH), path(CLIENT, found), V4)
    assert told == replace(
        found,
        local_pref=100,
        originator_id=packed("192.0.2.22"),
        cluster_list=(packed("10.0.0.9"), packed("10.0.0.8")),
    )


def test_originator_id_is_set_once():
    first = packed("192.0.2.77")
    told = exported(rules(CLIENT), path(MESH, attributes(originator_id=first)), V4)
    assert told is not None
    assert told.originator_id == first


def test_local_pref_travels_with_a_reflected_path():
    told = exported(rules(CLIENT), path(CLIENT, attributes(local_pref=300)), V4)
    assert told is not None
    assert told.local_pref == 300


def test_the_link_local_half_of_a_next_hop_is_not_reflected():
    found = attributes("2001:db8::2", link_local=packed("fe80::2"))
    told = exported(rules(CLIENT), path(CLIENT, found), V6)
    assert told is not None
    assert (told.nexthop, told.link_local) == (packed("2001:db8::2"), b"")


def test_an_ipv6_next_hop_of_an_ipv4_path_is_reflected_only_to_those_who_can_read_it():
    found = path(CLIENT, attributes("2001:db8::2"))
    assert exported(rules(CLIENT), found, V4) is None
    assert exported(rules(CLIENT, extended_nexthop=True), found, V4) is not None
    assert exported(rules(CLIENT), found, V6) is not None


def test_a_path_that_says_no_advertise_is_passed_on_to_nobody():
    silent = path(CLIENT, attributes(communities=(0xFFFFFF02,)))
    local_only = path(CLIENT, attributes(communities=(0xFFFFFF01,)))
    for to in PeerKind:
        assert exported(rules(to), silent, V4) is None
    assert exported(rules(MESH), local_only, V4) is not None


def test_no_text_is_no_quad():
    assert quad("") == b""
    assert quad("10.0.0.9") == packed("10.0.0.9")
