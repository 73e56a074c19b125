"""Events of the Kubernetes core API (v1), as `kubectl describe` and `kubectl get events` show them."""

from __future__ import annotations

from typing import Any, Final

COMPONENT: Final = "kroute"
CLUSTER_NAMESPACE: Final = "default"
"""Where Events about objects without a namespace live."""


def event_path(namespace: str) -> str:
    """Where an Event about an object of a namespace (empty: none) is created."""
    return f"/api/v1/namespaces/{namespace or CLUSTER_NAMESPACE}/events"


def event_object(
    *,
    name: str,
    kind: str,
    namespace: str,
    object_name: str,
    uid: str,
    reason: str,
    message: str,
    host: str,
    at: str,
) -> dict[str, Any]:
    """A Warning about an object. ``uid`` may be empty where it is not known; ``at`` is a time as RFC 3339 has it."""
    involved = {"apiVersion": "v1", "kind": kind, "name": object_name}
    involved |= {"namespace": namespace} if namespace else {}
    involved |= {"uid": uid} if uid else {}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace or CLUSTER_NAMESPACE},
        "involvedObject": involved,
        "type": "Warning",
        "reason": reason,
        "message": message,
        "source": {"component": COMPONENT, "host": host},
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
