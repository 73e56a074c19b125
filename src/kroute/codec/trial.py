"""A trial as JSON: what survives a restart of the daemon, and what a request to begin one says."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from kroute.model.errors import KrouteError
from kroute.model.trial import Trial

LONGEST = 7 * 86400.0
"""Seconds that a trial may take at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A request for a trial; shares from 0 to 1, times in seconds."""

    text: str
    source: str
    confirm: float
    min_sessions: float
    min_routes: float
    grace: float


def pack(trial: Trial) -> str:
    """The trial as text; :func:`unpack` reads it."""
    return json.dumps(asdict(trial), indent=2) + "\n"


def unpack(text: str) -> Trial | None:
    """The trial in a text; None where it is none, which is nothing to fall over."""
    try:
        found = json.loads(text)
        return Trial(**_typed(Trial, found))
    except (ValueError, TypeError, RecursionError):
        return None


def read_wish(body: bytes) -> Wish:
    """What a request says.

    Raises:
        KrouteError: it is no request, or a number is out of range.
    """
    try:
        wish = Wish(**_typed(Wish, json.loads(body)))
    except (ValueError, TypeError, RecursionError) as error:
        raise KrouteError(f"that is no request for a trial: {error}") from error
    if not 1 <= wish.confirm <= LONGEST:
        raise KrouteError("the time to confirm must be from 1s to 7d")
    if not (0 <= wish.min_sessions <= 1 and 0 <= wish.min_routes <= 1):
        raise KrouteError("a share must be from 0% to 100%")
    if not 0 <= wish.grace <= wish.confirm:
        raise KrouteError("the grace must not be longer than the time to confirm")
    return wish


def write_wish(wish: Wish) -> bytes:
    """The request as it is sent."""
    return json.dumps(asdict(wish)).encode()


def _typed(cls: Any, found: Any) -> dict[str, Any]:
    """The fields of a dataclass of texts and numbers, each of its type.

    Raises:
        ValueError: one is missing or of another type.
    """
    if not isinstance(found, dict):
        raise ValueError("it is no mapping")  # noqa: TRY004  the readers above map ValueErrors
    values = {}
    for each in fields(cls):
        value = found.get(each.name)
        fits = (
            isinstance(value, str)
            if each.type == "str"
            else isinstance(value, int | float) and not isinstance(value, bool)
        )
        if not fits:
            raise ValueError(f"{each.name} is missing or no {each.type}")
        values[each.name] = value if each.type == "str" else _number(each.type, value)
    return values


def _number(kind: Any, value: Any) -> int | float:
    return int(value) if kind == "int" else float(value)
