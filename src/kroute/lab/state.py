"""What a running lab leaves in /run/kroute-lab/<lab>: enough to find and remove it, by any later process.

The state is written before the first namespace is made, so ``down`` finds everything also after a crash.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from kroute.lab.errors import LabError

RUN = Path("/run/kroute-lab")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """One running node: its pause process (PID 1 of the node) and that one's parent, as the host numbers them."""

    pause: int = 0
    outer: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LabState:
    """A lab that is up, or was on its way up or down when its runner ended (``ready`` is False then)."""

    name: str
    topology: str
    backend: str
    ready: bool
    nodes: dict[str, NodeState]


def folder(lab: str) -> Path:
    """The lab's folder in /run."""
    return RUN / lab


def node_folder(lab: str, node: str) -> Path:
    """A node's folder: its root, its log."""
    return folder(lab) / "nodes" / node


def namespace(lab: str, node: str) -> str:
    """The network namespace of a node as ``ip netns`` lists it; dots separate, since no name may have one."""
    return f"kl.{lab}.{node}"


def namespaces(lab: str) -> list[str]:
    """The network namespaces that bear this lab's mark."""
    there = Path("/run/netns")
    names = (entry.name for entry in there.iterdir()) if there.is_dir() else ()
    return sorted(name for name in names if name.startswith(namespace(lab, "")))


def save(state: LabState) -> None:
    """Writes the state whole or not at all."""
    path = folder(state.name) / "state.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(state), indent=1))
    part.replace(path)


def load(lab: str) -> LabState | None:
    """The lab's state; None where it is not up."""
    try:
        raw = json.loads((folder(lab) / "state.json").read_text())
    except FileNotFoundError:
        return None
    nodes = {name: NodeState(**value) for name, value in raw.pop("nodes").items()}
    return LabState(**raw, nodes=nodes)


def running() -> list[LabState]:
    """All labs of this host, by name."""
    names = sorted(entry.parent.name for entry in RUN.glob("*/state.json"))
    return [state for name in names if (state := load(name)) is not None]


def forget(lab: str) -> None:
    """Removes the lab's folder, and the common one if it was the last."""
    shutil.rmtree(folder(lab), ignore_errors=True)
    try:
        RUN.rmdir()
    except OSError:
        return


@contextmanager
def locked(lab: str) -> Iterator[None]:
    """Holds the lab for one ``up`` or ``down`` at a time; the kernel lets go of it if we die.

    The lock is on a file outside /run/kroute-lab, so that removing the lab's folder cannot split it in two.

    Raises:
        LabError: another process is at work on this lab.
    """
    path = _lock_folder() / f"kroute-lab.{lab}.lock"
    handle = _lock(path)
    if handle is None:
        raise LabError(f"another kroute lab is at work on {lab}; wait for it")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _lock_folder() -> Path:
    """Where the host keeps locks."""
    return Path("/run/lock") if Path("/run/lock").is_dir() else Path("/run")


def _lock(path: Path) -> int | None:
    """The locked file's descriptor, or None where another holds it.

    The holder removes the file before it lets go, so a lock on a file that is no longer at ``path`` counts
    for nothing and is tried again.
    """
    while True:
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and path.stat().st_ino == os.fstat(handle).st_ino:
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        os.close(handle)
