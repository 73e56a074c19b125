"""The replaced attributes of ExaBGP's modules."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import exabgp.bgp.timer
import exabgp.reactor.peer
import exabgp.reactor.protocol
from exabgp.logger import log

from kroute.speaker.hooks.protocol import Keepalives, Offer, Protocol


class _Monotonic:
    """Stands where ``exabgp.bgp.timer`` looks for the module ``time``: a step of the wall clock ends no session."""

    time = staticmethod(time.monotonic)


def install(report: Callable[[str], None]) -> None:
    """Put our parts in place; ExaBGP's errors go to ``report`` as words.

    Call it once, before the first peer is made.
    """
    exabgp.reactor.peer.Protocol = Protocol
    exabgp.reactor.peer.KA = Keepalives
    exabgp.reactor.protocol.Capabilities = Offer
    exabgp.bgp.timer.time = _Monotonic

    def silent(message: Any, source: str = "", level: str = "") -> None:
        """ExaBGP calls this several times for each message."""

    def loud(message: Any, source: str = "", level: str = "") -> None:
        report(f"{source}: {message() if callable(message) else message}")

    for name in ("debug", "info", "warning"):
        setattr(log, name, silent)
    for name in ("error", "critical", "fatal"):
        setattr(log, name, loud)
