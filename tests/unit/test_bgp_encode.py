"""Routes and the octets they become, written out by hand."""

from __future__ import annotations

from struct import pack

import pytest

from kroute.codec.bgp import (
    TooLarge,
    announce,
    attribute_block,
    encode_updates,
    end_of_rib,
    withdraw,
)
from kroute.model.bgp import AsSegment, Attributes, Origin, SegmentType, Unknown
from support.bgp_bytes import (
    ORIGIN,
    V4,
    V6,
    address,
    attribute,
    body,
    nlri,
    reach,
    sequence,
    unreach,
)

SEQ = SegmentType.AS_SEQUENCE
HOP = address("192.0.2.7")
GLOBAL, LOCAL = address("2001:db8::7"), address("fe80::7")


def message(data: bytes) -> bytes:
    """A body with its header."""
    return b"\xff" * 16 + pack(">HB", 19 + len(data), 2) + data


def wide(data: bytes) -> bytes:
    """A multiprotocol attribute in the form the encoder uses, with two octets of length."""
    return attribute(data[1], data[3:], wide=True)


def encode(family, attributes, nlris, withdrawn=(), *, asn4=True, size=4096):
    return encode_updates(family, attributes, nlris, withdrawn, asn4=asn4, message_size=size)


def test_an_ipv4_route_in_the_classic_form():
    attributes = Attributes(
        as_path=(AsSegment(SEQ, (64513, 70000)),), nexthop=HOP, med=5, local_pref=100
    )
    block = ORIGIN + attribute(2, sequence(64513, 70000)) + attribute(3, HOP)
    block += attribute(4, pack(">I", 5)) + attribute(5, pack(">I", 100))
    assert encode(V4, attributes, [nlri("10.0.0.0/8"), nlri("10.1.2.0/24")]) == [
        message(body(attributes=block, announced=nlri("10.0.0.0/8") + nlri("10.1.2.0/24")))
    ]


@pytest.mark.parametrize("link_local", [b"", LOCAL])
def test_an_ipv6_route_has_mp_reach_in_front(link_local):
    attributes = Attributes(nexthop=GLOBAL, link_local=link_local, local_pref=100)
    block = wide(reach(2, GLOBAL + link_local, nlri("2001:db8::/32")))
    block += ORIGIN + attribute(2, b"") + attribute(5, pack(">I", 100))
    assert encode(V6, attributes, [nlri("2001:db8::/32")]) == [message(body(attributes=block))]


def test_an_ipv4_route_with_an_ipv6_next_hop_goes_by_rfc_8950():
    block = wide(reach(1, GLOBAL, nlri("10.0.0.0/8"))) + ORIGIN + attribute(2, b"")
    assert encode(V4, Attributes(nexthop=GLOBAL), [nlri("10.0.0.0/8")]) == [
        message(body(attributes=block))
    ]


def test_every_attribute_in_ascending_order():
    attributes = Attributes(
        origin=Origin.INCOMPLETE,
        nexthop=HOP,
        atomic_aggregate=True,
        aggregator=(70000, b"\1\2\3\4"),
        communities=(1, 2),
        extended_communities=(bytes(8),),
        large_communities=((1, 2, 3),),
        originator_id=b"\5\6\7\x08",
        cluster_list=(b"\1\1\1\1", b"\2\2\2\2"),
        unknown=(
            Unknown(flags=0xC0, code=20, value=b"x"),
            Unknown(flags=0xE0, code=99, value=b"y" * 300),
        ),
    )
    assert attribute_block(V4, attributes, asn4=True).attributes == b"".join(
        (
            attribute(1, b"\2"),
            attribute(2, b""),
            attribute(3, HOP),
            attribute(6, b""),
            attribute(7, pack(">I", 70000) + b"\1\2\3\4"),
            attribute(8, pack(">II", 1, 2)),
            attribute(9, b"\5\6\7\x08"),
            attribute(10, b"\1\1\1\1\2\2\2\2"),
            attribute(16, bytes(8)),
            attribute(20, b"x", 0xE0),
            attribute(32, pack(">III", 1, 2, 3)),
            attribute(99, b"y" * 300, 0xE0),
        )
    )


def test_the_extended_length_is_used_only_where_it_is_needed():
    for count, flags in ((63, 0xC0), (64, 0xD0)):
        attributes = Attributes(nexthop=HOP, communities=tuple(range(count)))
        block = attribute_block(V4, attributes, asn4=True).attributes
        assert bytes((flags, 8)) in block


def test_a_sequence_above_255_numbers_is_split():
    attributes = Attributes(nexthop=HOP, as_path=(AsSegment(SEQ, tuple(range(1, 301))),))
    block = attribute_block(V4, attributes, asn4=True).attributes
    assert sequence(*range(1, 256)) + sequence(*range(256, 301)) in block


