"""Addresses of services: which of them this node announces, as what, and why not the others.

A verdict for each address that somebody asked to announce: by configuration, or by the Service's annotation. The
rules stand in :func:`_verdict` and :func:`_static_verdict` in the order in which they are asked, and in words in
docs/services.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_network
from typing import Final

from kroute.model.bgp import Attributes
from kroute.model.communities import GRACEFUL_SHUTDOWN, Communities, read_communities
from kroute.model.config import AnnouncePods
from kroute.model.config_services import DownAction, Services, StaticService
from kroute.model.net import Address, Family, Prefix, family_of, order_of
from kroute.model.node import Node
from kroute.model.policies import OriginClass
from kroute.model.service import (
    AddressKind,
    Announceable,
    CheckState,
    EndpointSlice,
    Service,
    TrafficPolicy,
    Verdict,
)
from kroute.model.state import Observed, Origination

EXCLUDED: Final = "node.kubernetes.io/exclude-from-external-load-balancers"
"""Label of nodes to which balancers must send nothing (KEP-1143), whatever its value."""
WORST_MED: Final = 0xFFFFFFFF

Endpoints = Mapping[tuple[str, Family], list[int]]
"""Of each service and family: ready here, draining here, ready anywhere, draining anywhere."""


@dataclass(frozen=True, slots=True)
class _Here:
    """What verdicts look at."""

    me: Node
    config: Services
    endpoints: Endpoints
    hosts: frozenset[Address]
    """Addresses of all nodes."""
    pods: frozenset[tuple[int, int, int]]
    """podCIDRs of all nodes: IP version, length, and as many leading bits as a number."""
    pod_lengths: tuple[tuple[int, int], ...]
    """IP version and length of those."""
    communities: Communities


def announceables(
    observed: Observed, me: Node, nodes: Mapping[str, Node], *, everything: bool = False
) -> tuple[Announceable, ...]:
    """The verdict on each address of each service that was asked for; with ``everything`` also on the others.

    Sorted by address; of one address the oldest service first.
    """
    found = [*_static(observed, me)]
    if observed.config.services.enabled:
        here = _here(observed, me, nodes)
        for service in observed.services.values():
            found += _of_service(here, service, everything)
    return tuple(sorted(found, key=_order))


def _order(each: Announceable) -> tuple[object, ...]:
    place = order_of(each.prefix)
    return (*place, not each.is_announced, each.created, each.service, each.kind)


def _here(observed: Observed, me: Node, nodes: Mapping[str, Node]) -> _Here:
    pods = [cidr for node in nodes.values() for cidr in node.pod_cidrs]
    config = observed.config.services
    return _Here(
        me=me,
        config=config,
        endpoints=_endpoints(observed.slices.values(), me.name),
        hosts=frozenset(a for node in nodes.values() for a in node.addresses),
        pods=frozenset((p.version, p.prefixlen, _leading(p.network_address, p)) for p in pods),
        pod_lengths=tuple({(p.version, p.prefixlen) for p in pods}),
        communities=read_communities(config.communities, observed.config.community_names),
    )


def _endpoints(slices: Iterable[EndpointSlice], me: str) -> Endpoints:
    found: dict[tuple[str, Family], list[int]] = {}
    for each in slices:
        counts = found.setdefault((each.service_key, each.family), [0, 0, 0, 0])
        for node, ready, draining in each.nodes:
            counts[2] += ready
            counts[3] += draining
            if node == me:
                counts[0] += ready
                counts[1] += draining
    return found


# --- Kubernetes' services ------------------------------------------------------------------------------


def _of_service(here: _Here, service: Service, everything: bool) -> Iterator[Announceable]:
    for kind, address in service.addresses:
        asked = _asked(here.config, service, kind)
        if asked is None or everything:
            yield _judged(here, service, kind, address, asked)


def _asked(config: Services, service: Service, kind: AddressKind) -> tuple[Verdict, str] | None:
    """Why nobody wants addresses of this kind announced; None if somebody does. An annotation has the last word."""
    said = service.advertise.get(kind)
    if said:
        return None
    if said is False:
        return Verdict.NOT_ASKED, f"an annotation of the service says no to its {kind.value}"
    if kind.value not in config.advertise:
        return Verdict.NOT_ASKED, f"services.advertise does not name {kind.value}"
    if any(service.labels.get(k) != v for k, v in config.selector.items()):
        return Verdict.NOT_ASKED, "its labels are not those of services.selector"
    classes = config.load_balancer_classes
    balanced = kind is AddressKind.LOAD_BALANCER_IP
    if balanced and classes and service.load_balancer_class not in classes:
        shown = service.load_balancer_class or "none"
        text = f"its class ({shown}) is not in services.loadBalancerClasses"
        return Verdict.OTHER_CLASS, text
    return None


def _judged(
    here: _Here,
    service: Service,
    kind: AddressKind,
    address: Address,
    asked: tuple[Verdict, str] | None,
) -> Announceable:
    prefix = _alone(address)
    policy = service.policy(kind)
    counts = here.endpoints.get((service.key, family_of(address)), [0, 0, 0, 0])
    # KEP-1669: endpoints that terminate, but still serve, count where no ready one is left anywhere.
    local, total = (counts[0], counts[2]) if counts[2] else (counts[1], counts[3])
    draining = bool(total) and not counts[2]
    verdict, reason = asked or _verdict(here, kind, address, policy, local, total)
    row = Announceable(
        prefix=prefix,
        service=service.key,
        kind=kind,
        policy=policy,
        verdict=verdict,
        reason=reason,
        local=local,
        total=total,
        communities=here.communities | service.communities,
        via=prefix if verdict is Verdict.ANNOUNCED else None,
        created=service.created,
    )
    if not row.is_announced:
        return row
    if draining:
        row = replace(row, reason=f"{row.reason}; none is ready, those that terminate still serve")
    return _aggregated(here, service, row)


def _verdict(
    here: _Here, kind: AddressKind, address: Address, policy: TrafficPolicy, local: int, total: int
) -> tuple[Verdict, str]:
    if not any(address in allowed for allowed in here.config.ranges):
        return Verdict.OUT_OF_RANGE, f"{address} is not within services.ranges"
    if (owner := _owner(here, address)) is not None:
        return Verdict.TAKEN, f"{address} is {owner}, and not a service's to announce"
    if kind is not AddressKind.CLUSTER_IP and EXCLUDED in here.me.labels:
        return Verdict.EXCLUDED_NODE, f"this node bears the label {EXCLUDED}"
    if not total:
        family = family_of(address).label
        return Verdict.NO_ENDPOINTS, f"it has no endpoint of {family} that is ready or serving"
    if policy is TrafficPolicy.LOCAL and not local:
        text = f"its policy is Local, and none of its {total} endpoint(s) is on this node"
        return Verdict.NO_LOCAL_ENDPOINTS, text
    where = f"{local} of {total} endpoint(s) on this node"
    return Verdict.ANNOUNCED, f"policy {policy.value}, {where}"


def _owner(here: _Here, address: Address) -> str | None:
    """What else an address is; None where it is free for services."""
    if address in here.hosts:
        return "the address of a node"
    number, bits = int(address), address.max_prefixlen
    for version, length in here.pod_lengths:
        same = version == address.version
        if same and (version, length, number >> (bits - length)) in here.pods:
            return f"within the podCIDR {ip_network((address, length), strict=False)}"
    return None


def _leading(address: Address, prefix: Prefix) -> int:
    return int(address) >> (prefix.max_prefixlen - prefix.prefixlen)


@lru_cache(maxsize=1 << 16)
def _alone(address: Address) -> Prefix:
    """The prefix of one address. Made once: it takes a third of a verdict's time, and addresses stay."""
    return ip_network(address)


