"""Rules: what each condition matches, what each action changes, and how a walk through a policy ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from kroute.codec.config import parse_config
from kroute.model.bgp import AsSegment, Attributes, SegmentType
from kroute.model.communities import parse_community
from kroute.model.policies import OriginClass, OriginState
from kroute.model.reason import Why
from kroute.plan.policy.actions import prepended
from kroute.plan.policy.compile import Bound, compiled
from kroute.plan.policy.matching import Place
from kroute.plan.policy.rules import Fork, Policy, Verdict, follow
from support.routing import V4, V6, attributes, n, packed

LARGE, EXTENDED = (64512, 1, 2), bytes.fromhex("0002fc0000000064")


def bound(text: str, **facts: Any) -> Policy:
    """The policy of these rules (YAML, one a line) for a peer of AS 64601."""
    rules = "\n".join(f"  - {line}" for line in text.strip().splitlines())
    policy = parse_config(
        "peering: {groups: [{name: tors}], peers: [{name: tor1, address: 192.0.2.9, asn: 1}]}\n"
        f"policies:\n- name: p\n  rules:\n{rules}\ncommunityNames: {{drain: '64512:666'}}\n"
    ).policies[0]
    to = Bound(**({"names": {"tor1", "peer/tor1"}, "prepend": 64601} | facts))
    return compiled(policy, {"drain": "64512:666"}, to)


def end(
    policy: Policy,
    found: Attributes,
    prefix: str = "10.1.0.0/16",
    kind: OriginClass = OriginClass.EXTERNAL,
    state: OriginState = OriginState.UNKNOWN,
) -> Verdict:
    family = V6 if ":" in prefix else V4
    return follow(policy.start(family, found), Place(family, n(prefix), kind, state))


def communities(*texts: str) -> tuple[int, ...]:
    return tuple(c for t in texts if isinstance(c := parse_community(t, {}).exact, int))


def matches(match: str, found: Attributes | None = None, **place: Any) -> bool:
    policy = bound(f"{{name: r, match: {{{match}}}, then: accept}}")
    return end(policy, found or attributes(), **place).accepted is True


PREFIXES = [
    ("prefix: 10.0.0.0/8", ["10.0.0.0/8"], ["10.0.0.0/9", "0.0.0.0/0", "11.0.0.0/8"]),
    ("prefix: 10.0.0.0/8, le: 9", ["10.0.0.0/8", "10.128.0.0/9"], ["10.0.0.0/10", "8.0.0.0/7"]),
    ("prefix: 10.0.0.0/8, ge: 25", ["10.1.2.128/25", "10.1.2.3/32"], ["10.1.2.0/24", "10.0.0.0/8"]),
    ("prefix: 10.0.0.0/8, ge: 9, le: 9", ["10.0.0.0/9"], ["10.0.0.0/8", "10.0.0.0/10"]),
    ("prefix: 192.0.2.128/25, le: 32", ["192.0.2.129/32"], ["192.0.2.1/32", "192.0.2.0/24"]),
    ("prefix: 0.0.0.0/0", ["0.0.0.0/0"], ["0.0.0.0/1", "::/0"]),
    ("prefix: 0.0.0.0/0, le: 32", ["0.0.0.0/0", "1.2.3.4/32"], ["2001:db8::/32"]),
    ("prefix: 2001:db8::/33, le: 64", ["2001:db8:1::/64"], ["2001:db8:8000::/64", "2001:db8::/65"]),
]


@pytest.mark.parametrize(("match", "inside", "outside"), PREFIXES, ids=[p[0] for p in PREFIXES])
def test_a_prefix_matches_exactly_or_by_the_lengths_it_is_given(
    match: str, inside: list[str], outside: list[str]
):
    quoted = match.replace("prefix: ", "prefix: '").replace(",", "',", 1)
    quoted = quoted if "," in match else f"{quoted}'"
    for prefix in inside:
        assert matches(f"prefixes: [{{{quoted}}}]", prefix=prefix), prefix
    for prefix in outside:
        assert not matches(f"prefixes: [{{{quoted}}}]", prefix=prefix), prefix


PATH = replace(
    attributes("192.0.2.7", 64601, 64602),
    as_path=(
        AsSegment(SegmentType.AS_SEQUENCE, (64601, 64602)),
        AsSegment(SegmentType.AS_SET, (64603, 64604)),
    ),
    communities=communities("64512:666", "no-export"),
    large_communities=(LARGE,),
    extended_communities=(EXTENDED,),
)
BLOCK = [
    ("family: ipv4", True),
    ("family: ipv6", False),
    ("communities: [drain]", True),
    ("communities: ['1:1', no-export]", True),
    ("communities: ['64512:*']", True),
    ("communities: ['64512:1:2']", True),
    ("communities: ['rt:64512:100']", True),
    ("communities: ['64513:*', '*:9:*', no-advertise]", False),
    ("asPath: {contains: [1, 64602]}", True),
    ("asPath: {contains: [64604]}", True),
    ("asPath: {contains: [1]}", False),
    ("asPath: {origin: [64603]}", True),
    ("asPath: {origin: [64602]}", False),
    ("asPath: {minLength: 3, maxLength: 3}", True),
    ("asPath: {minLength: 4}", False),
    ("asPath: {maxLength: 2}", False),
    ("asPath: {regex: '^64601 .*[{]64603,'}", True),
    ("asPath: {regex: '^64602'}", False),
    ("nextHops: [192.0.2.0/29]", True),
    ("nextHops: [192.0.2.7/32]", True),
    ("nextHops: [192.0.2.8/29, '::/0']", False),
    ("peers: [tor1]", True),
    ("peers: [peer/tor1, node/n2]", True),
    ("peers: [node/n2]", False),
    ("groups: [tors]", False),
    ("nodeSelector: {rack: a}", False),
    ("communities: [drain], asPath: {contains: [1]}", False),
]


@pytest.mark.parametrize(("match", "yes"), BLOCK, ids=[b[0] for b in BLOCK])
def test_a_condition_on_attributes_or_session_matches(match: str, yes: bool):
    assert matches(match, PATH) is yes


def test_group_and_labels_of_the_other_end_match():
    rules = "{name: r, match: {groups: [tors], nodeSelector: {rack: a}}, then: accept}"
    assert bound(rules, group="tors", labels={"rack": "a", "x": "y"}).rules
    assert not bound(rules, group="tors", labels={"rack": "b"}).rules


def test_class_and_origin_state_match():
    assert matches("originClass: [service, default]", kind=OriginClass.DEFAULT)
    assert not matches("originClass: [service]", kind=OriginClass.DEFAULT)
    assert matches("origin: [invalid]", state=OriginState.INVALID)
    assert not matches("origin: [invalid]", state=OriginState.VALID)


def changed(actions: str, found: Attributes) -> Attributes:
    verdict = end(
        bound(f"{{name: r, match: {{family: ipv4}}, set: {actions}, then: accept}}"), found
    )
    assert verdict.draft is not None
    return verdict.draft.attributes


def test_every_action_changes_its_attribute_and_no_other():
    plain = attributes("192.0.2.7", 64601)
    assert changed("{localPref: 200}", plain) == replace(plain, local_pref=200)
    assert changed("{med: 0}", plain) == replace(plain, med=0)
    assert changed("{nextHop: 192.0.2.9}", plain) == replace(plain, nexthop=packed("192.0.2.9"))
    assert changed("{prepend: {times: 2}}", plain).as_path == (
        AsSegment(SegmentType.AS_SEQUENCE, (64601, 64601, 64601)),
    )
    assert changed("{prepend: {asn: 7}}", Attributes()).as_path == (
        AsSegment(SegmentType.AS_SEQUENCE, (7,)),
    )
    assert changed("{weight: 4}", plain) is plain


def test_communities_are_removed_then_added_and_stay_sorted():
    edit = "{communities: {remove: ['64512:*', 'rt:64512:100', '*:1:*'], add: ['1:2', '7:8:9', '0:1']}}"
    found = changed(edit, PATH)
    assert found.communities == communities("0:1", "1:2", "no-export")
    assert found.extended_communities == ()
    assert found.large_communities == ((7, 8, 9),)


def test_a_full_segment_is_not_made_longer():
    full = (AsSegment(SegmentType.AS_SEQUENCE, (1,) * 255),)
    assert prepended((2,), full) == (AsSegment(SegmentType.AS_SEQUENCE, (2,)), *full)


STEPS = """
{name: mark, match: {asPath: {contains: [64601]}}, set: {communities: {add: ['1:1']}}, then: next}
{name: tiny, match: {prefixes: [{prefix: 10.0.0.0/8, ge: 25}]}, then: reject, reason: too small}
{name: pods, match: {originClass: [peerPods]}, set: {localPref: 200}, then: accept}
{name: marked, match: {communities: ['1:1']}, set: {med: 3}, then: accept}
"""


def walks() -> Iterator[tuple[str, OriginClass, bool | None, tuple[str, ...]]]:
    pods, other = OriginClass.PEER_PODS, OriginClass.EXTERNAL
    yield "10.1.2.128/25", pods, False, ("p/mark", "p/tiny")
    yield "10.1.0.0/16", pods, True, ("p/mark", "p/pods")
    yield "10.1.0.0/16", other, True, ("p/mark", "p/marked")


@pytest.mark.parametrize(("prefix", "kind", "accepted", "rules"), list(walks()))
def test_the_first_rule_that_decides_ends_the_walk_and_every_matching_one_is_named(
    prefix: str, kind: OriginClass, accepted: bool | None, rules: tuple[str, ...]
):
    verdict = end(bound(STEPS), attributes("192.0.2.7", 64601), prefix, kind)
    assert verdict.draft is not None
    assert (verdict.accepted, verdict.draft.rules) == (accepted, rules)


def test_a_rejection_says_which_rule_and_in_the_operator_s_words_why():
    verdict = end(bound(STEPS), attributes(), "10.1.2.128/25")
    assert verdict.refusal is not None
    assert (verdict.refusal.why, verdict.refusal.rule) == (Why.POLICY, "p/tiny")
    assert verdict.refusal.text == "rejected by rule p/tiny: too small"


def test_what_no_rule_decides_is_left_open_or_decided_by_the_default():
    policy = bound(STEPS)
    assert end(policy, attributes("192.0.2.7", 1)).accepted is None
    text = "policies: [{name: p, default: reject}]"
    closed = compiled(parse_config(text).policies[0], {}, Bound(names=frozenset(), prepend=1))  # type: ignore[arg-type]
    verdict = end(closed, attributes())
    assert verdict.accepted is False
    assert verdict.refusal is not None
    assert verdict.refusal.rule == "p/default"


def test_prefixes_of_a_block_that_go_the_same_way_share_one_end():
    policy, found = bound(STEPS), attributes("192.0.2.7", 64601)
    root = policy.start(V4, found)
    assert isinstance(root, Fork)
    ends = [
        follow(root, Place(V4, n(p), OriginClass.EXTERNAL, OriginState.UNKNOWN))
        for p in ("10.1.0.0/16", "10.2.0.0/16")
    ]
    assert ends[0] is ends[1]


def test_a_policy_that_looks_at_attributes_only_is_decided_once_for_a_block():
    policy = bound("{name: r, match: {asPath: {minLength: 1}}, set: {localPref: 1}, then: accept}")
    assert isinstance(policy.start(V4, attributes("192.0.2.7", 5)), Verdict)
