"""Why: the words and the stable code of a verdict (law 6)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Why(StrEnum):
    """Stable codes of verdicts on a path; used in metrics, JSON and tests."""

    AS_PATH_LOOP = "as-path-loop"
    ORIGINATOR_LOOP = "originator-id-loop"
    CLUSTER_LOOP = "cluster-list-loop"
    OWN_NEXTHOP = "own-nexthop"
    BAD_NEXTHOP = "bad-nexthop"
    NOT_ACCEPTED = "not-accepted"
    ORIGIN_HIJACK = "origin-hijack"
    ORIGIN_MORE_SPECIFIC = "origin-more-specific"
    ORIGIN_COVERING = "origin-covering"
    ORIGIN_CLUSTER_RANGE = "origin-cluster-range"
    POLICY = "policy"
    NOT_PASSED_ON = "not-passed-on"
    NOT_ANNOUNCED = "not-announced"
    SILENCED = "well-known-community"
    NOT_CARRIED = "not-carried"
    NOT_CHOSEN = "not-chosen"
    NEXTHOP_UNREACHABLE = "nexthop-unreachable"
    NOT_CONNECTED = "nexthop-not-connected"
    LOCAL = "local"
    SEEDED = "seeded"
    LOCAL_PREF = "local-preference"
    AS_PATH_LENGTH = "as-path-length"
    ORIGIN = "origin"
    MED = "med"
    EXTERNAL = "external-over-internal"
    IGP_METRIC = "igp-metric"
    ROUTER_ID = "router-id"
    CLUSTER_LENGTH = "cluster-list-length"
    PEER_ADDRESS = "peer-address"
    NEXTHOP = "next-hop"
    ONLY = "only-path"
    MULTIPATH = "multipath"


@dataclass(frozen=True, slots=True)
class Reason:
    """A verdict's code, the sentence that explains it, and the policy's rule (``policy/rule``) if one decided."""

    why: Why
    text: str
    rule: str = ""

    def __str__(self) -> str:
        """The sentence."""
        return self.text
