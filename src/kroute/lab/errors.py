"""What the lab raises on purpose."""

from __future__ import annotations

from collections.abc import Sequence


class LabError(Exception):
    """Something the user can act on. Carries one sentence per thing that is wrong, all of them at once."""

    def __init__(self, *messages: str) -> None:
        self.messages: Sequence[str] = messages
        super().__init__("\n".join(messages))


class CheckFailed(LabError):
    """A check did not hold before its deadline; says what was expected and what was seen last."""
