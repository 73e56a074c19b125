"""Policies, compiled and bound to one peer: ordered rules, and the walk of a route through them.

A walk is a tree that grows as it is needed. Conditions on the attribute block are decided once, when its root is made;
where a rule looks at the prefix as well there is a fork, and each prefix takes its side. A policy that looks at
attributes only is one leaf: 1,000 prefixes of one UPDATE cost what one does.

::

    root ─ Fork(no-tiny: prefix) ─┬─ yes: Verdict(reject)
                                  └─ no: Fork(pods: class) ─┬─ yes: Verdict(accept, localPref 200)
                                                            └─ no: Verdict(default)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from kroute.model.bgp import Attributes
from kroute.model.net import Family
from kroute.model.policies import Default, Then
from kroute.model.reason import Reason, Why
from kroute.plan.policy.actions import Actions, Draft
from kroute.plan.policy.matching import BlockTest, Place, PlaceTest


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. ``name`` is that which people see, ``policy/rule``."""

    name: str
    block: BlockTest
    place: PlaceTest
    actions: Actions
    then: Then
    reason: str = ""

    def refusal(self) -> Reason:
        """The reason of a route that it rejects."""
        words = f": {self.reason}" if self.reason else ""
        return Reason(Why.POLICY, f"rejected by rule {self.name}{words}", self.name)


class Verdict(NamedTuple):
    """The end of a walk. ``accepted`` None: no rule decided, and the policy has no default of its own.

    ``draft`` None: there is no policy at all.
    """

    accepted: bool | None
    draft: Draft | None
    refusal: Reason | None = None


UNDECIDED = Verdict(None, None)
"""Where there is no policy."""


class Fork:
    """A rule whose block conditions hold and that asks for the prefix."""

    __slots__ = ("_draft", "_family", "_no", "_policy", "_position", "_yes")

    def __init__(self, policy: Policy, position: int, family: Family, draft: Draft) -> None:
        self._policy = policy
        self._position = position
        self._family = family
        self._draft = draft
        self._yes: Node | None = None
        self._no: Node | None = None

    def step(self, place: Place) -> Node:
        """The side that a prefix takes."""
        policy, following = self._policy, self._position + 1
        rule = policy.rules[self._position]
        if not rule.place.holds(place):
            if self._no is None:
                self._no = policy.walk(self._family, self._draft, following)
            return self._no
        if self._yes is None:
            self._yes = policy.matched(rule, self._family, self._draft, following)
        return self._yes


Node = Verdict | Fork


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Rules in order, of which those that can never match this peer are left out."""

    name: str
    rules: tuple[Rule, ...] = ()
    default: Default | None = None

    @property
    def asks_kind(self) -> bool:
        """Whether a rule asks what a prefix is to this node."""
        return any(rule.place.kinds for rule in self.rules)

    def start(self, family: Family, attributes: Attributes) -> Node:
        """The root of the walk of a block's prefixes."""
        return self.walk(family, Draft(attributes))

    def walk(self, family: Family, draft: Draft, position: int = 0) -> Node:
        """From a rule on to where the prefix must be known, or to the end."""
        for i in range(position, len(self.rules)):
            rule = self.rules[i]
            if not rule.block.holds(family, draft.attributes):
                continue
            if not rule.place.is_open:
                return Fork(self, i, family, draft)
            return self.matched(rule, family, draft, i + 1)
        if self.default is None:
            return Verdict(None, draft)
        accepted = self.default is Default.ACCEPT
        return Verdict(accepted, draft, None if accepted else self._default_refusal())

    def matched(self, rule: Rule, family: Family, draft: Draft, following: int) -> Node:
        """Go on with a rule that matches."""
        draft = rule.actions.apply(draft, rule.name)
        if rule.then is Then.NEXT:
            return self.walk(family, draft, following)
        accepted = rule.then is Then.ACCEPT
        return Verdict(accepted, draft, None if accepted else rule.refusal())

    def _default_refusal(self) -> Reason:
        name = f"{self.name}/default"
        return Reason(Why.POLICY, f"no rule of policy {self.name} accepts it", name)


def follow(node: Node, place: Place) -> Verdict:
    """Walk a prefix to its end."""
    while isinstance(node, Fork):
        node = node.step(place)
    return node
