"""What people ask about services: `kroute show services`, and their part of `kroute why`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kroute.model.net import Prefix, family_of, nlri_of
from kroute.model.service import AddressKind, Announceable
from kroute.model.state import Desired, Observed
from kroute.plan.routing import Routing
from kroute.plan.services import announceables

Answer = dict[str, Any]


def services(
    observed: Observed, desired: Desired, routing: Routing, *, everything: bool = False
) -> Iterator[Answer]:
    """Each address that was asked to be announced, and what becomes of it; with ``everything`` the others, too."""
    rows = _everything(observed) if everything else desired.services
    for row in rows:
        check = observed.checks.get(row.service.removeprefix("static/"))
        is_static = row.kind is AddressKind.STATIC
        yield {
            "address": str(row.prefix.network_address if _is_host(row.prefix) else row.prefix),
            "service": row.service,
            "class": row.kind.value,
            "policy": "" if is_static else row.policy.value,
            "local": row.local,
            "total": row.total,
            "check": ("up" if check.up else "down") if is_static and check else "",
            "announced": row.is_announced,
            "as": str(row.via) if row.via is not None else "",
            "to": told_to(routing, row.via) if row.via is not None else [],
            "communities": list(row.communities.texts()),
            "verdict": row.verdict.value,
            "reason": row.reason,
        }


def told_to(routing: Routing, prefix: Prefix) -> list[str]:
    """The peers that have been told a prefix."""
    family, nlri = family_of(prefix), nlri_of(prefix)
    return sorted(
        name
        for name, state in list(routing.peers.items())
        if state.established and state.out and state.out.has(family, nlri)
    )


def service_story(observed: Observed, target: Prefix) -> list[str]:
    """What services have to do with an address or prefix, in sentences; none if nothing."""
    return [
        f"{row.prefix.network_address if _is_host(row.prefix) else row.prefix} is a {row.kind.value} address of "
        f"service {row.service}: {row.verdict.value}, {row.reason}"
        for row in _everything(observed)
        if row.prefix.version == target.version
        and target.network_address in row.prefix
        and target.prefixlen >= row.prefix.prefixlen
    ]


def _everything(observed: Observed) -> tuple[Announceable, ...]:
    me = observed.nodes.get(observed.me)
    return () if me is None else announceables(observed, me, observed.nodes, everything=True)


def _is_host(prefix: Prefix) -> bool:
    return prefix.prefixlen == prefix.max_prefixlen
