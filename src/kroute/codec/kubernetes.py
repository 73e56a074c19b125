"""Kubernetes objects, as `kubectl get -o yaml|json` and the API print them, to the model's slim values.

Total: odd input never raises. An entry that cannot be read is left out and told as a problem of its object and
field; the rest of the object counts. Lists are read object by object, since one of 9 KiB leaves a value of one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Final, NamedTuple

from kroute.codec.kube_router.annotations import node_annotations, node_keys, without_secrets
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
from kroute.codec.services import service_of, slice_of
from kroute.codec.yaml12 import load_all
from kroute.model.errors import Complaint, InputError
from kroute.model.net import Address, Prefix
from kroute.model.node import Node
from kroute.model.problem import Problem
from kroute.model.service import EndpointSlice, Service
from kroute.model.session_keys import AnnotatedKey

ADDRESS_TYPES: Final = ("InternalIP", "ExternalIP")
"""Types of node addresses that sessions may use, the better first."""
WIDEST_POD_CIDR: Final = {4: 8, 6: 16}
"""The shortest prefix of a podCIDR by version of the Internet Protocol: more than this is no node's share."""

Content = tuple[tuple[Node, ...], tuple[Problem, ...]]
Slim = Node | Service | EndpointSlice


class Objects(NamedTuple):
    """What a text of Kubernetes objects holds, in its order."""

    nodes: tuple[Node, ...] = ()
    services: tuple[Service, ...] = ()
    slices: tuple[EndpointSlice, ...] = ()
    problems: tuple[Problem, ...] = ()
    keys: Mapping[str, Mapping[str, AnnotatedKey]] = {}
    """By node, as :func:`keys_of` has them."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is left of an object of a list: its kind, whether it says so itself, and the value it is."""

    kind: str
    named: bool
    value: Slim | None
    problems: tuple[Problem, ...]
    keys: Mapping[str, AnnotatedKey]


_Keep = Callable[[Any], _Kept | None]


def read_nodes(text: str, source: str) -> Content:
    """The Node objects in a text of YAML documents or JSON, and what is wrong with single ones.

    Documents may be single objects or lists (`List`, `NodeList`); other kinds of object are passed over.

    Raises:
        InputError: the text is neither YAML nor JSON, or empty, as a file is while it is being written.
    """
    found = read_objects(text, source, services=False)
    return found.nodes, found.problems


def read_objects(text: str, source: str, *, services: bool) -> Objects:
    """The Node objects in a text as :func:`read_nodes` has them, with ``services`` also Services and EndpointSlices.

    Raises:
        InputError: the text is neither YAML nor JSON, or empty.
    """
    values: list[Slim] = []
    problems: list[Problem] = []
    keys: dict[str, Mapping[str, AnnotatedKey]] = {}
    for document in _documents(text, source, _keep if services else _keep_node):
        for kept in _kept_of(document, _keep if services else _keep_node):
            problems += kept.problems
            if kept.value is not None:
                values.append(kept.value)
            if isinstance(kept.value, Node) and kept.keys:
                keys.setdefault(kept.value.name, kept.keys)
    return Objects(
        tuple(v for v in values if isinstance(v, Node)),
        tuple(v for v in values if isinstance(v, Service)),
        tuple(v for v in values if isinstance(v, EndpointSlice)),
        tuple(problems),
        keys,
    )


def _documents(text: str, source: str, keep: _Keep) -> list[Any]:
    if not text or text.isspace():
        raise InputError(source, [Complaint("", "is empty")])
    # JSON is YAML too, but its own reader is ten times faster, and large dumps are JSON.
    if text.lstrip()[0] == "{" and (document := _json_document(text, keep)) is not None:
        return [document]
    return load_all(text, source, keep=keep)


