"""What can be wrong with an UPDATE, and what RFC 7606 says to do about it.

Errors are values: an :class:`UpdateProblem` tells which attribute, what is wrong and which of the three
approaches of RFC 7606 §2 was taken. Only where the routes themselves cannot be located any more is
:class:`UpdateError` raised, and the session has to end with the NOTIFICATION it carries.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from kroute.model.bgp import NoticeCode
from kroute.model.errors import KrouteError


class Action(IntEnum):
    """The approaches of RFC 7606 §2 that kroute takes; of several errors the greatest wins (§3 h)."""

    DISCARD = 1
    """Attribute discard: the attribute is dropped, the routes stay."""
    WITHDRAW = 2
    """Treat-as-withdraw: the routes of the UPDATE are withdrawn."""
    RESET = 3
    """Session reset: the NLRI could not be located or read."""


class Subcode(IntEnum):
    """UPDATE Message Error subcodes (RFC 4271 §4.5, §6.3)."""

    MALFORMED_ATTRIBUTE_LIST = 1
    UNRECOGNIZED_WELL_KNOWN = 2
    MISSING_WELL_KNOWN = 3
    ATTRIBUTE_FLAGS = 4
    ATTRIBUTE_LENGTH = 5
    INVALID_ORIGIN = 6
    INVALID_NEXT_HOP = 8
    OPTIONAL_ATTRIBUTE = 9
    INVALID_NETWORK = 10
    MALFORMED_AS_PATH = 11


@dataclass(frozen=True, slots=True)
class UpdateProblem:
    """One error in an UPDATE.

    ``name`` is the attribute's or field's name as the RFCs write it, ``reason`` words for an operator,
    ``rule`` the section that decides the action.
    """

    action: Action
    name: str
    reason: str
    rule: str
    subcode: Subcode = Subcode.OPTIONAL_ATTRIBUTE

    def __str__(self) -> str:
        """``MULTI_EXIT_DISC: 3 octets instead of 4 (treated as withdraw, RFC 7606 §7.4)``."""
        return f"{self.name}: {self.reason} ({_WORDS[self.action]}, {self.rule})"


_WORDS = {
    Action.DISCARD: "attribute discarded",
    Action.WITHDRAW: "treated as withdraw",
    Action.RESET: "session reset",
}


class UpdateError(KrouteError):
    """The session must end with NOTIFICATION ``code``/``subcode`` and ``data`` (RFC 4271 §6.3, RFC 7606 §2)."""

    def __init__(self, subcode: Subcode, reason: str, rule: str, data: bytes = b"") -> None:
        self.code = NoticeCode.UPDATE_ERROR
        self.subcode = subcode
        self.reason = reason
        self.rule = rule
        self.data = data
        super().__init__(f"{reason} ({rule})")
