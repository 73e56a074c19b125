"""Nodes from files: the very objects that Kubernetes prints, followed live.

Nothing is taken back because a file is in a bad state. A file that is broken, empty or half written leaves its last
good version in force, and a problem names file, line and reason; while a file has never been good, nothing that it may
hold is known to be gone. The configured file or folder may vanish, or name no node at all, without taking the
cluster along; a file removed from a folder, or a node from a file, is gone.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from kroute.codec.kubernetes import Content, read_nodes
from kroute.drivers.inventory import Emit
from kroute.drivers.watching import Mark, Signature, changes, mark_of
from kroute.model.errors import Complaint, InputError
from kroute.model.inventory import Fresh, Listed, NodeChanged, Problems, Stale
from kroute.model.node import Node
from kroute.model.problem import Problem, Severity

PATTERNS = ("*.yaml", "*.yml", "*.json")
LARGEST = 256 << 20
"""Octets of an inventory file."""
RETRY = 5.0
"""Seconds until a file that could not be read is tried again, though it looks the same."""


class StaticInventoryDriver:
    """Follows one file, or all YAML and JSON files of a folder."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._good: dict[str, Content] = {}
        self._read: dict[str, Mark] = {}
        self._broken: dict[str, Problem] = {}

    async def watch(self, emit: Emit) -> None:
        """Tell the whole list at start and after each change, until cancelled."""
        again = asyncio.Event()
        async for seen in changes(self._path, PATTERNS, wake=again):
            await asyncio.to_thread(self._take, seen)
            if any(name not in self._read for name, _ in seen):
                asyncio.get_running_loop().call_later(RETRY, again.set)
            nodes, problems = self._merged()
            emit(Problems(problems))
            if reason := self._nothing(seen, nodes):
                emit(Stale(reason))
                continue
            emit(Fresh())
            if self._broken.keys() <= self._good.keys():
                emit(Listed(nodes))
                continue
            for node in nodes:  # known to be there, and no word about what else is
                emit(NodeChanged(node))

    def _nothing(self, seen: Signature, nodes: tuple[Node, ...]) -> str:
        """Why there is nothing to tell, in words; empty where there is."""
        if not seen and not self._path.is_dir():
            return f"{self._path} is not there"
        if not seen:
            return f"the folder {self._path} holds no {', '.join(PATTERNS)}"
        return "" if nodes else f"{self._path} names no node"

    def _take(self, seen: Signature) -> None:
        """Read the files that changed, forget those that are gone. All gone is an accident: nothing is forgotten."""
        names = {name for name, *_ in seen}
        for gone in [n for n in {*self._read, *self._broken} if names and n not in names]:
            for memory in (self._good, self._read, self._broken):
                memory.pop(gone, None)
        for name, mark in seen:
            if self._read.get(name) != mark:
                self._read[name] = mark
                self._take_file(name)

    def _take_file(self, name: str) -> None:
        try:
            self._good[name] = read_nodes(_text(Path(name)), name)
            self._broken.pop(name, None)
        except InputError as error:
            known = name in self._good
            kept = "its last good version stays in force" if known else "it is left out"
            reason = f"{'; '.join(map(str, error.complaints))}; {kept}"
            self._broken[name] = Problem(
                object=f"file/{name}", reason=reason, severity=Severity.ERROR
            )
            if isinstance(error.__cause__, OSError):
                del self._read[name]

    def _merged(self) -> Content:
        """All nodes; of two of one name the first counts, in the order of file names."""
        nodes: dict[str, Node] = {}
        problems = list(self._broken.values())
        for name in sorted(self._good):
            found, complaints = self._good[name]
            problems += complaints
            for node in found:
                if node.name in nodes:
                    reason = f"{name} describes it a second time; the first description counts"
                    problems.append(Problem(object=f"node/{node.name}", reason=reason))
                else:
                    nodes[node.name] = node
        return tuple(nodes.values()), tuple(problems)


def _text(path: Path) -> str:
    """A file's text.

    Raises:
        InputError: it cannot be read, is too large, or changed while it was read.
    """
    try:
        before = mark_of(path)
        if path.stat().st_size > LARGEST:
            raise InputError(str(path), [Complaint("", f"is larger than {LARGEST >> 20} MiB")])
        text = path.read_text(encoding="utf-8")
        if mark_of(path) != before:
            raise InputError(str(path), [Complaint("", "changed while it was read")])
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(path), [Complaint("", f"cannot be read: {error}")]) from error
    return text
