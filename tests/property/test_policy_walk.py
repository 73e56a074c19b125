"""Prefix sets say what `ipaddress` says, and a shared walk ends where asking rule after rule for one prefix ends."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

import hypothesis.strategies as st
from hypothesis import given

from kroute.codec.config import parse_config
from kroute.model.bgp import Asn, Attributes
from kroute.model.net import Family, Prefix, family_of, nlri_of
from kroute.model.policies import OriginClass, OriginState, Then
from kroute.plan.policy.actions import Draft
from kroute.plan.policy.compile import Bound, compiled
from kroute.plan.policy.matching import Entry, Place, PrefixSet
from kroute.plan.policy.rules import Policy, follow
from support.routing import V4, V6, attributes


def prefixes(family: Family) -> st.SearchStrategy[Prefix]:
    """Prefixes of few bits, so that they are often within each other."""
    kind = IPv4Network if family is V4 else IPv6Network
    bits = st.sampled_from([0, 0b1010, 0b1011, 0b10101, 0xFF00FF])
    lengths = st.integers(0, 26)
    return st.builds(
        lambda value, size: kind((value << (family.bits - 26) & _mask(family, size), size)),
        bits,
        lengths,
    )


def _mask(family: Family, size: int) -> int:
    return ((1 << size) - 1) << (family.bits - size)


@st.composite
def entries(draw: st.DrawFn) -> tuple[Prefix, int, int]:
    prefix = draw(prefixes(draw(st.sampled_from([V4, V6]))))
    least = draw(st.integers(prefix.prefixlen, 32))
    return prefix, least, draw(st.integers(least, 32))


@given(st.lists(entries(), max_size=6), st.sampled_from([V4, V6]).flatmap(prefixes))
def test_a_prefix_set_says_what_ipaddress_says(
    wanted: list[tuple[Prefix, int, int]], asked: Prefix
) -> None:
    made: tuple[Entry, ...] = tuple((family_of(p), nlri_of(p), a, b) for p, a, b in wanted)
    expected = any(
        p.version == asked.version
        and asked.subnet_of(p)  # type: ignore[arg-type]
        and least <= asked.prefixlen <= most
        for p, least, most in wanted
    )
    assert PrefixSet(made).holds(family_of(asked), nlri_of(asked)) is expected


MATCHES = [
    "{}",
    "{family: ipv4}",
    "{communities: ['1:1']}",
    "{asPath: {minLength: 3}}",
    "{prefixes: [{prefix: 10.0.0.0/8, le: 24}]}",
    "{prefixes: [{prefix: 10.1.0.0/16}], communities: ['1:1']}",
    "{originClass: [peerPods]}",
    "{origin: [valid]}",
]
ACTIONS = [
    "{}",
    "{communities: {add: ['1:1']}}",
    "{communities: {remove: ['*:*']}}",
    "{prepend: {asn: 7, times: 2}}",
    "{localPref: 5, weight: 2}",
]
any_rule = st.tuples(
    st.sampled_from(MATCHES),
    st.sampled_from(ACTIONS),
    st.sampled_from(["next", "next", "accept", "reject"]),
)
any_place = st.builds(
    lambda prefix, kind, state: Place(V4, nlri_of(ip_network(prefix)), kind, state),
    st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "10.1.2.128/25", "0.0.0.0/0"]),
    st.sampled_from(OriginClass),
    st.sampled_from(OriginState),
)
BLOCKS = [attributes("192.0.2.2", 64601), attributes("192.0.2.2", 1, 2, 3, communities=(65537,))]


def policy(rules: list[tuple[str, str, str]], default: str) -> Policy:
    lines = [
        f"  - {{name: r{i}, match: {match}, set: {actions}, then: {then}}}\n"
        for i, (match, actions, then) in enumerate(rules)
    ]
    text = f"policies:\n- name: p\n  default: {default}\n  rules:\n" + "".join(lines)
    return compiled(
        parse_config(text).policies[0], {}, Bound(names=frozenset(), prepend=Asn(64601))
    )


def one_by_one(found: Policy, block: Attributes, place: Place) -> tuple[bool | None, Draft]:
    """What the page on policies says, and nothing shared."""
    draft = Draft(block)
    for rule in found.rules:
        if rule.block.holds(place.family, draft.attributes) and rule.place.holds(place):
            draft = rule.actions.apply(draft, rule.name)
            if rule.then is not Then.NEXT:
                return rule.then is Then.ACCEPT, draft
    return (None if found.default is None else found.default == "accept"), draft


@given(
    st.lists(any_rule, max_size=6),
    st.sampled_from(["null", "accept", "reject"]),
    st.sampled_from(BLOCKS),
    st.lists(any_place, min_size=1, max_size=5),
)
def test_a_shared_walk_ends_where_asking_one_by_one_ends(
    rules: list[tuple[str, str, str]], default: str, block: Attributes, places: list[Place]
) -> None:
    found = policy(rules, default)
    root = found.start(V4, block)
    for place in places:
        verdict = follow(root, place)
        assert (verdict.accepted, verdict.draft) == one_by_one(found, block, place)
        assert (verdict.refusal is not None) is (verdict.accepted is False)