def _aggregated(here: _Here, service: Service, row: Announceable) -> Announceable:
    """An address that an aggregate covers is announced by that, unless it needs a route of its own."""
    if row.policy is TrafficPolicy.LOCAL or service.communities != Communities():
        return row
    for aggregate in here.config.aggregates:
        if row.prefix.network_address in aggregate.prefix:
            reason = f"{row.reason}; announced as {aggregate.prefix}"
            via = aggregate.prefix
            return replace(
                row,
                verdict=Verdict.AGGREGATED,
                reason=reason,
                via=via,
                communities=here.communities,
            )
    return row


# --- static services -----------------------------------------------------------------------------------


def runs_here(service: StaticService, me: Node) -> bool:
    """Whether this node is one of those that run a static service."""
    selected = all(me.labels.get(k) == v for k, v in service.node_selector.items())
    return selected and (not service.nodes or me.name in service.nodes)


def statics(config: Services, me: Node) -> tuple[StaticService, ...]:
    """The static services that this node runs."""
    return tuple(s for s in config.static if runs_here(s, me))


def pending(observed: Observed, me: Node) -> str:
    """What is not known yet of services and of pods with addresses to announce: lists that were not told, checks that
    have not ended once. Empty if all is."""
    kni = observed.config.kni
    if kni.enabled and kni.announce_pods is not AnnouncePods.NONE and not observed.pods_told:
        return "KNI has not told which pods are attached"
    if observed.config.services.enabled and not observed.services_listed:
        return "services have not been listed"
    if observed.config.services.enabled and not observed.slices_listed:
        return "endpoint slices have not been listed"
    wanted = (s.name for s in statics(observed.config.services, me) if s.check is not None)
    waiting = [name for name in wanted if name not in observed.checks]
    return f"the first check of static/{waiting[0]} has not ended" if waiting else ""


