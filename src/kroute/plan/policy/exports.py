"""Export: which paths a peer is told, in which words, and why a path is not.

Three gates, in this order, each with its reason:

1. who told us: iBGP and reflection rules (RFC 4271 §9.2, RFC 4456 §6), and the well-known communities of RFC 1997.
   What an external peer told us goes to internal peers where `passOn` of that peer says so, to other external ones
   where their `announce` names `external`;
2. what it is: `announce`, by default of an external peer what this node originates;
3. the named export policy, which can refuse and change, but never tell what the first two gates hold back.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Any, NamedTuple

from kroute.model.bgp import Asn, Attributes, PeerKind
from kroute.model.communities import NO_ADVERTISE, NO_EXPORT, NO_EXPORT_SUBCONFED
from kroute.model.net import Family
from kroute.model.policies import NexthopRule, OriginClass
from kroute.model.reason import Reason, Why
from kroute.model.session_keys import ADD_PATH_MAX, PathSelect
from kroute.plan.paths import LAST_RESORT, Path
from kroute.plan.policy.actions import Draft, prepended
from kroute.plan.policy.matching import Place
from kroute.plan.policy.rules import UNDECIDED, Fork, Node, Policy, Verdict, follow

OWN = frozenset({OriginClass.OWN_PODS, OriginClass.SERVICE})
"""What an external peer is told unless configured: of these, what this node originates."""

OTHERS = frozenset({OriginClass.PEER_PODS, OriginClass.DEFAULT, OriginClass.EXTERNAL})
"""Classes of `announce` that ask for what others have announced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportWish:
    """What is configured of what a peer is told.

    ``announce`` None: to internal peers every class, to external ones :data:`OWN`.
    """

    announce: frozenset[OriginClass] | None = None
    nexthop: NexthopRule = NexthopRule.AUTO
    policy: Policy | None = None


UNWISHED = ExportWish()


@dataclass(frozen=True, slots=True, kw_only=True)
class Several:
    """That several paths to a prefix are told, in some families (RFC 7911)."""

    families: tuple[Family, ...]
    select: PathSelect = PathSelect.EQUAL
    most: int = ADD_PATH_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRules:
    """All that decides what a peer is told and in which words; peers of equal rules share one Adj-RIB-Out."""

    kind: PeerKind
    internal: bool
    local_asn: Asn
    router_id: bytes
    cluster_id: bytes
    nexthops: tuple[tuple[Family, bytes], ...]
    """Own next hop for each family that the session carries."""
    extended_nexthop: bool
    """Whether IPv4 routes may be told with IPv6 next hops (RFC 8950)."""
    asn4: bool
    message_size: int
    wish: ExportWish = UNWISHED
    several: Several | None = None
    """Where a prefix is told with several paths; None: nowhere."""

    @property
    def announce(self) -> frozenset[OriginClass] | None:
        """The classes that are told; None: all."""
        return OWN if self.wish.announce is None and not self.internal else self.wish.announce

    @property
    def others(self) -> bool:
        """Whether peers are told what others have announced, as far as classes decide."""
        return self.announce is None or bool(self.announce & OTHERS)

    @property
    def asks_kind(self) -> bool:
        """Whether what a learned prefix is to this node decides."""
        if self.wish.policy is not None and self.wish.policy.asks_kind:
            return True
        return self.announce is not None and self.others

    def has_ids(self, family: Family) -> bool:
        """Whether prefixes of a family are told with path identifiers before them."""
        return self.several is not None and family in self.several.families

    def nexthop(self, family: Family) -> bytes | None:
        """The own next hop for a family, or None where the session cannot carry it."""
        return next((hop for f, hop in self.nexthops if f is family), None)


PASSES_ON: Mapping[PeerKind, frozenset[PeerKind]] = {
    PeerKind.MESH: frozenset({PeerKind.CLIENT, PeerKind.EXTERNAL}),
    PeerKind.CLIENT: frozenset(PeerKind),
    PeerKind.REFLECTOR: frozenset({PeerKind.CLIENT, PeerKind.EXTERNAL}),
    PeerKind.EXTERNAL: frozenset(PeerKind),
}
"""To a peer of the key's kind: learned from which kinds at most (RFC 4271 §9.2, RFC 4456 §6)."""


