"""Which method carries which messages, and what it asks for: five questions under eleven names.

The method's path is all that tells generations apart, but for AttachNetwork, whose request was renumbered in
v0.0.6 under the same name (:func:`attach_generation`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from kroute.codec.kni import messages as m
from kroute.codec.kni.wire import Message, decode, walk
from kroute.model.kni import AttachRequest, Generation

SERVICE: Final = "kni.KNI"


class Ask(Enum):
    """What a method asks of the core."""

    ATTACH = "attach"
    DETACH = "detach"
    QUERY_POD = "query-pod"
    QUERY_NODES = "query-nodes"
    CREATE = "create"
    DELETE = "delete"
    SETUP_NODE = "setup-node"


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC, unary: ``/kni.KNI/<name>``."""

    name: str
    ask: Ask
    request: Message
    reply: Message
    generation: Generation
    """The generation that speaks it first."""

    @property
    def path(self) -> str:
        """The path in HTTP/2's words."""
        return f"/{SERVICE}/{self.name}"


METHODS: Final = {
    method.name: method
    for method in (
        Method("AttachNetwork", Ask.ATTACH, m.ATTACH_V006, m.POD_REPLY, Generation.V005),
        Method("DetachNetwork", Ask.DETACH, m.DETACH_REQUEST, m.EMPTY, Generation.V005),
        Method("QueryPodNetwork", Ask.QUERY_POD, m.POD_QUERY, m.POD_REPLY, Generation.V005),
        Method("QueryNodeNetworks", Ask.QUERY_NODES, m.EMPTY, m.NODES_REPLY, Generation.V005),
        Method("SetupNodeNetwork", Ask.SETUP_NODE, m.EMPTY, m.EMPTY, Generation.V005),
        Method("CreateNetwork", Ask.CREATE, m.CREATE_REQUEST, m.CREATE_REPLY, Generation.V006),
        Method("DeleteNetwork", Ask.DELETE, m.DELETE_REQUEST, m.EMPTY, Generation.V006),
        Method("AttachInterface", Ask.ATTACH, m.ATTACH_INTERFACE, m.POD_REPLY, Generation.V008),
        Method("DetachInterface", Ask.DETACH, m.DETACH_REQUEST, m.EMPTY, Generation.V008),
        Method(
            "CreateIsolationDomain", Ask.CREATE, m.CREATE_REQUEST, m.CREATE_REPLY, Generation.KNIX
        ),
        Method("DeleteIsolationDomain", Ask.DELETE, m.DELETE_REQUEST, m.EMPTY, Generation.KNIX),
    )
}
"""Every method by name."""


def attach_generation(data: bytes) -> Generation:
    """Which layout an AttachNetworkRequest has: fields 8 and 9, or a port mapping at 6, exist since v0.0.6 only.

    A v0.0.6 message without annotations, extradata and port mappings cannot be told from a v0.0.5 one; the
    configuration can settle it.

    Raises:
        MalformedMessage: it is no protobuf message.
    """
    for number, kind, raw in walk(data):
        # A v0.0.5 annotation starts with a text (tag 1, type 2), a port mapping with a number (type 0).
        if number in (8, 9) or (number == 6 and kind == 2 and raw and raw[0] & 7 == 0):
            return Generation.V006
    return Generation.V005


def read_attach(data: bytes, forced: Generation | None) -> tuple[AttachRequest, Generation]:
    """An AttachNetworkRequest of either layout, and which one it was.

    Raises:
        MalformedMessage: it is neither.
    """
    generation = forced or attach_generation(data)
    layout = m.ATTACH_V005 if generation is Generation.V005 else m.ATTACH_V006
    return decode(layout, data), generation


def read(method: Method, data: bytes, forced: Generation | None = None) -> tuple[Any, Generation]:
    """The request of a method, and the generation that its sender speaks.

    Raises:
        MalformedMessage: the bytes are no such request.
    """
    if method.name == "AttachNetwork":
        return read_attach(data, forced)
    return decode(method.request, data), method.generation
