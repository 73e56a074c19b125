"""Groups of peers: what a peer has from its group, and what it says itself."""

from __future__ import annotations

from dataclasses import fields
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from kroute.codec.config import parse_config
from kroute.model.config_peering import PeerConfig, PeerGroup, PeerKeys
from kroute.model.peering import effective_peers, inherit

KEYS = [f.name for f in fields(PeerKeys)]
SOME = st.dictionaries(st.sampled_from(KEYS), st.integers(0, 3), max_size=len(KEYS))
"""Values of no sense in keys of any type: inheritance looks at none of them."""


def peer(**keys: object) -> PeerConfig:
    return PeerConfig(name="a", address=ip_address("192.0.2.1"), group="g", **keys)  # type: ignore[arg-type]


@given(SOME, SOME)
def test_each_key_is_the_peers_own_or_its_groups_or_empty(
    own: dict[str, int], shared: dict[str, int]
):
    group = PeerGroup(name="g", **shared)  # type: ignore[arg-type]
    whole = inherit(peer(**own), group)
    assert {k: getattr(whole, k) for k in KEYS} == dict.fromkeys(KEYS) | shared | own
    assert (whole.name, whole.address, whole.group) == ("a", ip_address("192.0.2.1"), "g")


def test_what_a_peer_says_wins_also_where_it_says_no_or_nothing_at_all():
    text = """
    peering:
      groups: [{name: tors, asn: 65001, passive: true, acceptPrefixes: [10.0.0.0/8], holdTime: 9}]
      peers:
        - {name: a, group: tors, address: 192.0.2.1}
        - {name: b, group: tors, address: 192.0.2.2, passive: false, acceptPrefixes: [], holdTime: 0, asn: 65002}
        - {name: c, address: 192.0.2.3, asn: 65003}
    """
    a, b, c = effective_peers(parse_config(text).peering)
    assert (a.asn, a.passive, a.hold_time, len(a.accept_prefixes or ())) == (65001, True, 9, 1)
    assert (b.asn, b.passive, b.hold_time, b.accept_prefixes) == (65002, False, 0, ())
    assert (c.asn, c.passive, c.hold_time, c.accept_prefixes) == (65003, None, None, None)
