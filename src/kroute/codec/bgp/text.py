"""Path attributes as an operator reads them.

The forms are those that BIRD, FRR and the RFCs have in common: an AS_PATH ``64512 {1,2}``, a community ``64512:100`` or
``no-export``, an extended community ``rt:64512:100``, a large one ``64512:1:2``.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from kroute.codec.bgp.names import Code, attribute_name
from kroute.model.aspath import as_path_text
from kroute.model.bgp import Attributes
from kroute.model.communities import (
    community_text,
    extended_community_text,
    large_community_text,
)
from kroute.model.net import address_of


def router_id_text(value: bytes) -> str:
    """A 4-octet identifier (ORIGINATOR_ID, CLUSTER_LIST, AGGREGATOR) as dotted quad."""
    return str(IPv4Address(value))


def nexthop_text(attributes: Attributes) -> str:
    """The next hop, with the link-local one behind it if there is one; ``-`` for none."""
    both = (attributes.nexthop, attributes.link_local)
    return " ".join(str(address_of(a)) for a in both if a) or "-"


def render(attributes: Attributes) -> dict[str, str]:
    """The attributes that are there, by the name RFC 4271 gives them in lower case, in order of their codes."""
    a = attributes
    aggregator = (
        "" if a.aggregator is None else f"{a.aggregator[0]} {router_id_text(a.aggregator[1])}"
    )
    originator = "" if a.originator_id is None else router_id_text(a.originator_id)
    words = {
        Code.ORIGIN: a.origin.name.lower(),
        Code.AS_PATH: as_path_text(a.as_path),
        Code.NEXT_HOP: nexthop_text(a),
        Code.MULTI_EXIT_DISC: "" if a.med is None else str(a.med),
        Code.LOCAL_PREF: "" if a.local_pref is None else str(a.local_pref),
        Code.ATOMIC_AGGREGATE: "yes" if a.atomic_aggregate else "",
        Code.AGGREGATOR: aggregator,
        Code.COMMUNITIES: " ".join(map(community_text, a.communities)),
        Code.ORIGINATOR_ID: originator,
        Code.CLUSTER_LIST: " ".join(map(router_id_text, a.cluster_list)),
        Code.EXTENDED_COMMUNITIES: " ".join(map(extended_community_text, a.extended_communities)),
        Code.LARGE_COMMUNITY: " ".join(map(large_community_text, a.large_communities)),
    }
    always = (Code.ORIGIN, Code.AS_PATH, Code.NEXT_HOP)
    out = {code.name.lower(): text for code, text in words.items() if text or code in always}
    out.update((attribute_name(u.code), f"0x{u.value.hex()}") for u in a.unknown)
    return out
