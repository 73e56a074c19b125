"""What the road asks of the drivers, so that a rehearsal can stand in for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from kroute.codec.frames import SessionParameters
from kroute.model.bgp import CeaseSubcode
from kroute.model.fib import Nexthops
from kroute.model.net import Family, Nlri


class SpeakerPort(Protocol):
    """What the road asks of the speaker driver."""

    def add(self, index: int, parameters: SessionParameters) -> None:
        """Hold a session with a peer; for a known index, replace its parameters."""

    def remove(
        self,
        index: int,
        *,
        subcode: int = CeaseSubcode.PEER_DECONFIGURED,
        text: str = "",
        data: bytes = b"",
    ) -> None:
        """Forget a peer, with a Cease."""

    def reset(self, index: int, *, code: int, subcode: int, data: bytes = b"") -> None:
        """End a session with a NOTIFICATION; it may come back."""

    def send(self, indexes: Iterable[int], messages: bytes) -> None:
        """Send ready-made BGP messages to peers."""


class FibPort(Protocol):
    """What the road asks of the FIB driver."""

    def update(self, family: Family, changes: Mapping[Nlri, Nexthops | None]) -> None:
        """Take over changed routes."""
