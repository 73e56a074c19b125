"""Every path attribute: what it becomes, and what RFC 7606 makes of it when it is wrong."""

from __future__ import annotations

from struct import pack

import pytest

from kroute.codec.bgp import Action
from kroute.codec.bgp.drafts import fresh_draft, make_segment
from kroute.model.bgp import AsSegment, Attributes, Origin, SegmentType, Unknown
from support.bgp_bytes import (
    AS_PATH,
    LOCAL_PREF,
    MANDATORY,
    NEXT_HOP,
    ORIGIN,
    V4,
    address,
    announcement,
    attribute,
    decoder,
    nlri,
    only_attributes,
    sequence,
)

SEQ, SET = SegmentType.AS_SEQUENCE, SegmentType.AS_SET
CONFED = b"\3\1" + pack(">I", 65001)


@pytest.mark.parametrize(
    "extra, field, value",
    [
        (attribute(4, pack(">I", 77)), "med", 77),
        (attribute(4, pack(">I", 77), wide=True), "med", 77),
        (LOCAL_PREF, "local_pref", 100),
        (attribute(6, b""), "atomic_aggregate", True),
        (attribute(7, pack(">I", 70000) + b"\1\2\3\4"), "aggregator", (70000, b"\1\2\3\4")),
        (attribute(8, pack(">III", 9, 5, 9)), "communities", (5, 9)),
        (attribute(9, b"\1\2\3\4"), "originator_id", b"\1\2\3\4"),
        (attribute(10, b"\1\2\3\4\5\6\7\x08"), "cluster_list", (b"\1\2\3\4", b"\5\6\7\x08")),
        (attribute(16, bytes(8)), "extended_communities", (bytes(8),)),
        (attribute(32, pack(">6I", 3, 2, 1, 1, 2, 3)), "large_communities", ((1, 2, 3), (3, 2, 1))),
        (attribute(8, pack(">I", 5), flags=0xE0), "communities", (5,)),
        (attribute(99, b"x", 0xC0), "unknown", (Unknown(flags=0xC0, code=99, value=b"x"),)),
        (attribute(99, b"x", 0xF0), "unknown", (Unknown(flags=0xE0, code=99, value=b"x"),)),
        (attribute(99, b"x", 0x80), "unknown", ()),
    ],
)
def test_each_attribute_fills_its_field(extra, field, value):
    result = decoder().decode(announcement(MANDATORY + extra))
    assert getattr(only_attributes(result), field) == value
    assert not result.problems


@pytest.mark.parametrize(
    "octets, path",
    [
        (b"", ()),
        (sequence(1, 70000), (AsSegment(SEQ, (1, 70000)),)),
        (sequence(*range(1, 41)), (AsSegment(SEQ, tuple(range(1, 41))),)),
        (
            sequence(1) + b"\1\2" + pack(">II", 2, 3),
            (AsSegment(SEQ, (1,)), AsSegment(SET, (2, 3))),
        ),
        (
            CONFED + sequence(1),
            (AsSegment(SegmentType.AS_CONFED_SEQUENCE, (65001,)), AsSegment(SEQ, (1,))),
        ),
    ],
)
def test_as_paths(octets, path):
    for wide in (False, True):
        block = ORIGIN + attribute(2, octets, wide=wide) + NEXT_HOP
        assert only_attributes(decoder().decode(announcement(block))).as_path == path


@pytest.mark.parametrize("value", Origin)
def test_origins(value):
    block = attribute(1, bytes((value,))) + AS_PATH + NEXT_HOP
    assert only_attributes(decoder().decode(announcement(block))).origin is value


def without(code: int) -> bytes:
    """The mandatory attributes but one."""
    return b"".join(a for a in (ORIGIN, AS_PATH, NEXT_HOP) if a[1] != code)


