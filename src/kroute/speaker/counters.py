"""What a connection has counted, for people who ask."""

from __future__ import annotations

from typing import Any, Final

from kroute.speaker.hooks.wire import Wire

_NAMES: Final = {1: "open", 2: "update", 3: "notification", 4: "keepalive", 5: "routeRefresh"}


def counters(wire: Wire | None, due: float, now: float) -> dict[str, Any]:
    """The counters of a connection, and what they mean now (monotonic).

    ``received`` and ``sent`` are messages by type, of this connection alone; ``silence`` are seconds since octets
    came. Without a connection only ``retryIn`` is there: seconds until the next attempt, which begins at ``due``.
    """
    if wire is None or wire.io is None:
        return {"retryIn": round(max(due - now, 0.0), 1)}
    return {
        "received": {_NAMES[kind]: count for kind, count in wire.received.items()},
        "sent": {_NAMES[kind]: count for kind, count in wire.sent.items()},
        "octetsIn": wire.octets_in,
        "octetsOut": wire.octets_out,
        "silence": round(now - wire.heard, 1),
        "queued": wire.queued,
        "openedBy": "peer" if wire.incoming else "us",
        "localPort": wire.io.getsockname()[1],
        "peerPort": wire.io.getpeername()[1],
    }
