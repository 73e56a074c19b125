"""A client for any KNI server: finds out which generation it speaks, and says everything where each would look.

Deadlines are set, since servers set none; the namespace goes into isolation, extradata and an annotation, which
satisfies every server known. One thing cannot be found out: a server of v0.0.6 from before it had CreateNetwork answers
as one of v0.0.5 does, whose attach it reads without an error and wrongly.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import grpc

from kroute.codec.kni import messages as m
from kroute.codec.kni.methods import METHODS
from kroute.codec.kni.wire import MalformedMessage, Message, decode, encode
from kroute.model.errors import KrouteError
from kroute.model.kni import (
    AttachRequest,
    CreateReply,
    CreateRequest,
    DeleteRequest,
    DetachRequest,
    Empty,
    Generation,
    Isolation,
    NodesReply,
    PodQuery,
    PodReply,
)


class Refused(KrouteError):
    """The server answered with an error."""

    def __init__(self, method: str, code: grpc.StatusCode, text: str) -> None:
        self.code = code
        super().__init__(f"{method}: {code.name}: {text}")


class KniClient:
    """One connection; a context manager."""

    def __init__(
        self, socket: str, generation: Generation | None = None, timeout: float = 90.0
    ) -> None:
        """``socket`` is a path; ``generation`` None asks the server."""
        self._channel = grpc.insecure_channel(f"unix:{socket}")
        self._generation = generation
        self._timeout = timeout

    def __enter__(self) -> KniClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    @property
    def generation(self) -> Generation:
        """What the server speaks, found by methods that it does not know. It changes nothing: the attach says neither
        who nor where, and a namespace of the name that is deleted exists nowhere. (libkni's server takes a deletion
        without a name for the namespace of a pod without one.)"""
        if self._generation is None:
            nobody = DeleteRequest(name=f"kroute-{uuid4().hex}", namespace="kroute")
            known = self._knows("DeleteNetwork", m.DELETE_REQUEST, nobody)
            if not self._knows("AttachInterface", m.ATTACH_INTERFACE, AttachRequest()):
                self._generation = Generation.V006 if known else Generation.V005
            else:
                newest = self._knows("DeleteIsolationDomain", m.DELETE_REQUEST, nobody)
                self._generation = Generation.KNIX if newest and not known else Generation.V008
        return self._generation

    def attach(self, container: str, netns: str, **more: Any) -> PodReply:
        """Attach a pod. A kubelet throws the answer away and takes the addresses from :meth:`query`.

        Raises:
            KrouteError: the server's generation has no words for what is asked.
        """
        if self.generation is Generation.V005 and more.get("port_mappings"):
            raise KrouteError("AttachNetwork of v0.0.5 has no port mappings; v0.0.6 and later do")
        extradata = {"netns": netns, **more.pop("extradata", {})}
        annotations = {"netns": netns, **more.pop("annotations", {})}
        request = AttachRequest(
            id=container,
            isolation=Isolation(path=netns, type="namespace"),
            extradata=extradata,
            annotations=annotations,
            **more,
        )
        new = self.generation in (Generation.V008, Generation.KNIX)
        layout = m.ATTACH_V005 if self.generation is Generation.V005 else m.ATTACH_V006
        name = "AttachInterface" if new else "AttachNetwork"
        reply: PodReply = self._call(name, layout, request)
        return reply

    def detach(self, container: str) -> None:
        """Detach a pod."""
        new = self.generation in (Generation.V008, Generation.KNIX)
        name = "DetachInterface" if new else "DetachNetwork"
        self._call(name, m.DETACH_REQUEST, DetachRequest(id=container))

    def query(self, container: str) -> PodReply:
        """Addresses of a pod."""
        reply: PodReply = self._call("QueryPodNetwork", m.POD_QUERY, PodQuery(id=container))
        return reply

    def nodes(self) -> NodesReply:
        """Networks of the node."""
        reply: NodesReply = self._call("QueryNodeNetworks", m.EMPTY, Empty())
        return reply

    def create(self, request: CreateRequest) -> CreateReply:
        """Make a network namespace."""
        reply: CreateReply = self._call(f"Create{self._domain()}", m.CREATE_REQUEST, request)
        return reply

    def delete(self, request: DeleteRequest) -> None:
        """Remove a network namespace."""
        self._call(f"Delete{self._domain()}", m.DELETE_REQUEST, request)

    def raw(self, path: str, data: bytes) -> bytes:
        """Any unary method with any bytes.

        Raises:
            Refused: the server answers with an error.
        """
        try:
            call: Any = self._channel.unary_unary(path)
            answer: bytes = call(data, timeout=self._timeout)
        except grpc.RpcError as error:
            name = path.rpartition("/")[2]
            raise Refused(name, error.code(), str(error.details())) from error
        return answer

    def _domain(self) -> str:
        return "IsolationDomain" if self.generation is Generation.KNIX else "Network"

    def _knows(self, method: str, layout: Message, request: Any) -> bool:
        try:
            self.raw(METHODS[method].path, encode(layout, request))
        except Refused as refused:
            if refused.code is grpc.StatusCode.UNAVAILABLE:
                raise
            return refused.code is not grpc.StatusCode.UNIMPLEMENTED
        return True

    def _call(self, name: str, layout: Message, request: Any) -> Any:
        method = METHODS[name]
        answer = self.raw(method.path, encode(layout, request))
        try:
            return decode(method.reply, answer)
        except MalformedMessage as error:
            raise KrouteError(f"{name}: the server's answer cannot be read: {error}") from error
