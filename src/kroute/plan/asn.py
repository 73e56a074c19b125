"""Which autonomous system a node is of, and which a peer: by configuration, or by labels of nodes."""

from __future__ import annotations

from collections.abc import Iterator

from kroute.model.bgp import ANY_ASN, RESERVED_ASNS, Asn
from kroute.model.config import Bgp, Config
from kroute.model.config_peering import Topology
from kroute.model.node import Node
from kroute.model.problem import Problem, Severity
from kroute.model.selection import FromLabel, LocalAsn, RemoteAs, RemoteAsn

_GREATEST = 4294967295
_EXAMPLES = 3


def read_asn(text: str) -> Asn | str:
    """The AS number that a text holds, in decimal digits; or what is wrong with it."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        return f"{text[:40]!r} is no AS number"
    number = int(text)
    if not 0 < number <= _GREATEST:
        return f"{number} is no AS number (1 to {_GREATEST})"
    if number in RESERVED_ASNS:
        return f"{number} {RESERVED_ASNS[number]}"
    return Asn(number)


def labelled_asn(node: Node, key: str) -> Asn | str:
    """The AS number in a node's label, or in its annotation where it has no such label; or why there is none."""
    text = node.labels.get(key, node.annotations.get(key))
    if text is None:
        return f"node {node.name} has no label or annotation {key}"
    found = read_asn(text.strip())
    return f"{key} of node {node.name}: {found}" if isinstance(found, str) else found


def node_asn(bgp: Bgp, node: Node) -> Asn:
    """The AS that a node is of. A label that cannot be read counts as absent, on this and on every other node."""
    key = bgp.asn_label
    if key and (key in node.labels or key in node.annotations):
        found = labelled_asn(node, key)
        if not isinstance(found, str):
            return found
    return Asn(bgp.asn)


def local_asn(config: Config, wanted: LocalAsn | None, me: Node) -> Asn | str:
    """Our AS towards a peer, or why it is unknown."""
    if isinstance(wanted, FromLabel):
        return labelled_asn(me, wanted.from_label)
    return Asn(wanted) if wanted is not None else node_asn(config.bgp, me)


def remote_asn(wanted: RemoteAsn | None, ours: Asn, me: Node) -> Asn | str:
    """A peer's AS, or why it is unknown. ``external`` is learned from its OPEN: :data:`ANY_ASN` until then."""
    match wanted:
        case FromLabel(from_label=key):
            return labelled_asn(me, key)
        case RemoteAs.EXTERNAL:
            return ANY_ASN
        case RemoteAs.INTERNAL:
            return ours
        case None:
            return "is required"
        case number:
            return Asn(number)


def asn_problems(config: Config, me: Node, nodes: dict[str, Node]) -> Iterator[Problem]:
    """Labels that hold no AS number; and nodes of other ASes than ours where a topology would have us peer, unless
    explicit peers lead from AS to AS.
    """
    bgp, key = config.bgp, config.bgp.asn_label
    if not key:
        return
    for node in nodes.values():
        if key in node.labels or key in node.annotations:
            found = labelled_asn(node, key)
            if isinstance(found, str):
                reason = f"{found}; it is ignored, AS {bgp.asn} (bgp.asn) holds"
                yield Problem(object=f"node/{node.name}", field=key, reason=reason)
    if config.peering.topology is not Topology.NONE and not config.peering.peers:
        yield from _split(config, me, nodes)


def _split(config: Config, me: Node, nodes: dict[str, Node]) -> Iterator[Problem]:
    """One problem however many nodes are of another AS: sessions between nodes are internal BGP."""
    ours = node_asn(config.bgp, me)
    others = sorted(n.name for n in nodes.values() if node_asn(config.bgp, n) != ours)
    if not others:
        return
    named = ", ".join(others[:_EXAMPLES])
    more = f" and {len(others) - _EXAMPLES} more" if len(others) > _EXAMPLES else ""
    yield Problem(
        object=f"node/{me.name}",
        field=config.bgp.asn_label,
        reason=f"it is of AS {ours}, while {named}{more} are of others: topology {config.peering.topology.value} is "
        "internal BGP, so there is no session with them. Give all nodes one AS, or configure explicit peers "
        "(switches) that lead from one AS to the other",
        severity=Severity.ERROR,
    )
