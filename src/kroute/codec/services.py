"""Service and EndpointSlice objects, as `kubectl get -o yaml|json` and the API print them, to slim values.

Total, as the reader of nodes is: odd input never raises, costs only the entry that is odd, and is told as a problem.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from sys import intern
from typing import Any, Final

from kroute.codec.kube_router.annotations import advertise_wishes, is_local
from kroute.codec.kubefields import (
    MOST_ENTRIES,
    Complain,
    host_address,
    is_name,
    mapping,
    shown,
    string,
    strings,
)
from kroute.model.communities import Communities, read_communities
from kroute.model.net import Address, Family
from kroute.model.problem import Problem
from kroute.model.service import (
    AddressKind,
    EndpointSlice,
    NodeEndpoints,
    Service,
    TrafficPolicy,
)

ADVERTISE: Final = "kroute.io/advertise"
"""Annotation: ``true``, ``false``, or a list of ``clusterIP``, ``externalIP``, ``loadBalancerIP``."""
COMMUNITIES: Final = "kroute.io/communities"
"""Annotation: a list of communities."""
OWNER: Final = "kubernetes.io/service-name"
"""Label of an EndpointSlice: the name of its Service."""
MOST_ENDPOINTS: Final = 10_000
"""Endpoints of one slice that are looked at; the API refuses more than 1000."""

_KINDS: Final = (AddressKind.CLUSTER_IP, AddressKind.EXTERNAL_IP, AddressKind.LOAD_BALANCER_IP)
_FAMILIES: Final = {"IPv4": Family.IPV4, "IPv6": Family.IPV6}


def service_of(thing: Any) -> tuple[Service | None, tuple[Problem, ...]]:
    """A Service object as a value, and what is wrong with it; None for what is no Service at all."""
    metadata, problems = mapping(thing, "metadata"), list[Problem]()
    where = _identity(metadata)
    if where is None:
        return None, (_nameless("service", metadata, thing),)
    namespace, name = where
    complain = _complainer(f"service/{namespace}/{name}", problems)
    spec = mapping(thing, "spec")
    annotations = strings(metadata, "annotations", complain)
    service = Service(
        namespace=namespace,
        name=name,
        addresses=tuple(dict.fromkeys(_addresses(thing, complain))),
        load_balancer_class=intern(string(spec.get("loadBalancerClass"))),
        internal_policy=_policy(spec, "internalTrafficPolicy", complain),
        external_policy=TrafficPolicy.LOCAL
        if is_local(annotations)
        else _policy(spec, "externalTrafficPolicy", complain),
        labels=strings(metadata, "labels", complain),
        advertise=_advertise(annotations, complain),
        communities=_communities(annotations, complain),
        created=string(metadata.get("creationTimestamp")),
    )
    return service, tuple(problems)


def slice_of(thing: Any) -> tuple[EndpointSlice | None, tuple[Problem, ...]]:
    """An EndpointSlice object as a value, and what is wrong with it; None for what is none at all.

    A slice of host names (addressType FQDN) has no endpoints that packets can be routed to.
    """
    metadata, problems = mapping(thing, "metadata"), list[Problem]()
    where = _identity(metadata)
    if where is None:
        return None, (_nameless("endpointslice", metadata, thing),)
    namespace, name = where
    complain = _complainer(f"endpointslice/{namespace}/{name}", problems)
    kind = thing.get("addressType")
    family = _FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None and kind != "FQDN":
        complain("addressType", f"{shown(kind)} is none of IPv4, IPv6, FQDN")
    found = EndpointSlice(
        namespace=namespace,
        name=name,
        service=intern(string(mapping(metadata, "labels").get(OWNER))),
        family=family or Family.IPV4,
        nodes=() if family is None else _nodes(thing, complain),
    )
    return found, tuple(problems)


def _identity(metadata: Mapping[str, Any]) -> tuple[str, str] | None:
    """Namespace and name; an object without namespace is in the default one, as `kubectl apply` has it."""
    namespace, name = metadata.get("namespace") or "default", metadata.get("name")
    if not (is_name(namespace) and is_name(name)):
        return None
    return intern(str(namespace)), intern(str(name))


def _nameless(kind: str, metadata: Mapping[str, Any], thing: Any) -> Problem:
    reason = (
        f"no name of one: {shown(metadata.get('name'))} in {shown(metadata.get('namespace'))}"
        if metadata
        else f"no object: {shown(thing)}"
    )
    return Problem(object=f"{kind}/?", field="metadata.name", reason=reason)


def _complainer(subject: str, problems: list[Problem]) -> Complain:
    def complain(field: str, reason: str) -> None:
        found = Problem(object=subject, field=field, reason=f"{reason}; it is left out")
        if found not in problems:
            problems.append(found)

    return complain


# --- Service ------------------------------------------------------------------------------------------


def _addresses(thing: Any, complain: Complain) -> Iterator[tuple[AddressKind, Address]]:
    spec = mapping(thing, "spec")
    kind = spec.get("type", "ClusterIP")
    if kind == "ExternalName":
        return
    for text in _entries(spec, "clusterIPs") or _entries({"ip": [spec.get("clusterIP")]}, "ip"):
        if text not in ("", "None", None):  # headless
            yield from _host(AddressKind.CLUSTER_IP, text, "spec.clusterIPs", complain)
    for text in _entries(spec, "externalIPs"):
        yield from _host(AddressKind.EXTERNAL_IP, text, "spec.externalIPs", complain)
    if kind != "LoadBalancer":
        return
    for entry in _entries(mapping(mapping(thing, "status"), "loadBalancer"), "ingress"):
        # ipMode Proxy: the address is that of a balancer of its own, not to be delivered by nodes (KEP-1860).
        if isinstance(entry, dict) and entry.get("ip") and entry.get("ipMode") != "Proxy":
            where = "status.loadBalancer.ingress"
            yield from _host(AddressKind.LOAD_BALANCER_IP, entry["ip"], where, complain)


def _entries(thing: Mapping[str, Any], key: str) -> list[Any]:
    value = thing.get(key)
    return value[:MOST_ENTRIES] if isinstance(value, list) else []


def _host(
    kind: AddressKind, text: object, field: str, complain: Complain
) -> Iterator[tuple[AddressKind, Address]]:
    address = host_address(text)
    if address is None or address.is_loopback or address.is_link_local:
        complain(field, f"{shown(text)} is no address that can be announced")
    else:
        yield kind, address


def _policy(spec: Mapping[str, Any], key: str, complain: Complain) -> TrafficPolicy:
    value = spec.get(key) or TrafficPolicy.CLUSTER.value
    if value not in [p.value for p in TrafficPolicy]:
        complain(f"spec.{key}", f"{shown(value)} is neither Cluster nor Local, so that Local holds")
        return TrafficPolicy.LOCAL  # the one that promises less
    return TrafficPolicy(value)


def _advertise(annotations: Mapping[str, str], complain: Complain) -> dict[AddressKind, bool]:
    """What annotations say of each kind of address; kinds of which they say nothing are left out.

    The one place where annotations become wishes: names of other programs' annotations are understood here.
    """
    text = annotations.get(ADVERTISE)
    if text is None:
        return advertise_wishes(annotations)
    words = [word.strip() for word in text.split(",")]
    if words in (["true"], ["false"], [""]):
        return dict.fromkeys(_KINDS, words == ["true"])
    known = {kind.value: kind for kind in _KINDS}
    for word in words:
        if word not in known:
            expected = f"true, false, or a list of {', '.join(known)}"
            complain(
                f"metadata.annotations[{ADVERTISE}]", f"expected {expected}, got {shown(word)}"
            )
    return {kind: value in words for value, kind in known.items()}


def _communities(annotations: Mapping[str, str], complain: Complain) -> Communities:
    found = Communities()
    for text in filter(None, map(str.strip, annotations.get(COMMUNITIES, "").split(","))):
        try:
            found |= read_communities([text])
        except ValueError as error:
            complain(f"metadata.annotations[{COMMUNITIES}]", str(error))
    return found


# --- EndpointSlice ------------------------------------------------------------------------------------


def _nodes(thing: Any, complain: Complain) -> tuple[NodeEndpoints, ...]:
    listed = thing.get("endpoints")
    entries = listed[:MOST_ENDPOINTS] if isinstance(listed, list) else []
    counts: dict[str, list[int]] = {}
    for entry in entries:
        if not isinstance(entry, dict):
            complain("endpoints", f"{shown(entry)} is no endpoint")
            continue
        node = entry.get("nodeName")
        place = counts.setdefault(intern(node) if isinstance(node, str) else "", [0, 0])
        conditions = mapping(entry, "conditions")
        # discovery.k8s.io/v1: null is unknown, to be taken as ready, as serving as it is ready, and not terminating.
        ready = conditions.get("ready") is not False
        serving = ready if conditions.get("serving") is None else conditions["serving"] is True
        if ready:
            place[0] += 1
        elif serving and conditions.get("terminating") is True:
            place[1] += 1
    return tuple(NodeEndpoints(n, r, d) for n, (r, d) in sorted(counts.items()) if r or d)
