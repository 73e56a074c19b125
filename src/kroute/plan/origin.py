"""The origin check: whether who announces a prefix owns it, as Kubernetes says (the states of RFC 6811).

::

    a podCIDR, or a part of one    its node announces it: valid        anybody else: invalid
    from outside the cluster       around podCIDRs, or in originCheck.clusterRanges: invalid, unless configured
    everything else                unknown

A node announces what leads to it: the next hop is an address of the node, the session's peer is the node and has not
reflected it, or a reflector names the node as its originator and the next hop is no other node's. An external peer is
no node: there the next hop counts, and the AS that the path began in, where each node has one of its own. That a peer
was told to announce podCIDRs makes those of other nodes unknown.

What is judged follows from the inventory's last state alone, so that a route which came before its node did is judged
again when the node comes. Before the inventory has been listed whole, nothing is known to be anybody's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import is_
from typing import Final, TypeVar

from kroute.model.bgp import Attributes, Peer, PeerKind, SegmentType
from kroute.model.config import Bgp, Config, OriginMode
from kroute.model.config_peering import Accept, PeerConfig
from kroute.model.net import Family, Nlri, family_of, nlri_of, prefix_of
from kroute.model.node import Node
from kroute.model.peering import effective_peers
from kroute.model.policies import OriginState
from kroute.model.reason import Reason, Why
from kroute.model.state import Observed
from kroute.plan.asn import node_asn
from kroute.plan.paths import Path
from kroute.plan.policy.classes import NOTHING
from kroute.plan.policy.compile import hosts
from kroute.plan.policy.matching import PrefixSet
from kroute.plan.policy.origin import UNASKED, UNCHECKED, OriginCheck, OriginVerdict
from kroute.plan.ranges import NO_RANGES, Ranges
from kroute.plan.sessions import router_id

MOST_VERDICTS: Final = 10_000
"""Different verdicts that are remembered, so that equal ones are the same: as many as ranges and announcers need."""

VALID: Final = OriginVerdict(OriginState.VALID)
DEFAULT_ROUTE: Final[Nlri] = b"\0"

T = TypeVar("T")
Key = tuple[Family, Nlri]
Names = Mapping[bytes, frozenset[str]]
"""Nodes by one of their addresses, or by their BGP identifier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What an external peer may say of ranges that are the cluster's: what its configuration names."""

    named: frozenset[Key] = frozenset()
    hosts: PrefixSet = NOTHING
    """Single addresses that `accept: anycast` takes."""
    default_route: bool = False
    pod_cidrs: bool = False


NO_TRUST: Final = Trust()


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """All that verdicts follow from. ``cluster`` are the configured ranges; ``enforce``: invalid is refused."""

    me: str
    owners: Mapping[Key, str] = field(default_factory=dict)
    addresses: Names = field(default_factory=dict)
    router_ids: Names = field(default_factory=dict)
    asns: Mapping[int, str] = field(default_factory=dict)
    """Nodes by their AS, where it is of one node alone."""
    cluster: frozenset[Key] = frozenset()
    trusts: Mapping[str, Trust] = field(default_factory=dict)
    """By the name of the peer in the configuration."""
    enforce: bool = True


def origin_check(observed: Observed, owners: Mapping[Key, str], before: OriginCheck) -> OriginCheck:
    """The check that follows from the settled owners, the nodes and the configuration.

    ``before`` is the one in force, which lends what it has worked out, and stays where nothing has changed.
    """
    if observed.config.origin_check.mode is OriginMode.OFF or not observed.listed:
        return UNCHECKED
    basis = observed.nodes, observed.config, owners
    if isinstance(before, Origins) and all(map(is_, before.basis, basis)):
        known = replace(before.truth, me=observed.me)
    else:
        known = truth(observed.me, observed.config, observed.nodes, owners)
    if isinstance(before, Origins) and before.truth == known:
        return before
    return Origins(known, before, basis)


