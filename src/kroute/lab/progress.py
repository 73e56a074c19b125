"""What a lab tells people while it works: one line per step, with a mark and the time it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_COLOURS = {"ok": "32", "fail": "31", "note": "33", "head": "1", "dim": "2"}


class Progress:
    """Writes to ``stream``; colours only on a terminal. ``quiet`` keeps to warnings and failures."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self.stream = sys.stdout if stream is None else stream
        self.quiet = quiet
        self.colour = self.stream.isatty()

    def paint(self, text: str, style: str) -> str:
        """``text`` in a style's colour, where there are colours."""
        return f"\033[{_COLOURS[style]}m{text}\033[0m" if self.colour else text

    def line(self, text: str = "", style: str = "") -> None:
        """A line of its own."""
        if not self.quiet:
            self._write(self.paint(text, style) if style else text)

    def warn(self, text: str) -> None:
        """Something that the user may want to change."""
        self._write(f"  {self.paint('!', 'note')} {text}")

    def fail(self, text: str) -> None:
        """Something that did not hold; further lines of ``text`` are indented."""
        first, *rest = text.splitlines() or [""]
        self._write(f"  {self.paint('✗', 'fail')} {first}")
        for more in rest:
            self._write(f"      {more}")

    def done(self, text: str, seconds: float | None = None) -> None:
        """A step that succeeded."""
        took = "" if seconds is None else self.paint(f"  {seconds:.1f} s", "dim")
        self.line(f"  {self.paint('✓', 'ok')} {text}{took}")

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """A step: its mark is written once the block has ended well. Failures are the caller's to tell."""
        began = time.monotonic()
        yield
        self.done(text, time.monotonic() - began)

    def _write(self, text: str) -> None:
        """One line at once: several streams may be read together."""
        self.stream.write(f"{text}\n")
        self.stream.flush()
