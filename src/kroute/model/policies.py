"""Routing policy as configured, and its words: what a route is to this node, and who may announce it.

Part of the configuration (:mod:`kroute.model.config`): one dataclass per mapping of the file, one field per key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from kroute.model.net import Address, Prefix
from kroute.model.selection import NodeSelector


class OriginClass(StrEnum):
    """What a prefix is to this node; each route is of exactly one class."""

    OWN_PODS = "ownPods"
    """A podCIDR of this node, announced by it."""
    PEER_PODS = "peerPods"
    """A podCIDR that the inventory gives to another node."""
    SERVICE = "service"
    """An address or aggregate of a service."""
    DEFAULT = "default"
    """0.0.0.0/0 or ::/0."""
    EXTERNAL = "external"
    """All else."""


class OriginState(StrEnum):
    """What the origin check says of a path, in the words of RFC 6811."""

    VALID = "valid"
    """Who announces it owns it."""
    INVALID = "invalid"
    """Somebody else owns it, or it has no business here."""
    UNKNOWN = "unknown"
    """Nothing is known about it, or nothing was asked."""


class IpFamily(StrEnum):
    """An address family as the file writes it."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


class Then(StrEnum):
    """What happens to a route that a rule matches, once the rule has set what it sets."""

    ACCEPT = "accept"
    """It is taken (import) or told (export); no further rule is asked."""
    REJECT = "reject"
    """It is not; no further rule is asked."""
    NEXT = "next"
    """The next rule is asked, and sees what this one has set."""


class Default(StrEnum):
    """What happens to a route that no rule decided."""

    ACCEPT = "accept"
    REJECT = "reject"


class NexthopRule(StrEnum):
    """Which next hop a peer is told."""

    AUTO = "auto"
    """Our own address; to internal peers, what was learned from internal peers keeps its next hop (RFC 4456 §10)."""
    SELF = "self"
    """Always our own address."""
    KEEP = "keep"
    """That of the route as we have it; our own for what we announce ourselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixMatch:
    """A prefix, and how long those within it may be."""

    prefix: Prefix
    """The prefix; without ge and le only exactly this one."""
    ge: int | None = None
    """Shortest length within the prefix that matches; empty: the prefix's own."""
    le: int | None = None
    """Longest length that matches; empty: with ge any, else the prefix's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AsPathMatch:
    """Conditions on the AS path; all that are given must hold. Export rules see it without our own AS in front."""

    contains: tuple[int, ...] = ()
    """One of these ASes is in it."""
    origin: tuple[int, ...] = ()
    """Its last AS, which originated the route, is one of these."""
    min_length: int | None = None
    """At least so long, an AS_SET counting 1."""
    max_length: int | None = None
    """At most so long; 0: only what our own AS originated."""
    regex: str = ""
    """Python's `re.search` in the path as text, such as `64512 64513 {1,2}`. A group that repeats must not repeat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which routes a rule is for: all keys that are given must hold, and of a list one member. Empty: all routes."""

    prefixes: tuple[PrefixMatch, ...] = ()
    """Prefixes, exactly or with the lengths that they may have."""
    family: IpFamily | None = None
    """ipv4 or ipv6."""
    origin_class: tuple[OriginClass, ...] = ()
    """What the prefix is to this node: ownPods, peerPods, service, default or external (all else)."""
    origin: tuple[OriginState, ...] = ()
    """What the origin check says: valid, invalid or unknown; on export of own routes valid."""
    communities: tuple[str, ...] = ()
    """Standard, extended or large ones, well-known names, or names of communityNames; `*` for any number."""
    as_path: AsPathMatch | None = None
    """Conditions on the AS path."""
    next_hops: tuple[Prefix, ...] = ()
    """The next hop is in one of these prefixes; a single address is written with /32 or /128."""
    peers: tuple[str, ...] = ()
    """The session is with one of these peers: `peer/tor1`, `node/n2`, or a configured peer's bare name."""
    groups: tuple[str, ...] = ()
    """The session is with a peer of one of these groups."""
    node_selector: NodeSelector | Mapping[str, str] | None = field(default=None, hash=False)
    """Labels that the node at the other end of the session has: {rack: a}, or matchLabels and matchExpressions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepend:
    """ASes to put in front of the AS path. Towards external peers our own AS stays the first."""

    asn: int | None = None
    """Which AS; empty: our own on export, the peer's on import."""
    times: int = 1
    """How often, 1 to 32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommunityEdit:
    """Communities to remove, then to add."""

    add: tuple[str, ...] = ()
    """Communities that the route gets."""
    remove: tuple[str, ...] = ()
    """Communities that it loses, with `*` for any number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetActions:
    """What a rule changes of a route."""

    local_pref: int | None = None
    """Local preference: the highest wins everywhere in our AS."""
    med: int | None = None
    """Multi-exit discriminator: the lowest wins at the neighbour."""
    weight: int | None = None
    """Import: weight of the route's next hop where several share the traffic, 1 to 256."""
    metric: int | None = None
    """Import: metric of the kernel's route, 1 to 4294967295, instead of `fib.metric`."""
    table: int | None = None
    """Import: routing table of the kernel's route, 1 to 4294967295 but 255, instead of `fib.table`."""
    prepend: Prepend | None = None
    """Make the AS path longer."""
    communities: CommunityEdit = field(default_factory=CommunityEdit)
    """Remove and add communities."""
    next_hop: Address | None = None
    """Another next hop. An IPv4 one needs `match.family: ipv4`, an IPv6 one either family."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleConfig:
    """One rule: which routes, what is changed of them, and what then."""

    name: str
    """Unique in its policy; shown with every verdict as POLICY/RULE."""
    match: Match = field(default_factory=Match)
    """Which routes; empty: all."""
    set: SetActions = field(default_factory=SetActions)
    """What is changed of them."""
    then: Then
    """accept, reject or next (ask the following rule)."""
    reason: str = ""
    """Words for people, shown with a rejected route."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyConfig:
    """Rules that are asked in order; the first that accepts or rejects decides."""

    name: str
    """Unique; what peers write under `import` and `export`."""
    rules: tuple[RuleConfig, ...] = ()
    """The rules, in order."""
    default: Default | None = None
    """What no rule decided: accept or reject; empty: on import what `accept` of the peer says, on export accept."""
