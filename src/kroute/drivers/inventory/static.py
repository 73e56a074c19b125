"""Nodes from files: the very objects that Kubernetes prints, followed live.

A file that is broken or half written leaves its last good state in force, and a problem names file, line and
reason. The configured file itself may vanish without taking the cluster along; a file removed from a folder
takes its nodes along.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from kroute.codec.kubernetes import node_of, objects
from kroute.codec.yaml12 import load_all
from kroute.drivers.inventory import Emit
from kroute.drivers.watching import Signature, changes
from kroute.model.errors import Complaint, InputError
from kroute.model.inventory import Fresh, Listed, Problems, Stale
from kroute.model.node import Node
from kroute.model.problem import Problem, Severity

PATTERNS = ("*.yaml", "*.yml", "*.json")
LARGEST = 256 << 20
"""Octets of an inventory file."""

Content = tuple[tuple[Node, ...], tuple[Problem, ...]]


class StaticInventoryDriver:
    """Follows one file, or all YAML and JSON files of a folder."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._good: dict[str, Content] = {}
        self._read: dict[str, tuple[int, int, int]] = {}
        self._broken: dict[str, Problem] = {}

    async def watch(self, emit: Emit) -> None:
        """Tell the whole list at start and after each change, until cancelled."""
        async for seen in changes(self._path, PATTERNS):
            if not seen and not self._path.is_dir():
                emit(Stale(f"{self._path} is not there"))
                continue
            await asyncio.to_thread(self._take, seen)
            emit(Fresh())
            nodes, problems = self._merged()
            if self._good or not self._broken:
                emit(Listed(nodes))
            emit(Problems(problems))

    def _take(self, seen: Signature) -> None:
        """Read the files that changed, forget those that are gone."""
        names = {name for name, *_ in seen}
        for gone in [n for n in self._read if n not in names]:
            for memory in (self._good, self._read, self._broken):
                memory.pop(gone, None)
        for name, *state in seen:
            mark = (state[0], state[1], state[2])
            if self._read.get(name) != mark:
                self._read[name] = mark
                self._take_file(name)

    def _take_file(self, name: str) -> None:
        try:
            self._good[name] = read_nodes(Path(name))
            self._broken.pop(name, None)
        except InputError as error:
            kept = (
                "; its last good version stays in force"
                if name in self._good
                else "; it is left out"
            )
            reason = "; ".join(map(str, error.complaints)) + kept
            self._broken[name] = Problem(
                object=f"file/{name}", reason=reason, severity=Severity.ERROR
            )

    def _merged(self) -> tuple[tuple[Node, ...], tuple[Problem, ...]]:
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


def read_nodes(path: Path) -> Content:
    """The nodes in a file of YAML documents or JSON, and what is wrong with single ones.

    Raises:
        InputError: the file cannot be read, or is neither YAML nor JSON.
    """
    nodes: list[Node] = []
    problems: list[Problem] = []
    for document in _documents(path):
        for thing in objects(document):
            if isinstance(thing, dict) and thing.get("kind", "Node") != "Node":
                continue  # a dump of a cluster holds other things as well
            node, complaints = node_of(thing)
            problems += complaints
            if node is not None:
                nodes.append(node)
    return tuple(nodes), tuple(problems)


def _documents(path: Path) -> list[object]:
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(str(path), [Complaint("", f"is larger than {LARGEST >> 20} MiB")])
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(path), [Complaint("", f"cannot be read: {error}")]) from error
    if text.lstrip()[:1] == "{":
        # JSON is YAML too, but its own reader is fifty times faster, and large dumps are JSON.
        try:
            return [json.loads(text)]
        except (ValueError, RecursionError):
            pass
    return load_all(text, str(path))