def sources(rules: ExportRules, kinds: Set[PeerKind], passed_on: bool) -> frozenset[PeerKind]:
    """Of which kinds of peers there may be paths to tell to peers of these rules.

    ``kinds`` are those there are; ``passed_on``: whether any external peer's paths go to internal peers.
    """
    if not rules.others:
        return frozenset()
    found = PASSES_ON[rules.kind] & kinds
    return found if passed_on or not rules.internal else found - {PeerKind.EXTERNAL}


def held_back(rules: ExportRules, path: Path) -> Reason | None:
    """Why a path is told to no peer of these rules whatever its prefix; None if it may be told."""
    peer = path.source.peer
    if path.is_seeded:
        return Reason(Why.NOT_PASSED_ON, "nobody has announced it, the inventory vouches for it")
    if peer is None:
        own = path.origination
        if rules.internal and own is not None and not own.internal:
            return Reason(Why.NOT_PASSED_ON, "it is announced to external peers only")
        return None
    if peer.kind not in PASSES_ON[rules.kind]:
        return Reason(Why.NOT_PASSED_ON, f"learned from {peer.kind}, not told to {rules.kind}")
    if peer.kind is PeerKind.EXTERNAL and rules.internal and not path.source.pass_on:
        return Reason(Why.NOT_PASSED_ON, f"passOn of the external {peer.name} is not set")
    if not rules.others:
        return Reason(Why.NOT_ANNOUNCED, "announce names nothing that others have announced")
    announce = rules.announce
    between = peer.kind is PeerKind.EXTERNAL and not rules.internal
    if between and (announce is None or OriginClass.EXTERNAL not in announce):
        return Reason(Why.NOT_ANNOUNCED, "learned from an external peer; announce has no external")
    return _silenced(rules, path.attributes.communities)


def _silenced(rules: ExportRules, communities: tuple[int, ...]) -> Reason | None:
    """RFC 1997; without confederations both kinds of no-export mean the same."""
    if NO_ADVERTISE in communities:
        return Reason(Why.SILENCED, "its community no-advertise (RFC 1997)")
    if not rules.internal and (NO_EXPORT in communities or NO_EXPORT_SUBCONFED in communities):
        return Reason(Why.SILENCED, "its community no-export (RFC 1997)")
    return None


class Told(NamedTuple):
    """What becomes of a path towards peers of some rules: its attributes, or why there are none; and the rules."""

    attributes: Attributes | None
    refusal: Reason | None = None
    rules: tuple[str, ...] = ()


class Export:
    """One path towards peers of some rules: what is the same for all its prefixes is found once.

    ``own`` is our own next hop for the family, None where the session does not carry it.
    """

    __slots__ = ("_family", "_known", "_own", "_root", "_rules", "fixed", "path")

    def __init__(self, rules: ExportRules, path: Path, family: Family, own: bytes | None) -> None:
        self.path = path
        self._own = own
        self._rules = rules
        self._family = family
        self._known: dict[int, tuple[Verdict, Told]] | None = None
        self._root: Node = UNDECIDED
        self.fixed: Told | None = self._begin()
        """What becomes of every prefix of the path alike; None where it must be asked (:meth:`told`)."""

    def _begin(self) -> Told | None:
        rules, path = self._rules, self.path
        if self._own is None:
            return Told(None, Reason(Why.NOT_CARRIED, "the session does not carry its family"))
        refusal = held_back(rules, path)
        if refusal is not None:
            return Told(None, refusal)
        if rules.wish.policy is not None:
            self._root = rules.wish.policy.start(self._family, path.attributes)
        announce = rules.announce
        if announce is not None and path.is_local and _kind(path) not in announce:
            return Told(None, self._not_announced(_kind(path)))
        if isinstance(self._root, Fork) or (announce is not None and not path.is_local):
            return None
        return self._end(self._root)

    def told(self, place: Place) -> Told:
        """What becomes of one prefix."""
        if self.fixed is not None:
            return self.fixed
        if not self._is_announced(place.kind):
            return Told(None, self._not_announced(place.kind))
        verdict = follow(self._root, place)
        if self._known is None:
            self._known = {}
        known = self._known.get(id(verdict))
        if known is None:
            known = self._known[id(verdict)] = (verdict, self._end(verdict))
        return known[1]

    def _is_announced(self, kind: OriginClass) -> bool:
        """Of services, own ones are told where announce has service, others' where it has peerPods as well."""
        announce = self._rules.announce
        if announce is None:
            return True
        if kind not in announce:
            return False
        own = self.path.is_local or kind is not OriginClass.SERVICE
        return own or OriginClass.PEER_PODS in announce

    def _not_announced(self, kind: OriginClass) -> Reason:
        named = ", ".join(sorted(self._rules.announce or ())) or "nothing"
        return Reason(Why.NOT_ANNOUNCED, f"announce names {named}, it is {kind}")

    def _end(self, verdict: Verdict) -> Told:
        """The words for the peer, after what the policy has changed."""
        draft = verdict.draft or Draft(self.path.attributes)
        if verdict.refusal is not None:
            return Told(None, verdict.refusal, draft.rules)
        assert self._own is not None, "only what the session carries is walked"
        found = _rendered(self._rules, self.path, self._family, self._own, draft)
        if found is None:
            text = "its IPv6 next hop cannot be told in this session (RFC 8950)"
            return Told(None, Reason(Why.NOT_CARRIED, text), draft.rules)
        return Told(found, None, draft.rules)


