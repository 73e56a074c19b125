"""The limits that ExaBGP does not know: of the handshake, and of a peer that takes nothing. Seconds throughout."""

from __future__ import annotations

from typing import Final

from kroute.speaker.hooks.peer import Peer
from kroute.speaker.hooks.wire import Wire

CONNECT: Final = 5.0
"""That an attempt to connect may take."""
YOUNG: Final = 2.0
"""In which a connection or session is not given up for another one."""
HANDSHAKE: Final = 30.0
"""From TCP to Established (RFC 4271 §8.2.2 suggests a large hold time of 4 minutes)."""
SILENT: Final = 3.0
"""After which it is told that a connected peer says nothing."""
SEND_HOLD: Final = 480
"""In which a peer must take something of what waits for it (RFC 9687 §4)."""
HANDSHAKE_TICK: Final = 1.0
"""Between looks at a session that is not established yet."""


def overdue(peer: Peer, wire: Wire, now: float) -> tuple[bytes, str] | None:
    """The NOTIFICATION with which a connection must end now and why; no NOTIFICATION where it is only to be told."""
    if peer.is_up:
        if wire.blocked and now - wire.progress > max(SEND_HOLD, 2 * peer.hold_time):
            return bytes((8, 0)), "the peer takes nothing"
        return None
    if now - wire.since > HANDSHAKE:
        return bytes((4, 0)), "the peer did not complete the exchange of OPENs"
    if now - wire.since > SILENT:
        return b"", f"connected, but the peer sends no {wire.lacks}"
    return None
