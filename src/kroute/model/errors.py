"""The errors that kroute raises on purpose. Any other exception is a bug and may crash the process:
law 4 (a crash leaves the node forwarding) makes that safe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class KrouteError(Exception):
    """Something an operator can act on; the text says what is wrong, where, and what stays in force."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing wrong with an input: where (``bgp.peers[2].asn``) and what, with a suggestion if there is one."""

    path: str
    reason: str

    def __str__(self) -> str:
        """``path: reason``, or the reason alone where the whole input is meant."""
        return f"{self.path}: {self.reason}" if self.path else self.reason


class InputError(KrouteError):
    """An input was refused; carries every complaint at once."""

    def __init__(self, source: str, complaints: Sequence[Complaint]) -> None:
        self.source = source
        self.complaints = tuple(complaints)
        super().__init__("\n".join(f"{source}: {c}" for c in self.complaints))


class ConfigError(InputError):
    """A configuration file was refused; the one before stays in force."""


class DriverError(KrouteError):
    """An outside thing could not be read or changed; it is read again and retried."""


class Unsupported(KrouteError):
    """This machine lacks something that was asked for; one sentence says what."""
