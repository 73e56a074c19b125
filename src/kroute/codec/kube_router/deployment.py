"""Finding kube-router's command line and its pods' network in the objects that deploy it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kroute.codec.conflist import inspect
from kroute.codec.yaml12 import load_all
from kroute.model.errors import Complaint, InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """kube-router as it was deployed: its arguments, and the bridge and CNI network that its pods are on."""

    arguments: tuple[str, ...]
    bridge: str = "kube-bridge"
    network: str = "mynet"
    """Names the folder of host-local's leases, so it must stay while pods hold addresses."""


def read_deployment(text: str, source: str) -> Deployment:
    """kube-router's deployment from its manifest (DaemonSet, ConfigMap), or from the text of its command line.

    Raises:
        InputError: neither is in the text.
    """
    if "containers" in text:
        documents = [each for document in load_all(text, source) for each in _objects(document)]
        for container in (c for document in documents for c in _containers(document)):
            if _runs_kube_router(container):
                words = tuple(str(word) for word in _words(container))
                return Deployment(arguments=words, **_conflist_names(documents))
        raise InputError(source, [Complaint("", "has no container that runs kube-router")])
    try:
        words = tuple(shlex.split(text.replace("\\\n", " "), comments=True))
    except ValueError as error:
        raise InputError(source, [Complaint("", f"is no command line: {error}")]) from error
    if not any(word.startswith("--") for word in words):
        raise InputError(source, [Complaint("", "is neither a manifest nor a command line")])
    return Deployment(arguments=words)


def _objects(document: Any) -> Iterator[Mapping[str, Any]]:
    """The objects of a document: itself, or the items of a list."""
    if isinstance(document, dict):
        items = document.get("items")
        yield from (
            (i for i in items if isinstance(i, dict)) if isinstance(items, list) else (document,)
        )


def _conflist_names(documents: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Bridge and network of the conflist in kube-router's ConfigMap, where it names them."""
    for document in documents:
        data = document.get("data")
        text = data.get("cni-conf.json") if isinstance(data, dict) else None
        if isinstance(text, str):
            seen = inspect(text.encode())
            if seen.fault:
                seen = inspect(text.encode(), single=True)
            return {k: v for k, v in (("bridge", seen.bridge), ("network", seen.name)) if v}
    return {}


def _containers(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The containers of a workload object."""
    spec: Any = document
    for key in ("spec", "template", "spec"):
        spec = spec.get(key) if isinstance(spec, dict) else None
    listed = spec.get("containers") if isinstance(spec, dict) else None
    yield from (c for c in listed if isinstance(c, dict)) if isinstance(listed, list) else ()


def _runs_kube_router(container: Mapping[str, Any]) -> bool:
    said = " ".join(str(container.get(key, "")) for key in ("name", "image", "command"))
    return "kube-router" in said


def _words(container: Mapping[str, Any]) -> Iterator[Any]:
    for key in ("command", "args"):
        listed = container.get(key)
        yield from listed if isinstance(listed, list) else ()
