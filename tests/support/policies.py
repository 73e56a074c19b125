"""Policies for tests, from the text that operators write."""

from __future__ import annotations

from kroute.codec.config import parse_config
from kroute.model.bgp import Asn
from kroute.plan.policy.compile import Bound, compiled
from kroute.plan.policy.rules import Policy


def policy(text: str, prepend: int = 64601) -> Policy:
    """The policy ``p`` of these rules, YAML, one a line, for a peer that is named nowhere."""
    rules = "\n".join(f"  - {line}" for line in text.strip().splitlines())
    config = parse_config(f"policies:\n- name: p\n  rules:\n{rules}\n").policies[0]
    return compiled(config, {}, Bound(names=frozenset(), prepend=Asn(prepend)))
