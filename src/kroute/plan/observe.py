"""Events into memory: ``observed' = observe(observed, event)`` (law 1).

Any order of the same events, doubled or merged, ends in the same observation: each event carries the whole
latest value of what it is about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv6Address
from typing import assert_never

from kroute.model.config import Config
from kroute.model.inventory import (
    Fresh,
    InventoryEvent,
    Listed,
    NodeChanged,
    NodeGone,
    Problems,
    Stale,
)
from kroute.model.kernel import KernelState
from kroute.model.problem import Problem
from kroute.model.state import Observed


@dataclass(frozen=True, slots=True)
class ConfigChanged:
    """A configuration was accepted and is now in force."""

    config: Config


@dataclass(frozen=True, slots=True)
class KernelChanged:
    """Links, addresses or others' routes changed."""

    state: KernelState


@dataclass(frozen=True, slots=True)
class Reported:
    """A driver's problems, all of them; an empty report says that all is well again."""

    source: str
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class RoutersHeard:
    """All routers that advertise themselves now, by interface."""

    routers: Mapping[str, tuple[IPv6Address, ...]]


ControlEvent = ConfigChanged | KernelChanged | RoutersHeard | Reported | InventoryEvent


def observe(before: Observed, event: ControlEvent) -> Observed:
    """What is known once the event is."""
    match event:
        case ConfigChanged(config):
            return replace(before, config=config)
        case KernelChanged(state):
            return replace(before, kernel=state)
        case RoutersHeard(routers):
            return replace(before, routers=dict(routers))
        case Reported(source, problems):
            return replace(before, reports={**before.reports, source: problems})
        case Listed(nodes):
            return replace(before, nodes={n.name: n for n in nodes}, listed=True)
        case NodeChanged(node):
            return replace(before, nodes={**before.nodes, node.name: node})
        case NodeGone(name):
            return replace(before, nodes={k: v for k, v in before.nodes.items() if k != name})
        case Problems(problems):
            return replace(before, reports={**before.reports, "inventory": problems})
        case Stale(reason):
            away = Problem(
                object="inventory", reason=f"{reason}; the last known nodes stay in force"
            )
            return replace(before, reports={**before.reports, "inventory-source": (away,)})
        case Fresh():
            return replace(before, reports={**before.reports, "inventory-source": ()})
        case _:
            assert_never(event)
