"""Kubernetes objects, as `kubectl get -o yaml|json` and the API print them, to the model's slim values.

Total: odd input never raises. An entry that cannot be read is left out and told as a problem of its object and
field; the rest of the object counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any, Final

from kroute.model.net import Address, Prefix
from kroute.model.node import Node
from kroute.model.problem import Problem

_ADDRESS_TYPES: Final = ("InternalIP", "ExternalIP")
"""Types of node addresses that sessions may use, the better first."""


def objects(document: Any) -> Iterator[Any]:
    """The objects in a document: itself, or the items of a List or NodeList."""
    if isinstance(document, dict) and str(document.get("kind", "")).endswith("List"):
        items = document.get("items")
        yield from items if isinstance(items, list) else ()
    elif document is not None:
        yield document


def node_of(thing: Any) -> tuple[Node | None, tuple[Problem, ...]]:
    """A Node object as a value, and what is wrong with it; None for what is no node at all."""
    metadata = _mapping(thing, "metadata")
    name = metadata.get("name")
    if not isinstance(thing, dict) or not isinstance(name, str) or not name:
        return None, (
            Problem(
                object="node/?", field="metadata.name", reason=f"no Node object: {_shown(thing)}"
            ),
        )
    problems: list[Problem] = []
    node = Node(
        name=name,
        addresses=tuple(_addresses(thing, name, problems)),
        pod_cidrs=tuple(_pod_cidrs(thing, name, problems)),
        labels=_strings(metadata.get("labels")),
        annotations=_strings(metadata.get("annotations")),
        created=str(metadata.get("creationTimestamp") or ""),
        uid=str(metadata.get("uid") or ""),
        unschedulable=_mapping(thing, "spec").get("unschedulable") is True,
    )
    return node, tuple(problems)


def _addresses(thing: Any, name: str, problems: list[Problem]) -> Iterator[Address]:
    listed = _mapping(thing, "status").get("addresses")
    entries = [e for e in listed if isinstance(e, dict)] if isinstance(listed, list) else []
    for wanted in _ADDRESS_TYPES:
        found = [e.get("address") for e in entries if e.get("type") == wanted]
        if found:
            for text in dict.fromkeys(map(str, found)):
                try:
                    yield ip_address(text)
                except ValueError:
                    reason = f"{wanted} {text!r} is no IP address; it is left out"
                    problems.append(
                        Problem(object=f"node/{name}", field="status.addresses", reason=reason)
                    )
            return


def _pod_cidrs(thing: Any, name: str, problems: list[Problem]) -> Iterator[Prefix]:
    spec = _mapping(thing, "spec")
    listed = spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])
    for text in dict.fromkeys(map(str, listed if isinstance(listed, list) else [listed])):
        try:
            yield ip_network(text)
        except ValueError as error:
            problems.append(
                Problem(
                    object=f"node/{name}", field="spec.podCIDRs", reason=f"{error}; it is left out"
                )
            )


def _mapping(thing: Any, key: str) -> Mapping[str, Any]:
    value = thing.get(key) if isinstance(thing, dict) else None
    return value if isinstance(value, dict) else {}


def _strings(value: Any) -> dict[str, str]:
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else {}


def _shown(thing: Any) -> str:
    text = repr(thing)
    return text if len(text) <= 80 else text[:77] + "..."