def with_services_known(observed: Observed) -> Observed:
    """The same, once services are listed and pods told, and if health checks that have not ended yet are good: for
    rehearsals."""
    good = CheckState(True, "assumed")
    assumed = {service.name: good for service in observed.config.services.static}
    return replace(
        observed,
        services_listed=True,
        slices_listed=True,
        pods_told=True,
        checks={**assumed, **observed.checks},
    )


def _static(observed: Observed, me: Node) -> Iterator[Announceable]:
    for service in statics(observed.config.services, me):
        verdict, reason = _static_verdict(observed, service)
        up = verdict in (Verdict.ANNOUNCED, Verdict.DEMOTED)
        demoted = verdict is Verdict.DEMOTED
        communities = read_communities(service.communities, observed.config.community_names)
        if demoted:
            communities |= Communities(standard=(GRACEFUL_SHUTDOWN,))
        for prefix in (*map(ip_network, service.addresses), *service.prefixes):
            yield Announceable(
                prefix=prefix,
                service=f"static/{service.name}",
                kind=AddressKind.STATIC,
                policy=TrafficPolicy.LOCAL,
                verdict=verdict,
                reason=reason,
                local=int(verdict is Verdict.ANNOUNCED),
                total=1,
                communities=communities,
                via=prefix if up else None,
                med=WORST_MED if demoted else service.med,
                local_pref=0 if demoted else None,
            )


def _static_verdict(observed: Observed, service: StaticService) -> tuple[Verdict, str]:
    state = observed.checks.get(service.name)
    if service.check is None:
        return Verdict.ANNOUNCED, "configured without a check"
    if state is None:
        return Verdict.NOT_CHECKED, "its first check has not ended yet"
    if state.up:
        return Verdict.ANNOUNCED, f"its check is good: {state.detail}"
    if service.down_action is DownAction.LOWER_PREFERENCE:
        return Verdict.DEMOTED, f"its check fails, so others are preferred: {state.detail}"
    return Verdict.DOWN, f"its check fails: {state.detail}"


# --- what follows --------------------------------------------------------------------------------------


def service_routes(config: Services, rows: Iterable[Announceable]) -> Iterator[Origination]:
    """The prefixes to announce for these verdicts. Of one prefix the oldest service decides the attributes."""
    announced: dict[Prefix, list[Announceable]] = {}
    for row in rows:
        if row.via is not None:
            announced.setdefault(row.via, []).append(row)
    blackholes = _blackholes(config)
    for prefix, served in announced.items():
        first = served[0]
        yield Origination(
            prefix=prefix,
            source=_source(prefix, served),
            kind=OriginClass.SERVICE,
            attributes=Attributes(
                communities=first.communities.standard,
                large_communities=first.communities.large,
                med=first.med,
                local_pref=first.local_pref,
            ),
            internal=config.internal_peers,
            blackhole=prefix in blackholes
            and not any(row.kind is AddressKind.CLUSTER_IP for row in served),
        )


def _blackholes(config: Services) -> frozenset[Prefix]:
    return frozenset(a.prefix for a in config.aggregates if a.blackhole)


def _source(prefix: Prefix, served: list[Announceable]) -> str:
    first = served[0]
    if first.prefix != prefix:
        example = f"{first.prefix.network_address} of {first.service}"
        return f"aggregate of {len(served)} service address(es), first {example}"
    others = f" and {len(served) - 1} more" if len(served) > 1 else ""
    return f"{first.kind.value} of service {first.service}{others}: {first.reason}"