def _kind(path: Path) -> OriginClass:
    return OriginClass.OWN_PODS if path.origination is None else path.origination.kind


def exported(rules: ExportRules, path: Path, family: Family) -> Attributes | None:
    """The attributes in which a path is told to peers of these rules, if its prefix does not matter; None if not."""
    fixed = Export(rules, path, family, rules.nexthop(family)).fixed
    return None if fixed is None else fixed.attributes


def _rendered(
    rules: ExportRules, path: Path, family: Family, own: bytes, draft: Draft
) -> Attributes | None:
    """The attributes of a route on its way out, in the words for peers of these rules; None if they cannot read it.

    ``own`` is our own next hop for the family.
    """
    nexthop = draft.nexthop or _nexthop(rules, path, own)
    if family is Family.IPV4 and len(nexthop) != 4 and not _reads6(rules, nexthop, own):
        return None
    changes: dict[str, Any] = {"nexthop": nexthop, "link_local": b""}
    if not rules.internal:
        changes |= _external(rules, path, draft)
    else:
        if draft.attributes.local_pref is None:
            changes["local_pref"] = path.local_pref
        if not path.is_local and path.source.internal:
            changes |= _reflected(rules, path)
    return replace(draft.attributes, **changes)


def _reads6(rules: ExportRules, nexthop: bytes, own: bytes) -> bool:
    """Whether an IPv4 route may have an IPv6 next hop; where our own is one, the session was made so."""
    return rules.extended_nexthop or nexthop == own


def _nexthop(rules: ExportRules, path: Path, own: bytes) -> bytes:
    """Self, kept, or by who told us (RFC 4271 §5.1.3, RFC 4456 §10)."""
    if path.is_local or rules.wish.nexthop is NexthopRule.SELF:
        return own
    if rules.wish.nexthop is NexthopRule.KEEP:
        return path.attributes.nexthop
    return path.attributes.nexthop if rules.internal and path.source.internal else own


def _external(rules: ExportRules, path: Path, draft: Draft) -> dict[str, Any]:
    """RFC 4271 §5.1: own AS first, nothing that is internal; MED only if we have set it ourselves (§5.1.4)."""
    attributes = draft.attributes
    return {
        "as_path": prepended((rules.local_asn,), attributes.as_path),
        "local_pref": None,
        "med": attributes.med if draft.med or path.is_local else None,
        "originator_id": None,
        "cluster_list": (),
    }


def _reflected(rules: ExportRules, path: Path) -> dict[str, Any]:
    """RFC 4456 §8: ORIGINATOR_ID set once, our cluster in front of CLUSTER_LIST.

    The link-local half of an IPv6 next hop means nothing away from its link and is left out (RFC 2545 §3). What we are
    about to lose is told as the last resort that it is (RFC 8326 §4): another reflector that preferred it to a path of
    its own would not tell us that one, and we should wait for it in vain.
    """
    attributes = path.attributes
    last = {"local_pref": LAST_RESORT} if path.source.leaving else {}
    return {
        "originator_id": attributes.originator_id or path.source.router_id,
        "cluster_list": (rules.cluster_id, *attributes.cluster_list),
        **last,
    }


@lru_cache(maxsize=4096)
def quad(text: str) -> bytes:
    """A dotted quad as 4 octets; empty text as none."""
    return IPv4Address(text).packed if text else b""
