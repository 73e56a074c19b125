"""What this node announces of its own: one function per advertised resource.

To add one: a function ``(view) -> Iterator[Origination]`` and its name in :data:`ADVERTISERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Final

from kroute.model.config import AnnouncePods
from kroute.model.net import order_of
from kroute.model.state import Origination
from kroute.plan.services import service_routes
from kroute.plan.sessions import View


def pod_cidrs(view: View) -> Iterator[Origination]:
    """The own node's podCIDRs, both families."""
    for prefix in view.me.pod_cidrs:
        yield Origination(prefix=prefix, source=f"podCIDR of node {view.me.name}")


def attached_pods(view: View) -> Iterator[Origination]:
    """Addresses of pods that were attached through KNI, each alone, as `kni.announcePods` says."""
    which = view.config.kni.announce_pods
    if which is AnnouncePods.NONE:
        return
    for pod in view.pods:
        if pod.asks or which is AnnouncePods.ALL:
            for address in pod.addresses:
                yield Origination(prefix=ip_network(address), source=f"address of pod {pod.name}")


def services(view: View) -> Iterator[Origination]:
    """Addresses of services, and aggregates of them."""
    yield from service_routes(view.config.services, view.services)


ADVERTISERS: Final[tuple[Callable[[View], Iterator[Origination]], ...]] = (
    services,
    attached_pods,
    pod_cidrs,
)


def originations(view: View) -> tuple[Origination, ...]:
    """All that the own node announces, sorted. A prefix that several advertisers name is the last one's: podCIDRs go
    before services.
    """
    found = {o.prefix: o for advertise in ADVERTISERS for o in advertise(view)}
    return tuple(sorted(found.values(), key=lambda o: order_of(o.prefix)))
