"""Events into memory: ``observed' = observe(observed, event)`` (law 1).

Any order of the same events, doubled or merged, ends in the same observation: each event carries the whole
latest value of what it is about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv6Address
from typing import TypeVar, assert_never

from kroute.model.config import Config
from kroute.model.inventory import (
    Fresh,
    InventoryEvent,
    Listed,
    NodeChanged,
    NodeGone,
    Problems,
    ServiceChanged,
    ServiceEvent,
    ServiceGone,
    ServicesListed,
    SliceChanged,
    SliceGone,
    SlicesListed,
    Stale,
)
from kroute.model.kernel import KernelState
from kroute.model.problem import Problem
from kroute.model.service import CheckState
from kroute.model.state import AttachedPod, Observed

T = TypeVar("T")


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


@dataclass(frozen=True, slots=True)
class Checked:
    """What the health check of a static service says now; None: it has no check, or none has ended yet."""

    name: str
    state: CheckState | None


@dataclass(frozen=True, slots=True)
class PodsAttached:
    """All pods that are attached through KNI now, in any order."""

    pods: tuple[AttachedPod, ...]


ControlEvent = (
    ConfigChanged
    | KernelChanged
    | RoutersHeard
    | Reported
    | Checked
    | PodsAttached
    | InventoryEvent
)


def observe(before: Observed, event: ControlEvent) -> Observed:
    """What is known once the event is."""
    match event:
        case ConfigChanged(config):
            return replace(before, config=config)
        case KernelChanged(state):
            return replace(before, kernel=state)
        case RoutersHeard() | Checked() | PodsAttached():
            return _observe_own_node(before, event)
        case Reported(source, problems):
            return _reported(before, source, problems)
        case Listed(nodes):
            return replace(before, nodes={n.name: n for n in nodes}, listed=True)
        case NodeChanged(node):
            return replace(before, nodes={**before.nodes, node.name: node})
        case NodeGone(name):
            return replace(before, nodes=_without(before.nodes, name))
        case Problems(problems, of):
            return _reported(before, f"inventory-{of}", problems)
        case Stale(reason, of):
            said = f"{reason}; the last known {of} stay in force"
            away = Problem(object="inventory", reason=said)
            return _reported(before, f"inventory-source-{of}", (away,))
        case Fresh(of):
            return _reported(before, f"inventory-source-{of}", ())
        case _:
            return _observe_services(before, event)


def _observe_own_node(before: Observed, event: RoutersHeard | Checked | PodsAttached) -> Observed:
    match event:
        case RoutersHeard(routers):
            return replace(before, routers=dict(routers))
        case Checked(name, state):
            others = _without(before.checks, name)
            return replace(before, checks=others if state is None else {**others, name: state})
        case PodsAttached(pods):
            in_order = sorted(pods, key=lambda pod: (pod.name, pod.asks, *map(str, pod.addresses)))
            return replace(before, pods=tuple(in_order), pods_told=True)
        case _:
            assert_never(event)


def _observe_services(before: Observed, event: ServiceEvent) -> Observed:
    match event:
        case ServicesListed(services):
            return replace(before, services={s.key: s for s in services}, services_listed=True)
        case ServiceChanged(service):
            return replace(before, services={**before.services, service.key: service})
        case ServiceGone(key):
            return replace(before, services=_without(before.services, key))
        case SlicesListed(slices):
            return replace(before, slices={s.key: s for s in slices}, slices_listed=True)
        case SliceChanged(changed):
            return replace(before, slices={**before.slices, changed.key: changed})
        case SliceGone(key):
            return replace(before, slices=_without(before.slices, key))
        case _:
            assert_never(event)


def _reported(before: Observed, source: str, problems: tuple[Problem, ...]) -> Observed:
    return replace(before, reports={**before.reports, source: problems})


def _without(known: Mapping[str, T], key: str) -> dict[str, T]:
    return {k: v for k, v in known.items() if k != key}