def truth(me: str, config: Config, nodes: Mapping[str, Node], owners: Mapping[Key, str]) -> Truth:
    """What the inventory and the configuration say of who owns what."""
    names = {name: frozenset((name,)) for name in nodes}
    others = replace(config.bgp, router_id="")
    return Truth(
        me=me,
        owners=owners,
        addresses=_names((a.packed, names[n.name]) for n in nodes.values() for a in n.addresses),
        router_ids=_names((_identifier(others, n), names[n.name]) for n in nodes.values()),
        asns=_single(config.bgp, nodes) if config.bgp.asn_label else {},
        cluster=frozenset((family_of(p), nlri_of(p)) for p in config.origin_check.cluster_ranges),
        trusts={p.name: _trust(p, config) for p in effective_peers(config.peering)},
        enforce=config.origin_check.mode is OriginMode.ENFORCE,
    )


def _trust(peer: PeerConfig, config: Config) -> Trust:
    named, anycast = peer.accept_prefixes or (), peer.accept is Accept.ANYCAST
    return Trust(
        named=frozenset((family_of(n), nlri_of(n)) for n in named),
        hosts=hosts((*named, *config.services.ranges)) if anycast else NOTHING,
        default_route=peer.accept in (Accept.DEFAULT_ROUTE, Accept.ALL),
        pod_cidrs=peer.accept is Accept.POD_CIDRS,
    )


def _single(bgp: Bgp, nodes: Mapping[str, Node]) -> dict[int, str]:
    asns = {name: node_asn(bgp, node) for name, node in nodes.items()}
    shared = Counter(asns.values())
    return {asn: name for name, asn in asns.items() if shared[asn] == 1}


def _identifier(bgp: Bgp, node: Node) -> bytes:
    """A node's BGP identifier as four octets; nearly always its IPv4 address."""
    own = node.address(Family.IPV4)
    return own.packed if own is not None else bytes(map(int, router_id(bgp, node).split(".")))


def _names(pairs: Iterable[tuple[bytes, frozenset[str]]]) -> Names:
    """Names by key. Two nodes may claim one address by mistake: then it is either's."""
    found: dict[bytes, frozenset[str]] = {}
    for key, name in pairs:
        held = found.setdefault(key, name)
        if held is not name:
            found[key] = held | name
    return found