WITHDRAW = [
    ("missing ORIGIN", without(1)),
    ("missing AS_PATH", without(2)),
    ("missing NEXT_HOP", without(3)),
    ("no attribute at all", b""),
    ("ORIGIN of two octets", attribute(1, b"\0\0") + without(1)),
    ("ORIGIN 3", attribute(1, b"\3") + without(1)),
    ("flags of ORIGIN", attribute(1, b"\0", 0xC0) + without(1)),
    ("AS_PATH type 7", attribute(2, b"\7\1" + bytes((0, 0, 0, 1))) + without(2)),
    ("AS_PATH with an empty segment", attribute(2, b"\2\0") + without(2)),
    ("AS_PATH that ends early", attribute(2, b"\2\2" + bytes((0, 0, 0, 1))) + without(2)),
    ("AS_PATH with an octet too much", attribute(2, sequence(1) + b"\2") + without(2)),
    ("AS 0 in AS_PATH", attribute(2, sequence(1, 0)) + without(2)),
    ("NEXT_HOP of three octets", attribute(3, b"\1\2\3") + without(3)),
    ("NEXT_HOP of five octets", attribute(3, b"\1\2\3\4\5") + without(3)),
    ("NEXT_HOP 0.0.0.0", attribute(3, bytes(4)) + without(3)),
    ("multicast NEXT_HOP", attribute(3, b"\xe0\0\0\1") + without(3)),
    ("MED of three octets", MANDATORY + attribute(4, b"\0\0\0")),
    ("LOCAL_PREF of five octets", MANDATORY + attribute(5, bytes(5))),
    ("empty COMMUNITIES", MANDATORY + attribute(8, b"")),
    ("COMMUNITIES of six octets", MANDATORY + attribute(8, bytes(6))),
    ("ORIGINATOR_ID of two octets", MANDATORY + attribute(9, b"\1\2")),
    ("empty CLUSTER_LIST", MANDATORY + attribute(10, b"")),
    ("CLUSTER_LIST of six octets", MANDATORY + attribute(10, bytes(6))),
    ("extended communities of 9 octets", MANDATORY + attribute(16, bytes(9))),
    ("large communities of 13 octets", MANDATORY + attribute(32, bytes(13))),
    ("unknown well-known", MANDATORY + attribute(99, b"", 0x40)),
    ("attribute longer than the list", MANDATORY + b"\x80\x04\xff\0"),
    ("attribute header cut off", MANDATORY + b"\x80\x04"),
    ("extended header cut off", MANDATORY + b"\x90\x04\0"),
    ("attribute of one octet", MANDATORY + b"\x40"),
    ("first attribute overruns", b"\x40\x01\xff\0" + AS_PATH + NEXT_HOP),
]


@pytest.mark.parametrize("block", [b for _, b in WITHDRAW], ids=[n for n, _ in WITHDRAW])
def test_treat_as_withdraw(block):
    reader = decoder()
    reader.decode(announcement(MANDATORY))
    for _ in range(2):
        result = reader.decode(announcement(block))
        assert result.steps == [(V4, None, [nlri("10.1.0.0/16")])]
        ((family, nlris, problem),) = result.refused
        assert (family, nlris, problem.action) == (V4, [nlri("10.1.0.0/16")], Action.WITHDRAW)
        assert "treated as withdraw" in str(problem)
        assert "RFC" in problem.rule


DISCARD = [
    ("ATOMIC_AGGREGATE with a value", attribute(6, b"x"), "atomic_aggregate", False),
    ("AGGREGATOR of six octets", attribute(7, bytes(6)), "aggregator", None),
    ("AGGREGATOR with AS 0", attribute(7, bytes(8)), "aggregator", None),
    ("second ORIGIN", attribute(1, b"\2"), "origin", Origin.IGP),
    ("second MED", attribute(4, bytes(4)) + attribute(4, b"\0\0\0\7"), "med", 0),
    ("second unknown", attribute(99, b"a", 0xC0) * 2, "med", None),
    ("AS4_PATH though AS numbers have 4 octets", attribute(17, sequence(5)), "med", None),
    ("AS4_AGGREGATOR likewise", attribute(18, bytes(8)), "aggregator", None),
]


@pytest.mark.parametrize(
    "extra, field, value", [row[1:] for row in DISCARD], ids=[row[0] for row in DISCARD]
)
def test_attribute_discard(extra, field, value):
    reader = decoder()
    result = reader.decode(announcement(MANDATORY + extra))
    path = only_attributes(result)
    assert getattr(path, field) == value
    (problem,) = result.problems
    assert problem.action is Action.DISCARD
    again = reader.decode(announcement(MANDATORY + extra, "10.2.0.0/16"))
    assert only_attributes(again) is path
    assert not again.problems


@pytest.mark.parametrize(
    "extra, field",
    [
        (LOCAL_PREF, "local_pref"),
        (attribute(5, b"\1"), "local_pref"),
        (attribute(9, b"\1\2\3\4"), "originator_id"),
        (attribute(9, b"\1"), "originator_id"),
        (attribute(10, b"\1\2\3\4"), "cluster_list"),
        (attribute(10, b""), "cluster_list"),
    ],
)
def test_internal_attributes_from_an_external_peer_are_discarded(extra, field):
    result = decoder(internal=False).decode(announcement(MANDATORY + extra))
    assert not getattr(only_attributes(result), field)
    assert [p.action for p in result.problems] == [Action.DISCARD]


def test_confederation_segments_from_an_external_peer_are_malformed():
    block = ORIGIN + attribute(2, CONFED + sequence(1)) + NEXT_HOP
    for _ in range(2):
        result = decoder(internal=False).decode(announcement(block))
        assert result.steps[0][1] is None
        assert "confederation" in result.refused[0][2].reason


