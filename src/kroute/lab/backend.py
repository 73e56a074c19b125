"""What a back-end offers: the rest of the lab neither knows nor cares which one runs it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kroute.lab.errors import LabError
from kroute.lab.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a command in a node ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        """Its output, else its complaint."""
        return self.stdout.strip() or self.stderr.strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """One line of ``inspect``. ``pid`` is PID 1 of the node as the host numbers it; 0: not running."""

    name: str
    kind: str
    image: str
    running: bool
    pid: int
    addresses: Sequence[str]


class Backend(Protocol):
    """One lab on one kind of machinery."""

    name: str

    def up(self, progress: Progress) -> None:
        """Starts the lab; leaves nothing behind where it fails or is interrupted."""

    def down(self, progress: Progress) -> None:
        """Removes whatever is left of the lab; also after a crash, and when there is nothing."""

    def run(
        self, node: str, argv: Sequence[str], *, text: str = "", timeout: float = 60.0
    ) -> Result:
        """Runs a command in a node with ``text`` on its standard input.

        Raises:
            LabError: the node is not running, or the command took longer than ``timeout`` seconds.
        """

    def attach(self, node: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> int:
        """Runs a command in a node with our own standard streams; returns its status."""

    def inspect(self) -> list[NodeStatus]:
        """All nodes that run programs."""

    def log(self, node: str) -> str:
        """What the node's main process has written so far."""


def choose(wanted: str) -> str:
    """``auto`` becomes ``clab`` where containerlab and a container engine answer, else ``netns``."""
    if wanted != "auto":
        return wanted
    if not shutil.which("containerlab") or not shutil.which("docker"):
        return "netns"
    answer = subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=20)
    return "clab" if answer.returncode == 0 else "netns"


def finish(argv: Sequence[str], text: str, timeout: float, what: str) -> Result:
    """Runs a host program to its end, for back-ends.

    Raises:
        LabError: it took longer than ``timeout`` seconds.
    """
    try:
        done = subprocess.run(
            argv,
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            errors="replace",
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{what}: no end after {timeout:.0f} s") from error
    return Result(status=done.returncode, stdout=done.stdout, stderr=done.stderr)
