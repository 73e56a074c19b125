"""Pod objects of the Kubernetes API to the little that is kept of them. Total: odd input never raises."""

from __future__ import annotations

from typing import Any, Final

from kroute.codec.kubefields import is_name, mapping, string
from kroute.model.pod import Pod

MIRROR: Final = "kubernetes.io/config.mirror"
"""The kubelet's annotation of a mirror pod: the uid of the static pod that it stands for."""


def pod_of(thing: Any) -> Pod | None:
    """The pod that an object is; None where it does not say which one."""
    metadata = mapping(thing, "metadata")
    namespace, name, uid = (metadata.get(key) for key in ("namespace", "name", "uid"))
    if not (is_name(namespace) and is_name(name) and isinstance(uid, str) and uid):
        return None
    static = string(mapping(metadata, "annotations").get(MIRROR))
    return Pod(namespace=str(namespace), name=str(name), uid=uid, mirror_of=static)
