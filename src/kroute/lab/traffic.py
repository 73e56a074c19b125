"""A continuous stream of pings in the background of a node, and what was lost of it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kroute.lab import probe
from kroute.lab.backend import Backend
from kroute.lab.errors import LabError

_FOLDER = "/run/kroute-lab/streams"
_COPY = f'mkdir -p {_FOLDER} && cat >"$1" && mv "$1" {_FOLDER}/probe.py'
"""Whole or not at all: the stream before may just be starting from the same file."""

_START = (
    'out=$1; shift; "$@" >"$out" 2>&1 </dev/null & echo $!;'
    ' while [ ! -s "$out" ] && kill -0 $! 2>/dev/null; do sleep 0.01; done'
)
"""Returns once the probe has said its first word: before that, a signal to stop would pass it by."""

_STOP = (
    "kill -INT $1 2>/dev/null; n=0;"
    " while kill -0 $1 2>/dev/null && [ $n -lt 200 ]; do sleep 0.02; n=$((n + 1)); done;"
    " kill -9 $1 2>/dev/null; cat $2; rm -f $2"
)

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What became of one stream. ``missing`` are the numbers of the pings without a reply, ``silence`` the longest
    time without any reply in seconds, ``errors`` what the kernel said of some, with how often."""

    name: str
    sent: int
    seconds: float
    silence: float
    missing: Sequence[int] = ()
    errors: Mapping[str, int] = field(default_factory=dict)

    def complaint(self, rate: float, silence: float = 0.0) -> str:
        """Why this stream does not prove that nothing is lost; empty where it does.

        ``rate`` is the wanted pings per second; half of them may be late on a busy machine. With a ``silence`` of
        more than 0 pings may be lost, if the stream never is without a reply for longer than those seconds.
        """
        lossless = not (self.missing or self.errors)
        if not lossless and not 0 < self.silence <= silence:
            said = "".join(f"; {count} x {text}" for text, count in self.errors.items())
            lost = f"{len(self.missing)} of {self.sent} lost (numbers {ranges(self.missing)})"
            return f"{self.name}: {lost}, {self.silence:.2f} s without a reply{said}"
        if self.sent < rate * self.seconds / 2:
            return (
                f"{self.name}: only {self.sent} pings in {self.seconds:.1f} s, which proves little"
            )
        return ""


class Stream:
    """One stream from a node to ``target``, possibly out of a pod's namespace (``prefix`` enters it).

    Raises:
        LabError: on start, if the target does not answer in the first place.
    """

    def __init__(
        self,
        backend: Backend,
        node: str,
        prefix: Sequence[str],
        target: str,
        *,
        name: str,
        rate: float,
    ) -> None:
        self.backend, self.node, self.name = backend, node, name
        first = backend.run(node, [*prefix, "ping", "-n", "-c", "1", "-W", "2", target])
        if first.status:
            raise LabError(f"{name}: no answer before the stream began: {first.said}")
        self._out = f"{_FOLDER}/{next(_numbers)}.json"
        copy = ["sh", "-c", _COPY, "sh", f"{self._out}.py"]
        backend.run(node, copy, text=Path(probe.__file__).read_text())
        command = [*prefix, "python3", "-I", f"{_FOLDER}/probe.py", target, f"{rate:g}"]
        started = backend.run(node, ["sh", "-c", _START, "sh", self._out, *command])
        if started.status:
            raise LabError(f"{name}: {started.said}")
        self._pid = started.stdout.strip()

    def stop(self) -> Tally:
        """Ends the stream, waits a second at most for the last replies, and counts.

        Raises:
            LabError: the stream had ended by itself.
        """
        said = self.backend.run(self.node, ["sh", "-c", _STOP, "sh", self._pid, self._out]).stdout
        return tally(self.name, said)


def tally(name: str, said: str) -> Tally:
    """Reads what the probe printed.

    Raises:
        LabError: it is not the probe's one line.
    """
    try:
        read = json.loads(said.removeprefix(probe.HELLO))
        return Tally(
            name=name,
            sent=read["sent"],
            seconds=read["seconds"],
            silence=read["silence"],
            missing=tuple(read["lost"]),
            errors=read["errors"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(f"{name}: the stream ended by itself: {said.strip()[-300:]!r}") from error


def ranges(numbers: Sequence[int]) -> str:
    """``3-7, 9`` for 3 4 5 6 7 9; at most five of them."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = [f"{a}" if a == b else f"{a}-{b}" for a, b in runs[:5]]
    return ", ".join(shown) + (", …" if len(runs) > 5 else "") if runs else "none"
