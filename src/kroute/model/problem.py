"""What is wrong right now, for people: `kroute show problems`, metrics and Kubernetes Events."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How soon a human is needed."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Problem:
    """One thing that is wrong and stays wrong until somebody acts or the outside changes.

    ``object`` names the thing (``node/n3``, ``peer/tor1``, ``file/…/nodes.yaml``), ``field`` the part of
    it that is wrong (may be empty), ``reason`` what is wrong and what is still in force, in words.
    """

    object: str
    field: str = ""
    reason: str
    severity: Severity = Severity.WARNING
