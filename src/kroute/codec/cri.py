"""CRI on the wire, as far as garbage collection asks: runtime.v1.RuntimeService/Version and ListPodSandbox.

The numbers of the fields are those of the Kubernetes project's ``cri-api/pkg/apis/runtime/v1/api.proto``; what is not
named here (labels, annotations, times) is skipped unread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kroute.codec.kni.wire import Field, Kind, MalformedMessage, Message, decode
from kroute.model.sandbox import Sandbox

VERSION: Final = "/runtime.v1.RuntimeService/Version"
LIST: Final = "/runtime.v1.RuntimeService/ListPodSandbox"
EVERYTHING: Final = b""
"""Both requests: no version named, no filter."""
_READY: Final = 0
"""PodSandboxState."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Metadata:
    name: str = ""
    uid: str = ""
    namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    id: str = ""
    metadata: _Metadata | None = None
    state: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Items:
    items: tuple[_Item, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    runtime_name: str = ""


_METADATA = Message(
    "PodSandboxMetadata", _Metadata, (Field(1, "name"), Field(2, "uid"), Field(3, "namespace"))
)
_ITEM = Message(
    "PodSandbox",
    _Item,
    (
        Field(1, "id"),
        Field(2, "metadata", Kind.MESSAGE, _METADATA),
        Field(3, "state", Kind.INT32),
    ),
)
_ITEMS = Message("ListPodSandboxResponse", _Items, (Field(1, "items", Kind.MESSAGES, _ITEM),))
_VERSION = Message("VersionResponse", _Version, (Field(2, "runtime_name"),))


def read_runtime(data: bytes) -> str:
    """The runtime's name in a VersionResponse, such as ``containerd``.

    Raises:
        MalformedMessage: it is none, or names none.
    """
    name: str = decode(_VERSION, data).runtime_name
    if not name:
        raise MalformedMessage("the runtime says no name")
    return name


def read_sandboxes(data: bytes) -> Mapping[str, Sandbox]:
    """The sandboxes of a ListPodSandboxResponse by id.

    Raises:
        MalformedMessage: it is none, or one of its sandboxes has no id.
    """
    found: dict[str, Sandbox] = {}
    items: _Items = decode(_ITEMS, data)
    for item in items.items:
        if not item.id:
            raise MalformedMessage("a sandbox has no id")
        pod = item.metadata or _Metadata()
        found[item.id] = Sandbox(
            id=item.id,
            ready=item.state == _READY,
            namespace=pod.namespace,
            name=pod.name,
            uid=pod.uid,
        )
    return found
