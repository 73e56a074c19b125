"""A command line in kroute's words as it grows, and the readers of kube-router's values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kroute.model.errors import Complaint

_DURATION: Final = re.compile(r"([0-9]*\.?[0-9]+)(ns|us|µs|ms|s|m|h)")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TRUE: Final = ("1", "t", "true")
_FALSE: Final = ("0", "f", "false")

Keys = Mapping[str, Any]
"""Dotted paths of kroute's configuration file, with their values."""


@dataclass(slots=True)
class Translation:
    """A command line in kroute's words.

    ``document`` is the configuration file as nested mappings, without defaults. ``notes`` say what differs or is left
    to do, ``complaints`` which flags could not be read and were left out.
    """

    document: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    complaints: list[Complaint] = field(default_factory=list)

    def put(self, path: str, value: Any) -> None:
        """Set a key, given by its dotted path."""
        *folders, name = path.split(".")
        place = self.document
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = value


def odd(result: Translation, flag: str, reason: str) -> None:
    """Note that a flag could not be read."""
    result.complaints.append(Complaint(f"--{flag}", reason))


def boolean(value: str) -> bool:
    """A switch as Go reads it.

    Raises:
        ValueError: it is neither true nor false.
    """
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise ValueError(f"{value!r} is neither true nor false")


def number(value: str, least: int, most: int) -> int:
    """A number within bounds.

    Raises:
        ValueError: it is none.
    """
    if not value.isdecimal() or not least <= int(value) <= most:
        raise ValueError(f"{value!r} is no number from {least} to {most}")
    return int(value)


def seconds(value: str) -> int:
    """A Go duration (``1m30s``) in whole seconds.

    Raises:
        ValueError: it is none.
    """
    parts = _DURATION.findall(value)
    if not parts or "".join(a + b for a, b in parts) != value:
        raise ValueError(f"{value!r} is no duration such as 90s or 6m")
    return round(sum(float(amount) * _SECONDS[unit] for amount, unit in parts))


def listed(value: str) -> list[str]:
    """The parts of a comma-separated list; none of an empty text."""
    return [part.strip() for part in value.split(",")] if value else []
