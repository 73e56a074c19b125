"""What sessions tell the reactor."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Protocol

from kroute.speaker.hooks.peer import Ended
from kroute.speaker.hooks.wire import Wire

if TYPE_CHECKING:
    from kroute.speaker.session import Session


class Reports(Protocol):
    """What a session tells its owner; the owner knows its index."""

    def up(self, session: Session, agreed: dict[str, object]) -> None:
        """Established."""

    def down(self, session: Session, ended: Ended) -> None:
        """No longer established."""

    def attempt(self, session: Session, text: str) -> None:
        """Did not come up, and why."""

    def refresh(self, session: Session, afi: int, safi: int, subtype: int) -> None:
        """The peer wants a family again."""

    def updates(self, session: Session, run: bytes) -> None:
        """Complete UPDATE messages."""

    def flush_later(self, session: Session) -> None:
        """The session's wire has something to send at the end of the turn."""

    def linger(self, sock: socket.socket, wire: Wire) -> None:
        """Close this socket so that the last words arrive."""
