"""Path attributes in the words of an operator."""

from __future__ import annotations

import pytest

from kroute.codec.bgp import render
from kroute.codec.bgp.text import (
    as_path_text,
    community_text,
    extended_community_text,
    large_community_text,
    nexthop_text,
)
from kroute.model.bgp import AsSegment, Attributes, Origin, SegmentType, Unknown
from support.bgp_bytes import address


def path(*segments):
    return tuple(AsSegment(SegmentType(kind), asns) for kind, asns in segments)


@pytest.mark.parametrize(
    "segments, text",
    [
        ((), ""),
        (((2, (64512, 70000)),), "64512 70000"),
        (((2, (64512,)), (1, (1, 2))), "64512 {1,2}"),
        (((3, (65001, 65002)), (4, (1, 2)), (2, (9,))), "(65001 65002) [1,2] 9"),
    ],
)
def test_as_paths(segments, text):
    assert as_path_text(path(*segments)) == text


@pytest.mark.parametrize(
    "value, text",
    [
        (64512 << 16 | 100, "64512:100"),
        (0, "0:0"),
        (0xFFFFFF01, "no-export"),
        (0xFFFFFF02, "no-advertise"),
        (0xFFFF0000, "graceful-shutdown"),
        (0xFFFF029A, "blackhole"),
    ],
)
def test_communities(value, text):
    assert community_text(value) == text


@pytest.mark.parametrize(
    "octets, text",
    [
        ("0002fc0000000064", "rt:64512:100"),
        ("0102c00002010005", "rt:192.0.2.1:5"),
        ("0203000111700005", "ro:70000:5"),
        ("4002fc0000000064", "rt:64512:100"),
        ("030b000000000000", "0x030b000000000000"),
        ("0302000000000000", "0x0302000000000000"),
    ],
)
def test_extended_communities(octets, text):
    assert extended_community_text(bytes.fromhex(octets)) == text


def test_large_communities():
    assert large_community_text((64512, 1, 4294967295)) == "64512:1:4294967295"


def test_next_hops():
    both = Attributes(nexthop=address("2001:db8::7"), link_local=address("fe80::7"))
    assert nexthop_text(both) == "2001:db8::7 fe80::7"
    assert nexthop_text(Attributes(nexthop=address("192.0.2.7"))) == "192.0.2.7"
    assert nexthop_text(Attributes()) == "-"


def test_only_what_is_there_is_rendered_but_always_the_mandatory_three():
    assert render(Attributes(nexthop=address("192.0.2.7"))) == {
        "origin": "igp",
        "as_path": "",
        "next_hop": "192.0.2.7",
    }


def test_everything_in_the_order_of_the_codes():
    text = render(
        Attributes(
            origin=Origin.INCOMPLETE,
            as_path=path((2, (64512,))),
            nexthop=address("192.0.2.7"),
            med=0,
            local_pref=100,
            atomic_aggregate=True,
            aggregator=(70000, address("192.0.2.9")),
            communities=(0xFFFFFF01, 1),
            extended_communities=(bytes.fromhex("0002fc0000000064"),),
            large_communities=((1, 2, 3),),
            originator_id=address("192.0.2.2"),
            cluster_list=(address("192.0.2.3"), address("192.0.2.4")),
            unknown=(Unknown(flags=0xE0, code=99, value=b"\1\2"),),
        )
    )
    assert text == {
        "origin": "incomplete",
        "as_path": "64512",
        "next_hop": "192.0.2.7",
        "multi_exit_disc": "0",
        "local_pref": "100",
        "atomic_aggregate": "yes",
        "aggregator": "70000 192.0.2.9",
        "communities": "no-export 0:1",
        "originator_id": "192.0.2.2",
        "cluster_list": "192.0.2.3 192.0.2.4",
        "extended_communities": "rt:64512:100",
        "large_community": "1:2:3",
        "attribute 99": "0x0102",
    }
