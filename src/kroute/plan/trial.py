"""When a configuration on trial must go: its time is over, or too little of what there was is left."""

from __future__ import annotations

from kroute.model.trial import Counts, Trial


def verdict(trial: Trial, counts: Counts, now: float, since: float) -> str:
    """Why the trial ends now, in words; empty while it goes on. ``since``: when sessions began to come up."""
    if now >= trial.until or now < trial.began - 60:
        # A clock that was set back by more than a moment says nothing about how much time is left.
        return f"it was not confirmed within {round(trial.until - trial.began)} s"
    if counts.settled and _below(counts.routes, trial.routes, trial.min_routes):
        return _fell("routed prefixes", counts.routes, trial.routes, trial.min_routes)
    expected = expected_sessions(trial, counts)
    if now - since >= trial.grace and _below(counts.established, expected, trial.min_sessions):
        return _fell("sessions", counts.established, expected, trial.min_sessions)
    return ""


def expected_sessions(trial: Trial, counts: Counts) -> int:
    """How many sessions make a whole: those that were up before, or those wanted now where these are fewer.

    A change from a mesh to reflectors wants fewer, and all of them up is all that there can be. None wanted is not
    few: then what there was before counts.
    """
    return min(trial.sessions, counts.wanted) if counts.wanted else trial.sessions


def _below(now: int, before: int, share: float) -> bool:
    return now < share * before


def _fell(what: str, now: int, before: int, share: float) -> str:
    return (
        f"{what} fell to {now} of {before} ({100 * now // before} %), below {round(100 * share)} %"
    )
