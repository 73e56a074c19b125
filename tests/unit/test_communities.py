"""Communities as text: what means one, what means many, and what means none."""

from __future__ import annotations

import pytest

from kroute.model.communities import (
    Community,
    community_text,
    extended_community_text,
    large_community_text,
    parse_community,
)

ONE: list[tuple[str, Community]] = [
    ("64512:100", 64512 << 16 | 100),
    ("0:0", 0),
    ("no-export", 0xFFFFFF01),
    ("graceful-shutdown", 0xFFFF0000),
    ("64512:1:4294967295", (64512, 1, 4294967295)),
    ("rt:64512:100", bytes.fromhex("0002fc0000000064")),
    ("ro:192.0.2.1:5", bytes.fromhex("0103c00002010005")),
    ("rt:4200000000:7", bytes.fromhex("0202fa56ea000007")),
    ("0x030c000000000008", bytes.fromhex("030c000000000008")),
]


@pytest.mark.parametrize(("text", "community"), ONE, ids=[o[0] for o in ONE])
def test_a_community_is_what_its_text_says_and_back(text: str, community: Community):
    assert parse_community(text, {}).exact == community
    shown = (
        community_text(community)
        if isinstance(community, int)
        else extended_community_text(community)
        if isinstance(community, bytes)
        else large_community_text(community)
    )
    assert shown == text


def test_a_name_of_the_operator_stands_for_its_community():
    assert parse_community("drain", {"drain": "64512:666"}).exact == 64512 << 16 | 666


NONE = ["", "drain", "64512", "65536:1", "1:65536", "1:2:4294967296", "1:2:3:4", "rt:1", "rt:a:1"]
NONE += ["rt:1:-1", "ro:192.0.2.1:65536", "0x12", "64512:1 ", "-1:2", "rt:*:1", "rt:4294967296:1"]


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_community_is_said_so_in_words(text: str):
    with pytest.raises(ValueError, match=r"got|at most"):
        parse_community(text, {})


def test_a_star_means_any_number_of_the_same_kind():
    ours = parse_community("64512:*", {})
    assert ours.exact is None
    assert ours.among((64513 << 16, 64512 << 16 | 9), (), ())
    assert not ours.among((64513 << 16,), (), ((64512, 1, 1),))
    large = parse_community("*:1:*", {})
    assert large.among((), (), ((9, 1, 8),))
    assert not large.among((1,), (b"\0" * 8,), ((9, 2, 8),))
    assert not ours.names(b"\0" * 8)
