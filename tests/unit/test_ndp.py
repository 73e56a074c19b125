"""Router solicitations and advertisements: what is sent, and what is believed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kroute.codec.ndp import HOP_LIMIT, NdpType, advertisement, read, solicitation

RA = bytes.fromhex("860000004000070800000000000000000101525400123456")
"""An advertisement as FRR sends it: hop limit 64, lifetime 1800 s, its link-layer address."""


def test_what_we_send_is_what_we_understand():
    assert read(solicitation(), HOP_LIMIT) is NdpType.ROUTER_SOLICITATION
    assert read(advertisement(), HOP_LIMIT) is NdpType.ROUTER_ADVERTISEMENT
    assert (len(solicitation()), len(advertisement())) == (8, 16)


def test_nobody_takes_us_for_a_default_gateway_or_learns_a_prefix_of_us():
    assert advertisement()[6:8] == b"\0\0"
    assert len(advertisement()) == 16


def test_an_advertisement_of_a_router_is_understood():
    assert read(RA, HOP_LIMIT) is NdpType.ROUTER_ADVERTISEMENT


def test_what_came_over_a_router_or_is_damaged_is_not_believed():
    assert read(RA, 254) is None
    assert read(RA[:15], HOP_LIMIT) is None
    assert read(RA[:17], HOP_LIMIT) is None
    assert read(RA[:17] + b"\0" + RA[18:], HOP_LIMIT) is None
    assert read(RA[:1] + b"\1" + RA[2:], HOP_LIMIT) is None
    assert read(bytes((135,)) + RA[1:], HOP_LIMIT) is None


@given(st.binary(max_size=80), st.integers(0, 255))
def test_any_bytes_are_read_without_harm(message: bytes, hop_limit: int):
    assert read(message, hop_limit) in (None, *NdpType)
    for kind in NdpType:
        read(bytes((kind, 0)) + message, HOP_LIMIT)