def _kept_of(document: Any, keep: _Keep) -> Iterator[_Kept]:
    kind = document.get("kind") if isinstance(document, dict) else None
    if isinstance(kind, str) and kind.endswith("List"):
        items = document.get("items")
        entries = items if isinstance(items, list) else []
        # Objects of a `List` name their kinds; those of a `NodeList` leave it to the list.
        yield from (
            k for k in entries if k is not None and (k.named or kind in ("List", f"{k.kind}List"))
        )
    elif document is not None and (kept := keep(document)) is not None:
        yield kept


def _keep_node(thing: Any) -> _Kept | None:
    kind = thing.get("kind") if isinstance(thing, dict) else None
    if kind not in (None, "Node"):
        return None
    return _Kept("Node", kind == "Node", *node_of(thing), keys_of(thing))


def _keep(thing: Any) -> _Kept | None:
    kind = thing.get("kind") if isinstance(thing, dict) else None
    kind, named = (kind, True) if kind is not None else (_guessed_kind(thing), False)
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        return None
    return _Kept(str(kind), named, *reader(thing), keys_of(thing) if kind == "Node" else {})


def _guessed_kind(thing: Any) -> str:
    """What an object is that leaves its kind to its list."""
    if isinstance(thing, dict) and "addressType" in thing:
        return "EndpointSlice"
    spec = mapping(thing, "spec")
    return "Service" if "clusterIP" in spec or "sessionAffinity" in spec else "Node"


def _json_document(text: str, keep: _Keep) -> dict[str, Any] | None:
    """The JSON object that a text is, with its ``items`` kept; None if it is none, for the YAML reader to judge."""
    scanner = _Json(text)
    try:
        return scanner.document(keep)
    except (ValueError, IndexError, RecursionError):
        return None


class _Json:
    """Reads a JSON object one entry at a time, so that a long list is never in memory as a whole."""

    _SPACE: Final = re.compile(r"[ \t\r\n]*")

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._value = json.JSONDecoder().raw_decode

    def document(self, keep: Callable[[Any], Any]) -> dict[str, Any]:
        """The one object of the text.

        Raises:
            ValueError: it is no JSON object, or a key is there twice.
            IndexError: it ends early.
        """
        found: dict[str, Any] = {}
        for _ in self._entries("{", "}"):
            key = self._next()
            self._expect(":")
            if not isinstance(key, str) or key in found:
                raise ValueError(key)
            if key == "items" and self._peek() == "[":
                found[key] = [keep(self._next()) for _ in self._entries("[", "]")]
            else:
                found[key] = self._next()
        if self._SPACE.fullmatch(self._text, self._at) is None:
            raise ValueError("more follows")
        return found

    def _entries(self, opening: str, closing: str) -> Iterator[None]:
        """Stops before each entry of an object or array; whoever iterates reads it."""
        self._expect(opening)
        if self._peek() == closing:
            self._at += 1
            return
        while True:
            yield
            if self._peek() == closing:
                self._at += 1
                return
            self._expect(",")

    def _next(self) -> Any:
        self._peek()
        value, self._at = self._value(self._text, self._at)
        return value

    def _peek(self) -> str:
        match = self._SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._text[self._at]

    def _expect(self, mark: str) -> None:
        if self._peek() != mark:
            raise ValueError(mark)
        self._at += 1


# --- one Node -----------------------------------------------------------------------------------------


def node_of(thing: Any) -> tuple[Node | None, tuple[Problem, ...]]:
    """A Node object as a value, and what is wrong with it; None for what is no node at all."""
    metadata = mapping(thing, "metadata")
    name = metadata.get("name")
    if not isinstance(name, str) or not is_name(name):
        reason = f"no name of a node: {shown(name)}" if metadata else f"no object: {shown(thing)}"
        return None, (Problem(object="node/?", field="metadata.name", reason=reason),)
    problems: list[Problem] = []

    def complain(field: str, reason: str) -> None:
        problems.append(
            Problem(object=f"node/{name}", field=field, reason=f"{reason}; it is left out")
        )

    def complain_of_annotation(key: str, reason: str) -> None:
        complain(f"metadata.annotations[{key}]", reason)

    addresses = tuple(_addresses(thing, complain))
    node = Node(
        name=name,
        addresses=addresses,
        pod_cidrs=tuple(_pod_cidrs(thing, addresses, complain)),
        labels=strings(metadata, "labels", complain),
        annotations=without_secrets(strings(metadata, "annotations", complain)),
        created=string(metadata.get("creationTimestamp")),
        uid=string(metadata.get("uid")),
        unschedulable=mapping(thing, "spec").get("unschedulable") is True,
        ready=_is_ready(thing),
        kube_router=node_annotations(mapping(metadata, "annotations"), complain_of_annotation),
    )
    return node, tuple(problems)