class TestTwoOctetSessions:
    def test_great_numbers_travel_in_as4_path(self):
        attributes = Attributes(
            nexthop=HOP, as_path=(AsSegment(SEQ, (5, 70000)),), aggregator=(70000, b"\1\2\3\4")
        )
        block = attribute_block(V4, attributes, asn4=False).attributes
        assert block == b"".join(
            (
                ORIGIN,
                attribute(2, sequence(5, 23456, size=2)),
                attribute(3, HOP),
                attribute(7, pack(">H", 23456) + b"\1\2\3\4"),
                attribute(17, sequence(5, 70000)),
                attribute(18, pack(">I", 70000) + b"\1\2\3\4"),
            )
        )

    def test_small_numbers_need_nothing_more(self):
        attributes = Attributes(nexthop=HOP, as_path=(AsSegment(SEQ, (5, 6)),))
        block = attribute_block(V4, attributes, asn4=False).attributes
        assert block == ORIGIN + attribute(2, sequence(5, 6, size=2)) + attribute(3, HOP)

    def test_confederations_stay_out_of_as4_path(self):
        confed = AsSegment(SegmentType.AS_CONFED_SEQUENCE, (70001,))
        attributes = Attributes(nexthop=HOP, as_path=(confed, AsSegment(SEQ, (70000,))))
        block = attribute_block(V4, attributes, asn4=False).attributes
        assert attribute(17, sequence(70000)) in block


class TestWithdrawing:
    def test_ipv4_uses_the_withdrawn_field(self):
        routes = [nlri("10.0.0.0/8"), nlri("10.1.0.0/16")]
        assert withdraw(V4, routes, message_size=4096) == [
            message(body(withdrawn=b"".join(routes)))
        ]

    def test_ipv6_uses_mp_unreach(self):
        routes = [nlri("::/0"), nlri("2001:db8::/32")]
        assert withdraw(V6, routes, message_size=4096) == [
            message(body(attributes=wide(unreach(2, b"".join(routes)))))
        ]

    def test_withdrawing_comes_before_announcing(self):
        both = encode(V4, Attributes(nexthop=HOP), [nlri("10.0.0.0/8")], [nlri("11.0.0.0/8")])
        assert both[0] == withdraw(V4, [nlri("11.0.0.0/8")], message_size=4096)[0]
        assert len(both) == 2

    def test_nothing_is_nothing(self):
        assert encode(V4, None, []) == encode(V6, Attributes(), []) == []


def test_end_of_rib_of_both_families():
    assert end_of_rib(V4) == message(body())
    assert end_of_rib(V6) == message(body(attributes=unreach(2, b"")))


class TestPacking:
    @pytest.mark.parametrize("size", [4096, 65535])
    @pytest.mark.parametrize("family, hop", [(V4, HOP), (V4, GLOBAL), (V6, GLOBAL)])
    def test_messages_are_as_full_as_they_can_be(self, family, hop, size):
        if family is V4:
            routes = [b"\x18" + pack(">I", i)[1:] for i in range(40000)]
        else:
            routes = [b"\x40\x20\x01" + pack(">HI", 0, i) for i in range(40000)]
        messages = encode(family, Attributes(nexthop=hop), routes, size=size)
        longest = len(routes[0])
        assert all(size - longest < len(m) <= size for m in messages[:-1])
        assert len(messages[-1]) <= size
        assert len(messages) > 1

    def test_attributes_that_fill_a_message_are_refused(self):
        attributes = Attributes(nexthop=HOP, communities=tuple(range(1100)))
        block = attribute_block(V4, attributes, asn4=True)
        with pytest.raises(TooLarge, match="no room"):
            announce(block, [nlri("10.0.0.0/8")], message_size=4096)
        assert len(announce(block, [nlri("10.0.0.0/8")], message_size=65535)) == 1

    def test_the_last_octet_of_a_message_can_be_used(self):
        block = attribute_block(V4, Attributes(nexthop=HOP), asn4=True)
        size = len(announce(block, [nlri("10.1.2.0/24")], message_size=4096)[0])
        assert len(announce(block, [nlri("10.1.2.0/24")], message_size=size)) == 1
        with pytest.raises(TooLarge):
            announce(block, [nlri("10.1.2.0/24")], message_size=size - 1)


@pytest.mark.parametrize("family, hop", [(V4, b""), (V4, b"\1"), (V6, HOP), (V6, b"")])
def test_a_route_without_a_fitting_next_hop_is_a_bug_of_the_caller(family, hop):
    with pytest.raises(ValueError, match="next hop"):
        attribute_block(family, Attributes(nexthop=hop), asn4=True)