class Origins:
    """The origin check by one truth; see :class:`kroute.plan.policy.origin.OriginCheck`."""

    __slots__ = ("_cluster", "_pods", "_related", "_verdicts", "basis", "truth")

    def __init__(
        self, known: Truth, before: OriginCheck | None = None, basis: tuple[object, ...] = (None,)
    ) -> None:
        """``before`` lends what it has worked out already. ``basis``: what the truth was made of."""
        self.truth = known
        self.basis = basis
        self._pods: Mapping[Family, Ranges]
        self._cluster: Mapping[Family, Ranges]
        self._related: Mapping[Family, Ranges]
        lender = before if isinstance(before, Origins) else None
        same_pods = lender is not None and _same(lender.truth.owners, known.owners)
        same_cluster = lender is not None and lender.truth.cluster == known.cluster
        self._pods = lender._pods if lender and same_pods else _by_family(known.owners)
        self._cluster = lender._cluster if lender and same_cluster else _by_family(known.cluster)
        if not known.cluster:
            self._related = self._pods
        elif lender and same_pods and same_cluster:
            self._related = lender._related
        else:
            self._related = _by_family((*known.owners, *known.cluster))
        self._verdicts: dict[tuple[Why, str, Family, Nlri, str], OriginVerdict] = {}

    # --- judging -----------------------------------------------------------------------------------------

    def related(self, family: Family, nlris: Collection[Nlri]) -> list[Nlri]:
        """Those prefixes that may be anything but unknown: nearly none of a full table."""
        return self._related[family].related(nlris)

    def judge(
        self, attributes: Attributes, peer: Peer, family: Family, nlri: Nlri
    ) -> OriginVerdict:
        """The verdict on one prefix of a path as received."""
        outside = peer.kind is PeerKind.EXTERNAL
        held = self._pods[family].holder(nlri)
        if held is not None:
            if outside:
                return self._pods_from_outside(attributes, peer, family, nlri, held)
            return self._pods_from_inside(attributes, peer, family, nlri, held)
        if not outside or self._is_configured(peer, family, nlri):
            return UNASKED
        cluster = self._cluster[family]
        if (part := cluster.holder(nlri)) is not None:
            return self._invalid(Why.ORIGIN_CLUSTER_RANGE, family, nlri, part, peer.name)
        around = self._pods[family].under(nlri)
        if around is None:
            around = cluster.under(nlri)
        if around is None:
            return UNASKED
        return self._invalid(Why.ORIGIN_COVERING, family, nlri, around, peer.name)

    def _pods_from_inside(
        self, attributes: Attributes, peer: Peer, family: Family, nlri: Nlri, held: Nlri
    ) -> OriginVerdict:
        if self._is_of(self.truth.owners[family, held], attributes, peer):
            return VALID
        who = self._announcer(attributes, peer)
        return self._invalid(_why(nlri, held), family, nlri, held, who)

    def _pods_from_outside(
        self, attributes: Attributes, peer: Peer, family: Family, nlri: Nlri, held: Nlri
    ) -> OriginVerdict:
        owner, trust = self.truth.owners[family, held], self._trust(peer)
        if owner != self.truth.me:
            if nlri == held and self._begins_at(owner, attributes):
                return VALID
            if (family, nlri) in trust.named or (nlri == held and trust.pod_cidrs):
                return UNASKED
        return self._invalid(_why(nlri, held), family, nlri, held, peer.name)

    def _begins_at(self, owner: str, attributes: Attributes) -> bool:
        """Whether a path from outside the cluster leads to a node, or began in an AS that is its alone."""
        if owner in self.truth.addresses.get(attributes.nexthop, ()):
            return True
        path = attributes.as_path
        last = path[-1] if path else None
        if last is None or last.type is not SegmentType.AS_SEQUENCE or not last.asns:
            return False  # RFC 6811 §2: the origin of an aggregate with an AS_SET is NONE
        return self.truth.asns.get(last.asns[-1]) == owner

    def _is_of(self, owner: str, attributes: Attributes, peer: Peer) -> bool:
        """Whether a path from inside the cluster is a node's: it leads there, or the node itself says so."""
        hop = self.truth.addresses.get(attributes.nexthop, ())
        if owner in hop:
            return True
        originator = attributes.originator_id
        if originator is None:
            return peer.node == owner
        # Anybody can write an ORIGINATOR_ID. It counts from reflectors, who overwrite next hops at most with their
        # own, and never against a next hop that is known to be another node's.
        if hop and peer.node not in hop:
            return False
        reflects = peer.kind is PeerKind.REFLECTOR or not peer.node
        return reflects and owner in self.truth.router_ids.get(originator, ())

    def _announcer(self, attributes: Attributes, peer: Peer) -> str:
        """Who announces a path from inside the cluster, in words."""
        if peer.node and attributes.originator_id is None:
            return f"node {peer.node}"
        hop = self.truth.addresses.get(attributes.nexthop)
        return f"node {min(hop)}" if hop else peer.name

    def _trust(self, peer: Peer) -> Trust:
        return self.truth.trusts.get(peer.configured, NO_TRUST)

    def _is_configured(self, peer: Peer, family: Family, nlri: Nlri) -> bool:
        trust = self._trust(peer)
        if nlri == DEFAULT_ROUTE and trust.default_route:
            return True
        return (family, nlri) in trust.named or trust.hosts.holds(family, nlri)

    def _invalid(self, why: Why, family: Family, nlri: Nlri, held: Nlri, who: str) -> OriginVerdict:
        """The one verdict on all prefixes of an announcer that stand alike to a range of somebody else."""
        stands = _stands(nlri, held)
        key = (why, stands, family, held, who)
        found = self._verdicts.get(key)
        if found is None:
            if len(self._verdicts) >= MOST_VERDICTS:
                self._verdicts.clear()
            reason = Reason(why, self._words(why, stands, family, held, who))
            found = OriginVerdict(OriginState.INVALID, reason, refused=self.truth.enforce)
            self._verdicts[key] = found
        return found

    def _words(self, why: Why, stands: str, family: Family, held: Nlri, who: str) -> str:
        owner = self.truth.owners.get((family, held))
        if owner is None:
            whose = "is the cluster's own (originCheck.clusterRanges)"
        elif owner == self.truth.me:
            whose = "belongs to this node (spec.podCIDRs)"
        else:
            whose = f"belongs to node {owner} (spec.podCIDRs)"
        outside = why in (Why.ORIGIN_COVERING, Why.ORIGIN_CLUSTER_RANGE)
        where = " from outside the cluster" if outside else ""
        return f"{prefix_of(family, held)}{stands} {whose}; announced{where} by {who}"

    # --- what changed --------------------------------------------------------------------------------------

    def applies(self, peer: Peer) -> bool:
        """Every peer's paths are checked."""
        return True

    def differs(self, before: OriginCheck) -> Concern | None:
        """What this check may judge differently than the one before it; None: anything."""
        if not isinstance(before, Origins):
            return None
        now, then = self.truth, before.truth
        if _configured(now) != _configured(then):
            return None
        ranges = _unequal(now.owners, then.owners)
        addresses = _unequal(now.addresses, then.addresses)
        router_ids = _unequal(now.router_ids, then.router_ids)
        asns = _unequal(now.asns, then.asns)
        if asns:
            renumbered = {truth.asns.get(asn) for truth in (now, then) for asn in asns}
            ranges |= {key for key, owner in now.owners.items() if owner in renumbered}
        return Concern(self, _by_family(ranges), addresses | router_ids)


