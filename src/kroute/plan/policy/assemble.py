"""Which rules apply to which peer, as configured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kroute.model.bgp import Asn, Peer, PeerKind, PeerName
from kroute.model.config import Config
from kroute.model.config_peering import Accept, PeerConfig
from kroute.model.net import Family, Nlri, family_of, nlri_of
from kroute.model.node import Node
from kroute.model.peering import effective_peers
from kroute.model.policies import NexthopRule, PolicyConfig
from kroute.plan.policy import UNRULED, ExportWish, ImportRules, PeerRules, acceptance
from kroute.plan.policy.compile import Bound, compiled, concerns, hosts
from kroute.plan.policy.exports import OWN
from kroute.plan.policy.imports import EVERYTHING, Acceptance
from kroute.plan.policy.rules import Policy

Owners = Mapping[tuple[Family, Nlri], str]


def effective_rules(config: Config, peers: Mapping[PeerName, Peer]) -> dict[str, dict[str, Any]]:
    """What applies to each peer, defaults filled in, in the words of the configuration file."""
    explicit = {peer.name: peer for peer in effective_peers(config.peering)}
    return {
        name: _effective(config, peer, explicit.get(peer.configured))
        for name, peer in sorted(peers.items())
    }


def _effective(config: Config, peer: Peer, wanted: PeerConfig | None) -> dict[str, Any]:
    external = peer.kind is PeerKind.EXTERNAL
    announce = None if wanted is None else wanted.announce
    if announce is None and external:
        announce = tuple(sorted(OWN))
    peering = config.peering
    imports = peering.import_ if wanted is None else wanted.import_
    exports = peering.export if wanted is None else wanted.export
    hop = (wanted.next_hop if wanted else None) or NexthopRule.AUTO
    return {
        "kind": peer.kind.value,
        "accept": ((wanted.accept if wanted else None) or Accept.NONE).value if external else "all",
        "acceptPrefixes": [str(p) for p in (wanted.accept_prefixes if wanted else None) or ()],
        "import": imports or "",
        "announce": "all that iBGP passes on" if announce is None else [c.value for c in announce],
        "export": exports or "",
        "nextHop": hop.value,
        "passOn": bool(wanted and wanted.pass_on),
    }


class Rulebook:
    """The policies of one configuration, compiled for peers as they are asked for; peers alike share the result."""

    def __init__(self, config: Config, nodes: Mapping[str, Node], owners: Owners) -> None:
        self._peering = config.peering
        self._names = config.community_names
        self._policies = {policy.name: policy for policy in config.policies}
        self._explicit = {peer.name: peer for peer in effective_peers(config.peering)}
        self._service_ranges = config.services.ranges
        self._nodes = nodes
        self._owners = owners
        self._made: dict[tuple[object, ...], Policy] = {}
        """Policies by all that tells them apart: the AS to prepend, and which of their rules concern the peer."""

    def rules(self, peers: Mapping[PeerName, Peer]) -> dict[PeerName, PeerRules]:
        """The rules of each peer; of an explicit one that is not configured any more there are none."""
        return {
            name: found for name, peer in peers.items() if (found := self._of(peer)) is not None
        }

    def _of(self, peer: Peer) -> PeerRules | None:
        if peer.configured:
            explicit = self._explicit.get(peer.configured)
            return None if explicit is None else self._of_explicit(peer, explicit)
        peering = self._peering
        if not peering.import_ and not peering.export:
            return UNRULED
        return PeerRules(
            imports=ImportRules(policy=self._policy(peering.import_, peer, "", importing=True)),
            exports=ExportWish(policy=self._policy(peering.export, peer, "", importing=False)),
        )

    def _of_explicit(self, peer: Peer, wanted: PeerConfig) -> PeerRules:
        announce = wanted.announce
        return PeerRules(
            imports=ImportRules(
                acceptance=self._acceptance(peer, wanted),
                policy=self._policy(wanted.import_, peer, wanted.group, importing=True),
            ),
            exports=ExportWish(
                announce=None if announce is None else frozenset(announce),
                nexthop=wanted.next_hop or NexthopRule.AUTO,
                policy=self._policy(wanted.export, peer, wanted.group, importing=False),
            ),
            pass_on=bool(wanted.pass_on),
        )

    def _acceptance(self, peer: Peer, wanted: PeerConfig) -> Acceptance:
        if peer.kind is not PeerKind.EXTERNAL:
            return EVERYTHING
        prefixes = wanted.accept_prefixes or ()
        accept = wanted.accept or Accept.NONE
        return acceptance(
            peer.kind,
            peer.internal,
            accept,
            named=frozenset((family_of(p), nlri_of(p)) for p in prefixes),
            owners=self._owners if accept is Accept.POD_CIDRS else {},
            hosts=hosts((*prefixes, *self._service_ranges)),
        )

    def _policy(
        self, name: str | None, peer: Peer, group: str, *, importing: bool
    ) -> Policy | None:
        config = self._policies.get(name or "")
        if config is None:
            return None
        return self._shared(config, peer, group, peer.asn if importing else peer.local_asn)

    def _shared(self, config: PolicyConfig, peer: Peer, group: str, prepend: Asn) -> Policy:
        node = self._nodes.get(peer.node)
        to = Bound(
            names=frozenset(
                {peer.name, peer.configured, f"peer/{peer.configured}", f"node/{peer.node}"}
            ),
            prepend=prepend,
            group=group,
            labels=node.labels if node else {},
        )
        key = (config.name, prepend, *(concerns(rule.match, to) for rule in config.rules))
        if key not in self._made:
            self._made[key] = compiled(config, self._names, to)
        return self._made[key]
