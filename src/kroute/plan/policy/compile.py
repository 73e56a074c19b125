"""Configured policies to compiled ones, bound to a peer: rules for other peers are left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kroute.model.bgp import Asn
from kroute.model.communities import CommunityPattern, parse_community
from kroute.model.fib import Place
from kroute.model.net import Family, Prefix, family_of, nlri_of
from kroute.model.policies import AsPathMatch, Match, PolicyConfig, RuleConfig, SetActions
from kroute.plan.policy.actions import Actions
from kroute.plan.policy.matching import (
    AsPathTest,
    BlockTest,
    Entry,
    PlaceTest,
    PrefixSet,
)
from kroute.plan.policy.rules import Policy, Rule
from kroute.plan.selector import selects


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The peer that a policy is compiled for, and the direction: ``prepend`` is the AS to put in front by default."""

    names: frozenset[str]
    """All that rules may call it."""
    prepend: Asn
    group: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of the node at the other end."""


def compiled(config: PolicyConfig, names: Mapping[str, str], to: Bound) -> Policy:
    """A policy for one peer. ``names`` are the operator's own names of communities.

    Raises:
        ValueError: the policy is not a checked one (:mod:`kroute.codec.config`).
    """
    rules = tuple(
        _rule(config.name, rule, names, to) for rule in config.rules if concerns(rule.match, to)
    )
    return Policy(name=config.name, rules=rules, default=config.default)


def concerns(match: Match, to: Bound) -> bool:
    """Whether a rule can match a route of this peer at all."""
    if match.peers and to.names.isdisjoint(match.peers):
        return False
    if match.groups and to.group not in match.groups:
        return False
    return selects(match.node_selector, to.labels)


def _rule(policy: str, rule: RuleConfig, names: Mapping[str, str], to: Bound) -> Rule:
    match = rule.match
    return Rule(
        name=f"{policy}/{rule.name}",
        block=BlockTest(
            family=next((f for f in Family if match.family and f.label == match.family), None),
            communities=_patterns(match.communities, names),
            as_path=None if match.as_path is None else _as_path(match.as_path),
            nexthops=within(match.next_hops) if match.next_hops else None,
        ),
        place=PlaceTest(
            prefixes=_prefixes(match) if match.prefixes else None,
            kinds=frozenset(match.origin_class),
            states=frozenset(match.origin),
        ),
        actions=_actions(rule.set, names, to),
        then=rule.then,
        reason=rule.reason,
    )


def _patterns(texts: Iterable[str], names: Mapping[str, str]) -> tuple[CommunityPattern, ...]:
    return tuple(parse_community(text, names) for text in texts)


def _as_path(match: AsPathMatch) -> AsPathTest:
    return AsPathTest(
        contains=frozenset(match.contains),
        origin=frozenset(match.origin),
        least=match.min_length or 0,
        most=match.max_length,
        regex=re.compile(match.regex) if match.regex else None,
    )


def _prefixes(match: Match) -> PrefixSet:
    entries: list[Entry] = []
    for wanted in match.prefixes:
        family, own = family_of(wanted.prefix), wanted.prefix.prefixlen
        most = own if wanted.ge is None else family.bits
        entries.append(
            (
                family,
                nlri_of(wanted.prefix),
                own if wanted.ge is None else wanted.ge,
                most if wanted.le is None else wanted.le,
            )
        )
    return PrefixSet(tuple(entries))


def within(prefixes: Iterable[Prefix]) -> PrefixSet:
    """These prefixes and all that is in them."""
    return PrefixSet(
        tuple((family_of(p), nlri_of(p), p.prefixlen, p.max_prefixlen) for p in prefixes)
    )


def hosts(prefixes: Iterable[Prefix]) -> PrefixSet:
    """The single addresses (/32, /128) in these prefixes."""
    return PrefixSet(
        tuple((family_of(p), nlri_of(p), p.max_prefixlen, p.max_prefixlen) for p in prefixes)
    )


def _actions(wanted: SetActions, names: Mapping[str, str], to: Bound) -> Actions:
    prepend = wanted.prepend
    added = _patterns(wanted.communities.add, names)
    return Actions(
        local_pref=wanted.local_pref,
        med=wanted.med,
        weight=wanted.weight,
        place=Place(wanted.table or 0, wanted.metric or 0),
        prepend=() if prepend is None else (prepend.asn or to.prepend,) * prepend.times,
        add=tuple(pattern.exact for pattern in added if pattern.exact is not None),
        remove=_patterns(wanted.communities.remove, names),
        nexthop=b"" if wanted.next_hop is None else wanted.next_hop.packed,
    )
