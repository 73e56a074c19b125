"""A configuration on trial: in force until it is confirmed, or until something says that it must go."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How a node fares at one moment."""

    established: int
    """Sessions that are up."""
    wanted: int
    """Sessions that the configuration in force wants."""
    routes: int
    """Prefixes routed to others."""
    settled: bool = True
    """Every expected peer has told its table or was given up: routes may be counted (law 2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One trial. Times are wall-clock seconds since 1970, because a trial survives a restart of the daemon."""

    text: str
    """The candidate, as its file says it."""
    source: str
    """Where the candidate came from, for messages."""
    replaces: str
    """SHA-256, in hexadecimal, of the watched file's text when the trial began."""
    began: float
    until: float
    min_sessions: float
    """Share, 0 to 1, of sessions below which the trial ends; 0 for any."""
    min_routes: float
    grace: float
    """Seconds from the beginning, or from a start of the daemon, that sessions may take to come up."""
    sessions: int
    """Sessions that were up when the trial began."""
    routes: int
    """Prefixes that were routed then."""
