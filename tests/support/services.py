"""Service and EndpointSlice objects as Kubernetes prints them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.fakekube import FakeKube
from support.inventory import node_object

CREATED = "2026-01-01T00:00:00Z"


def service_object(
    name: str = "web",
    *,
    namespace: str = "default",
    annotations: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    balancer: list[str] | None = None,
    created: str = CREATED,
    **spec: Any,
) -> dict[str, Any]:
    """A Service; ``balancer`` are its addresses as a load balancer, further keys those of its spec."""
    kind = "LoadBalancer" if balancer else "ClusterIP"
    thing: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "annotations": annotations or {},
            "labels": labels or {},
            "creationTimestamp": created,
        },
        "spec": {"type": kind, "clusterIPs": [], "sessionAffinity": "None", **spec},
    }
    if balancer:
        thing["status"] = {"loadBalancer": {"ingress": [{"ip": ip} for ip in balancer]}}
    return thing


def slice_object(
    *endpoints: dict[str, Any],
    service: str = "web",
    namespace: str = "default",
    number: int = 1,
    addressType: str = "IPv4",
) -> dict[str, Any]:
    """An EndpointSlice of a service."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service}-{number}",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": addressType,
        "endpoints": list(endpoints),
        "ports": [{"port": 80, "protocol": "TCP"}],
    }


def endpoint(node: str | None, **conditions: bool | None) -> dict[str, Any]:
    """One endpoint on a node; ready unless its conditions say otherwise."""
    return {"addresses": ["10.244.1.9"], "nodeName": node, "conditions": conditions}


@contextmanager
def one_service() -> Iterator[FakeKube]:
    """An API server that knows n1, and default/web with one endpoint on it."""
    with FakeKube() as server:
        server.put(node_object(1))
        server.put(service_object(), "services")
        server.put(slice_object(endpoint("n1")), "endpointslices")
        yield server
