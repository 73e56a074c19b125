"""Lists of the API that are not believed when they lack what was known: what they hold is news, and nothing is gone.

An API server that was restored empty, or another one behind the same name, answers well and knows nothing. To believe
it would withdraw every route and address of the cluster. So whoever says that something is gone must know us.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final

from kroute.codec.kubernetes import keys_of
from kroute.drivers.inventory import Emit, TellKeys
from kroute.drivers.inventory.api import Api, ApiError
from kroute.drivers.inventory.sinks import Followed, ListSink, Slim, T
from kroute.model.node import Node
from kroute.model.session_keys import AnnotatedKey

NODES_PATH: Final = "/api/v1/nodes"


class DoubtingSink(ListSink[T], ABC):
    """A sink that withholds what is gone while it doubts the list that says so."""

    def __init__(self, emit: Emit, crash: asyncio.Future[None], followed: Followed[T]) -> None:
        super().__init__(emit, crash, followed)
        self._unlisted: set[str] | None = None
        """What a list that is not believed lacks, and what went since; None where the list is believed."""

    @abstractmethod
    def _believes(self, things: dict[str, T]) -> bool:
        """Whether what a list lacks is gone."""

    def _take_list(self, things: dict[str, T]) -> None:
        if self._believes(things):
            self._unlisted = None
            super()._take_list(things)
            return
        self._unlisted = self._known.keys() - things.keys()
        for key, thing in things.items():
            super()._take_change(key, thing)

    def _take_change(self, key: str, thing: T) -> None:
        if self._unlisted is not None:
            self._unlisted.discard(key)
        super()._take_change(key, thing)

    def _take_removal(self, key: str) -> None:
        if self._unlisted is not None:
            self._unlisted.add(key)
        else:
            super()._take_removal(key)

    def _believe(self) -> None:
        """Put in force what was withheld."""
        gone, self._unlisted = self._unlisted or set(), None
        super()._take_list({k: v for k, v in self._known.items() if k not in gone})


class NodeSink(DoubtingSink[Node]):
    """The sink of nodes.

    A list without the own node comes from an API server that was restored empty, or through a wrong selector: what is
    in it is news, and nothing is gone because it is not, until the own node is there again.
    """

    def __init__(
        self,
        emit: Emit,
        crash: asyncio.Future[None],
        followed: Followed[Node],
        me: str,
        selector: str,
        keys: TellKeys,
    ) -> None:
        """``me`` empty: any list is believed. ``keys`` is told those of the own node's annotations."""
        super().__init__(emit, crash, followed)
        self._me = me
        self._selector = selector
        self._keys = keys
        self._said: Mapping[str, AnnotatedKey] = {}
        """The keys in our annotations, when they were seen last."""

    def slim(self, thing: Any) -> Slim[Node]:
        """As every sink; and the keys of the own node."""
        found = super().slim(thing)
        if found[0] is not None and found[0].name == self._me:
            self._said = keys_of(thing)
        return found

    def listed(self, things: list[Slim[Node]]) -> None:
        """Keys first: who learns of the node may ask for them."""
        self._in_loop(self._deliver_keys, self._said)
        super().listed(things)

    def changed(self, slim: Slim[Node]) -> None:
        """As :meth:`listed`, of one node."""
        if slim[0] is not None and slim[0].name == self._me:
            self._in_loop(self._deliver_keys, self._said)
        super().changed(slim)

    def _deliver_keys(self, keys: Mapping[str, AnnotatedKey]) -> None:
        if self._emit is not None:
            self._keys(keys)

    def _believes(self, things: dict[str, Node]) -> bool:
        return not self._me or self._me in things

    def _take_change(self, key: str, thing: Node) -> None:
        if self._unlisted is None or key != self._me:
            super()._take_change(key, thing)
            return
        self._unlisted.discard(key)
        self._known[key] = thing
        self._believe()
        self._tell_state()

    def _doubt(self) -> str:
        if self._unlisted is None:
            return ""
        through = f" with labelSelector {self._selector!r}" if self._selector else ""
        return (
            f"the API server's list of nodes{through} lacks this node, {self._me}, so it may lack any; "
            "nodeName or the selector may be wrong, or the server was restored without its nodes"
        )


class ServiceSink(DoubtingSink[T]):
    """The sink of services, or of endpoint slices.

    A list that lacks what was known is believed if the server that tells it knows the own node: each list comes over a
    connection of its own, and may come before the nodes' does. A removal by itself, while the list is believed, needs
    no witness.
    """

    def __init__(
        self,
        emit: Emit,
        crash: asyncio.Future[None],
        followed: Followed[T],
        me: str,
        witness: Api,
    ) -> None:
        """``me`` empty: any list is believed. ``witness`` reaches the same server."""
        super().__init__(emit, crash, followed)
        self._me = me
        self._witness = witness
        self._why = ""
        self._ask_again_at = 0.0

    def _believes(self, things: dict[str, T]) -> bool:
        return not self._me or self._known.keys() <= things.keys() or self._server_knows_us()

    def recovered(self) -> None:
        """The server is heard, at least with every bookmark: a time to ask it again whether it knows us."""
        doubts = self._unlisted is not None and time.monotonic() >= self._ask_again_at
        if doubts and self._server_knows_us():
            self._believe()
        super().recovered()

    def _server_knows_us(self) -> bool:
        self._ask_again_at = time.monotonic() + self._witness.patience.longest_pause
        query = {"fieldSelector": f"metadata.name={self._me}", "limit": "1"}
        try:
            if self._witness.get(NODES_PATH, query).get("items"):
                return True
            self._why = f"it does not know this node, {self._me}, either"
        except ApiError as error:
            self._witness.forget()
            self._why = f"it cannot be asked whether it knows this node, {self._me}: {error}"
        return False

    def _doubt(self) -> str:
        missing = len(self._unlisted or ())
        if not missing:
            return ""
        return (
            f"the API server's list of {self.followed.of} lacks {missing} of those known, and {self._why}; it may have "
            "been restored without them"
        )
