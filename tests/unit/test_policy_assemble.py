"""Which rules a configuration gives to which peer."""

from __future__ import annotations

from kroute.codec.config import parse_config
from kroute.model.bgp import Peer
from kroute.model.inventory import Listed
from kroute.model.policies import NexthopRule, OriginClass
from kroute.model.state import Observed
from kroute.plan import plan
from kroute.plan.observe import ConfigChanged, observe
from kroute.plan.policy import UNRULED, PeerRules
from kroute.plan.policy.assemble import Rulebook, effective_rules
from support.routing import V4, V6, n, node

CONFIG = """
services: {ranges: [203.0.113.0/24]}
policies:
- name: p
  rules:
  - {name: mine, match: {peers: [tor2]}, then: accept}
  - {name: group, match: {groups: [tors]}, set: {prepend: {times: 2}}, then: next}
  - {name: rack, match: {nodeSelector: {rack: a}}, then: reject}
peering:
  import: p
  groups: [{name: tors, asn: 65001, accept: anycast, announce: [peerPods], nextHop: self}]
  peers:
  - {name: tor1, group: tors, address: 192.0.2.101, import: p, acceptPrefixes: [198.51.100.0/25], passOn: true}
  - {name: tor2, group: tors, address: 192.0.2.102, export: p, announce: []}
  - {name: rr, asn: 64512, address: 192.0.2.103, families: [ipv4]}
"""


def found(text: str = CONFIG) -> tuple[dict[str, PeerRules], dict[str, Peer]]:
    """The rules and the peers of node n1 in a cluster of three."""
    config = parse_config(text)
    nodes = (
        node(1, "10.244.1.0/24"),
        node(2, "10.244.2.0/24", labels={"rack": "a"}),
        node(3, "10.244.3.0/24", labels={"rack": "b"}),
    )
    observed = observe(Observed(me="n1", config=config), Listed(nodes))
    desired = plan(observe(observed, ConfigChanged(config)))
    peers = dict(desired.peers)
    return dict(Rulebook(config, observed.nodes, desired.owners).rules(peers)), peers  # type: ignore[return-value,arg-type]


def names(rules: PeerRules) -> list[str]:
    policy = rules.imports.policy or rules.exports.policy
    return [rule.name for rule in policy.rules] if policy else []


def test_a_peer_has_the_keys_of_its_group_and_its_own():
    rules, _ = found()
    one, two = rules["peer/tor1"], rules["peer/tor2"]
    assert (one.pass_on, two.pass_on) == (True, False)
    assert one.exports.nexthop is NexthopRule.SELF
    assert one.exports.announce == frozenset({OriginClass.PEER_PODS})
    assert two.exports.announce == frozenset()


def test_only_rules_that_can_match_the_peer_are_left():
    rules, _ = found()
    assert names(rules["peer/tor1"]) == ["p/group"]
    assert names(rules["peer/tor2"]) == ["p/mine", "p/group"]
    assert names(rules["node/n2"]) == ["p/rack"]
    assert names(rules["node/n3"]) == []


def test_prepending_defaults_to_the_peers_as_on_import_and_ours_on_export():
    rules, _ = found()
    imports, exports = rules["peer/tor1"].imports.policy, rules["peer/tor2"].exports.policy
    assert imports is not None
    assert exports is not None
    assert imports.rules[0].actions.prepend == (65001, 65001)
    assert exports.rules[1].actions.prepend == (64512, 64512)


def test_anycast_takes_addresses_of_services_and_of_accept_prefixes():
    accepted = found()[0]["peer/tor1"].imports.acceptance
    taken = ["203.0.113.7/32", "198.51.100.7/32", "198.51.100.0/25"]
    refused = ["203.0.113.0/24", "203.0.113.0/25", "198.51.100.200/32", "0.0.0.0/0"]
    assert all(accepted.names(V4, n(prefix)) for prefix in taken)
    assert not any(accepted.names(V4, n(prefix)) for prefix in refused)
    assert not accepted.names(V6, n("2001:db8::1/128"))


def test_internal_peers_have_no_rules_unless_configured_and_peers_alike_share_theirs():
    rules, _ = found()
    assert rules["peer/rr"].imports.is_plain
    plain, _ = found(CONFIG.replace("  import: p\n", "", 1))
    assert plain["node/n2"] is UNRULED
    assert plain["node/n3"] is UNRULED


def test_a_peer_that_is_configured_no_more_has_none():
    _, peers = found()
    empty = Rulebook(parse_config(""), {}, {})
    assert set(empty.rules(peers)) == {"node/n2", "node/n3"}  # type: ignore[arg-type]


def test_the_effective_rules_show_defaults_and_what_is_inherited():
    _, peers = found()
    shown = effective_rules(parse_config(CONFIG), peers)  # type: ignore[arg-type]
    assert shown["peer/tor1"]["accept"] == "anycast"
    assert shown["peer/tor1"]["announce"] == ["peerPods"]
    assert (shown["node/n2"]["accept"], shown["node/n2"]["import"]) == ("all", "p")
    assert shown["node/n2"]["announce"] == "all that iBGP passes on"