def test_of_several_errors_the_strongest_action_wins_and_all_are_told():
    block = attribute(1, b"\7") + AS_PATH + NEXT_HOP + attribute(6, b"x")
    result = decoder().decode(announcement(block))
    assert {p.action for p in result.problems} == {Action.DISCARD, Action.WITHDRAW}
    assert result.refused[0][2].name == "ORIGIN"


def test_the_order_of_attributes_does_not_matter():
    turned = decoder().decode(announcement(LOCAL_PREF + NEXT_HOP + AS_PATH + ORIGIN))
    usual = decoder().decode(announcement(MANDATORY + LOCAL_PREF))
    assert only_attributes(turned) == only_attributes(usual)


class TestTwoOctetSessions:
    """RFC 6793 §4.2.3: how AS_PATH and AS4_PATH become one."""

    @staticmethod
    def read(path: bytes, extra: bytes) -> tuple[Attributes, list[Action]]:
        block = ORIGIN + attribute(2, path) + NEXT_HOP + extra
        result = decoder(asn4=False).decode(announcement(block))
        return only_attributes(result), [p.action for p in result.problems]

    def test_the_leading_part_comes_from_as_path(self):
        path, problems = self.read(sequence(5, 23456, 6, size=2), attribute(17, sequence(70000, 6)))
        assert path.as_path == (AsSegment(SEQ, (5, 70000, 6)),)
        assert not problems

    def test_a_longer_as4_path_is_ignored(self):
        path, _ = self.read(sequence(5, size=2), attribute(17, sequence(70000, 6)))
        assert path.as_path == (AsSegment(SEQ, (5,)),)

    def test_a_set_counts_one(self):
        octets = sequence(5, size=2) + b"\1\2" + pack(">HH", 23456, 7)
        path, _ = self.read(octets, attribute(17, b"\1\2" + pack(">II", 70000, 7)))
        assert path.as_path == (AsSegment(SEQ, (5,)), AsSegment(SET, (70000, 7)))

    def test_confederation_segments_in_front_stay(self):
        octets = b"\3\1" + pack(">H", 65001) + sequence(23456, size=2)
        path, _ = self.read(octets, attribute(17, sequence(70000)))
        assert path.as_path == (
            AsSegment(SegmentType.AS_CONFED_SEQUENCE, (65001,)),
            AsSegment(SEQ, (70000,)),
        )

    def test_a_malformed_as4_path_is_discarded(self):
        path, problems = self.read(sequence(5, size=2), attribute(17, b"\2\5"))
        assert path.as_path == (AsSegment(SEQ, (5,)),)
        assert problems == [Action.DISCARD]

    def test_as4_aggregator_names_the_true_aggregator(self):
        extra = attribute(7, pack(">H", 23456) + b"\1\2\3\4")
        extra += attribute(18, pack(">I", 70000) + b"\1\2\3\4")
        assert self.read(sequence(5, size=2), extra)[0].aggregator == (70000, b"\1\2\3\4")

    def test_an_old_speaker_that_aggregated_makes_both_stale(self):
        extra = attribute(7, pack(">H", 9) + b"\1\2\3\4") + attribute(17, sequence(70000))
        extra += attribute(18, pack(">I", 70000) + b"\1\2\3\4")
        path, _ = self.read(sequence(23456, size=2), extra)
        assert (path.aggregator, path.as_path[0].asns) == ((9, b"\1\2\3\4"), (23456,))

    def test_a_malformed_as4_aggregator_is_discarded(self):
        extra = attribute(7, pack(">H", 23456) + b"\1\2\3\4") + attribute(18, b"\1")
        path, problems = self.read(sequence(5, size=2), extra)
        assert path.aggregator == (23456, b"\1\2\3\4")
        assert problems == [Action.DISCARD]

    def test_an_aggregator_has_six_octets_here(self):
        path, problems = self.read(sequence(5, size=2), attribute(7, bytes((0, 9, 1, 2, 3, 4))))
        assert (path.aggregator, problems) == ((9, b"\1\2\3\4"), [])


class TestDrafts:
    """The trick by which frozen values are made must go on fitting the model."""

    def test_a_draft_has_the_defaults_of_the_model(self):
        assert fresh_draft().freeze() == Attributes()

    def test_a_frozen_draft_cannot_be_changed_and_can_be_hashed(self):
        made = fresh_draft().freeze()
        assert hash(made) == hash(Attributes())
        with pytest.raises(AttributeError):
            made.med = 5

    def test_a_segment_is_the_models_own(self):
        made = make_segment(SEQ, (1, 2))
        assert made == AsSegment(SEQ, (1, 2))
        assert type(made) is AsSegment
        with pytest.raises(AttributeError):
            made.asns = ()


def test_the_next_hop_is_kept_as_octets():
    assert only_attributes(decoder().decode(announcement(MANDATORY))).nexthop == address(
        "192.0.2.7"
    )