class Concern:
    """The prefixes about which two origin checks may say different things."""

    __slots__ = ("_check", "_identities", "_ranges")

    def __init__(
        self, check: Origins, ranges: Mapping[Family, Ranges], identities: frozenset[bytes]
    ) -> None:
        self._check = check
        self._ranges = ranges
        self._identities = identities
        """Addresses and BGP identifiers that stand for other nodes than before."""

    def among(self, family: Family, table: Mapping[Nlri, Path]) -> list[Nlri]:
        """Those prefixes of a peer's table that are to be judged again."""
        found = dict.fromkeys(self._ranges[family].related(table))
        identities = self._identities
        if identities:
            for nlri in self._check.related(family, table):
                block = table[nlri].base.attributes
                if block.nexthop in identities or block.originator_id in identities:
                    found[nlri] = None
        return list(found)


def _same(one: Mapping[Key, str], other: Mapping[Key, str]) -> bool:
    return one is other or one == other


def _configured(known: Truth) -> tuple[object, ...]:
    return known.me, known.cluster, known.trusts, known.enforce


def _why(nlri: Nlri, held: Nlri) -> Why:
    return Why.ORIGIN_HIJACK if nlri == held else Why.ORIGIN_MORE_SPECIFIC


def _stands(nlri: Nlri, held: Nlri) -> str:
    if nlri == held:
        return ""
    return ", which it is part of," if nlri[0] > held[0] else ", which it covers,"


def _unequal(one: Mapping[T, object], two: Mapping[T, object]) -> frozenset[T]:
    """The keys under which two mappings do not hold the same."""
    if one is two or one == two:
        return frozenset()
    return frozenset(key for key in one.keys() | two.keys() if one.get(key) != two.get(key))


def _by_family(keys: Iterable[Key]) -> dict[Family, Ranges]:
    sorted_out: dict[Family, list[Nlri]] = {f: [] for f in Family}
    for family, nlri in keys:
        sorted_out[family].append(nlri)
    return {f: Ranges(nlris) if nlris else NO_RANGES for f, nlris in sorted_out.items()}
