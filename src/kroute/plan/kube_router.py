"""kube-router's node annotations, put in force by adding to the configuration what they say.

From here on nobody needs to know of them: a peer of an annotation is an explicit peer, prepending is a policy. What the
configuration says itself goes before what annotations say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from kroute.model.communities import community_text
from kroute.model.config import Config
from kroute.model.config_peering import Accept, PeerConfig
from kroute.model.kube_router import NodeAnnotations, NodePeer
from kroute.model.node import Node
from kroute.model.peering import effective_peers
from kroute.model.policies import (
    CommunityEdit,
    Match,
    PolicyConfig,
    PrefixMatch,
    Prepend,
    RuleConfig,
    SetActions,
    Then,
)
from kroute.model.selection import RemoteAs
from kroute.model.state import Observed

POLICY: Final = "kube-router-annotations"
"""Name of the policies that annotations make, one for each direction."""


def with_annotations(observed: Observed) -> Observed:
    """The observation with the annotations of nodes in force, where the configuration asks for it."""
    if not observed.config.peering.kube_router_annotations:
        return observed
    nodes = observed.nodes
    if any(n.kube_router is not None and n.kube_router.pod_cidrs for n in nodes.values()):
        nodes = {name: _with_ranges(node) for name, node in nodes.items()}
    me = observed.nodes.get(observed.me)
    config = observed.config
    if me is not None and me.kube_router is not None:
        config = refined(config, me.kube_router)
    return replace(observed, nodes=nodes, config=config)


def _with_ranges(node: Node) -> Node:
    said = node.kube_router
    return replace(node, pod_cidrs=said.pod_cidrs) if said and said.pod_cidrs else node


def refined(config: Config, said: NodeAnnotations) -> Config:
    """The configuration with what the own node's annotations add."""
    peering = config.peering
    there = {peer.address for peer in peering.peers}
    peers = (*peering.peers, *(_peer(p) for p in said.peers if p.address not in there))
    config = replace(config, peering=replace(peering, peers=peers))
    imports, exports = _imports(said), _exports(said)
    if not imports and not exports:
        return config
    found = {"import_": imports, "export": exports}
    named = tuple(_governed(config, peer, found) for peer in effective_peers(config.peering))
    policies = tuple(policy for policy in (imports, exports) if policy)
    return replace(
        config,
        peering=replace(config.peering, peers=named),
        policies=(*config.policies, *policies),
    )


def _peer(wanted: NodePeer) -> PeerConfig:
    return PeerConfig(
        name=f"kube-router-{wanted.address}".replace(":", "-"),
        address=wanted.address,
        asn=wanted.asn,
        port=wanted.port,
        local_address=wanted.local_address,
        password_annotation=wanted.keyed or None,
        # kube-router takes all that an external peer tells but default routes; here it says so, and is checked.
        accept=Accept.ALL,
    )


def _governed(
    config: Config, peer: PeerConfig, found: dict[str, PolicyConfig | None]
) -> PeerConfig:
    """The peer under the policies of annotations: an external one, in each direction that it has no policy for."""
    if peer.asn in (config.bgp.asn, RemoteAs.INTERNAL):
        return peer
    added = {
        key: policy.name
        for key, policy in found.items()
        if policy is not None and getattr(peer, key) is None
    }
    return replace(peer, **added) if added else peer  # type: ignore[arg-type]


def _exports(said: NodeAnnotations) -> PolicyConfig | None:
    if said.prepend is None and not said.communities:
        return None
    asn, times = said.prepend or (0, 0)
    actions = SetActions(
        prepend=Prepend(asn=asn, times=min(times, 32)) if said.prepend else None,
        communities=CommunityEdit(add=tuple(map(community_text, said.communities))),
    )
    rule = RuleConfig(name="path-prepend-and-communities", set=actions, then=Then.NEXT)
    return PolicyConfig(name=f"{POLICY}-export", rules=(rule,))


def _imports(said: NodeAnnotations) -> PolicyConfig | None:
    if not said.import_reject:
        return None
    rule = RuleConfig(
        name="customimportreject",
        match=Match(prefixes=tuple(_ranges(said))),
        then=Then.REJECT,
        reason="kube-router.io/node.bgp.customimportreject of this node names its range",
    )
    return PolicyConfig(name=f"{POLICY}-import", rules=(rule,))


def _ranges(said: NodeAnnotations) -> Iterator[PrefixMatch]:
    for prefix in said.import_reject:
        yield PrefixMatch(prefix=prefix, ge=prefix.prefixlen, le=prefix.max_prefixlen)