def keys_of(thing: Any) -> Mapping[str, AnnotatedKey]:
    """The TCP MD5 keys in a Node object's annotations, by the address of their peers. They are no part of its value."""
    return node_keys(mapping(mapping(thing, "metadata"), "annotations"))


def _addresses(thing: Any, complain: Complain) -> Iterator[Address]:
    listed = mapping(thing, "status").get("addresses")
    entries = listed[:MOST_ENTRIES] if isinstance(listed, list) else []
    for wanted in ADDRESS_TYPES:
        found = [
            e.get("address") for e in entries if isinstance(e, dict) and e.get("type") == wanted
        ]
        for text in dict.fromkeys(shown(t) if not isinstance(t, str) else t for t in found):
            if (address := host_address(text)) is not None:
                yield address
            else:
                complain("status.addresses", f"{wanted} {shown(text)} is no address of a host")
        if found:
            return


def _is_ready(thing: Any) -> bool:
    """The Ready condition. Unknown is what the cluster says of a kubelet that it does not hear."""
    listed = mapping(thing, "status").get("conditions")
    conditions = listed if isinstance(listed, list) else []
    told = [c.get("status") for c in conditions if isinstance(c, dict) and c.get("type") == "Ready"]
    return not any(status in ("False", "Unknown") for status in told)


def _pod_cidrs(thing: Any, addresses: tuple[Address, ...], complain: Complain) -> Iterator[Prefix]:
    spec = mapping(thing, "spec")
    listed = spec.get("podCIDRs") or spec.get("podCIDR") or []
    entries = listed if isinstance(listed, list) else [listed]
    texts = [t if isinstance(t, str) else shown(t) for t in entries[:MOST_ENTRIES]]
    for text in dict.fromkeys(texts):
        if (prefix := _prefix(text)) is None:
            complain("spec.podCIDRs", f"{shown(text)} is no prefix without host bits")
        elif why := _no_pod_range(prefix, addresses):
            complain("spec.podCIDRs", f"{text} {why}")
        else:
            yield prefix


def _no_pod_range(prefix: Prefix, addresses: tuple[Address, ...]) -> str:
    """What keeps a prefix from being a node's range of pods, in words; empty if nothing does.

    Everybody sends what is for such a range to its node: the whole Internet, say, or the node's own sessions.
    """
    if prefix.is_multicast or prefix.is_loopback or not prefix.prefixlen:
        return "is no range of pods"
    if prefix.prefixlen < (widest := WIDEST_POD_CIDR[prefix.version]):
        return f"is too wide for one node: /{widest} is the widest that is believed"
    held = next((a for a in addresses if a in prefix), None)
    return f"contains the node's own address {held}" if held is not None else ""


def _prefix(text: str) -> Prefix | None:
    """A prefix as ``net.ParseCIDR`` takes it: the length is there, and no netmask."""
    address, _, length = text.partition("/")
    try:
        return ip_network(text) if address and length.isdecimal() else None
    except ValueError:
        return None


_READERS: Final[
    Mapping[str, Callable[[Any], tuple[Node | Service | EndpointSlice | None, tuple[Problem, ...]]]]
] = {"Node": node_of, "Service": service_of, "EndpointSlice": slice_of}
"""The reader of each kind that is read."""
