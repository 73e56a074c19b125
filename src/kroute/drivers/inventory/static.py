"""Nodes, and where wanted services, from files: the very objects that Kubernetes prints, followed live.

Nothing is taken back because a file is in a bad state. A file that is broken, empty or half written leaves its last
good version in force, and a problem names file, line and reason; while a file has never been good, nothing that it may
hold is known to be gone. The configured file or folder may vanish, or name no node at all, without taking the
cluster along; a file removed from a folder, or a node from a file, is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from kroute.codec.kubernetes import Objects, read_objects
from kroute.drivers.inventory import Emit, TellKeys, no_keys
from kroute.drivers.watching import Mark, Signature, Wake, changes, mark_of
from kroute.model.errors import Complaint, InputError
from kroute.model.inventory import (
    Fresh,
    InventoryEvent,
    Listed,
    NodeChanged,
    Problems,
    ServiceChanged,
    ServicesListed,
    SliceChanged,
    SlicesListed,
    Stale,
)
from kroute.model.node import Node
from kroute.model.problem import Problem, Severity
from kroute.model.service import EndpointSlice, Service
from kroute.model.session_keys import AnnotatedKey

log = logging.getLogger(__name__)

T = TypeVar("T")

PATTERNS = ("*.yaml", "*.yml", "*.json")
LARGEST = 256 << 20
"""Octets of an inventory file."""
RETRY = 5.0
"""Seconds until a file that could not be read is tried again, though it looks the same."""


class StaticInventoryDriver:
    """Follows one file, or all YAML and JSON files of a folder."""

    def __init__(
        self, path: str, services: bool = False, *, me: str = "", keys: TellKeys = no_keys
    ) -> None:
        """``services``: tell of Services and EndpointSlices as well; ``keys`` is told those of the node ``me``."""
        self._me = me
        self._keys = keys
        self._path = Path(path)
        self._services = services
        self._good: dict[str, Objects] = {}
        self._read: dict[str, Mark] = {}
        self._broken: dict[str, Problem] = {}
        self._noted: set[str] = set()

    async def watch(self, emit: Emit) -> None:
        """Tell the whole list at start and after each change, until cancelled."""
        again = Wake()
        async for seen in changes(self._path, PATTERNS, wake=again):
            await asyncio.to_thread(self._take, seen)
            if any(name not in self._read for name, _ in seen):
                asyncio.get_running_loop().call_later(RETRY, again.ask)
            found = self._merged()
            emit(Problems(found.problems))
            reason = self._nothing(seen, found.nodes)
            self._note(reason)
            if reason:
                emit(Stale(reason))
                continue
            emit(Fresh())
            if any(node.name == self._me for node in found.nodes):
                self._keys(found.keys.get(self._me, {}))
            whole = self._broken.keys() <= self._good.keys()
            for event in self._lists(found) if whole else self._changes(found):
                emit(event)

    def _lists(self, found: Objects) -> Iterator[InventoryEvent]:
        """Services first: with the nodes the inventory is complete."""
        if self._services:
            yield ServicesListed(found.services)
            yield SlicesListed(found.slices)
        yield Listed(found.nodes)

    def _changes(self, found: Objects) -> Iterator[InventoryEvent]:
        """What is known to be there, and no word about what else is."""
        yield from map(ServiceChanged, found.services)
        yield from map(SliceChanged, found.slices)
        yield from map(NodeChanged, found.nodes)

    def _nothing(self, seen: Signature, nodes: tuple[Node, ...]) -> str:
        """Why there is nothing to tell, in words; empty where there is."""
        if not seen and not self._path.is_dir():
            return f"{self._path} is not there"
        if not seen:
            return f"the folder {self._path} holds no {', '.join(PATTERNS)}"
        return "" if nodes else f"{self._path} names no node"

    def _note(self, nothing: str) -> None:
        """Write into the log what is wrong now, each thing once, and that nothing is any more."""
        wrong = {f"{problem.object}: {problem.reason}" for problem in self._broken.values()}
        if nothing:
            wrong.add(f"{nothing}; the last known nodes stay in force")
        for words in sorted(wrong - self._noted):
            log.warning("inventory: %s", words)
        if self._noted and not wrong:
            log.info("inventory: %s is as it should be again", self._path)
        self._noted = wrong

    def _take(self, seen: Signature) -> None:
        """Read the files that changed, forget those that are gone. All gone is an accident: nothing is forgotten."""
        names = {name for name, *_ in seen}
        for gone in [n for n in {*self._read, *self._broken} if names and n not in names]:
            for memory in (self._good, self._read, self._broken):
                memory.pop(gone, None)
        if not names:
            for gone in self._broken:
                self._read.pop(gone, None)  # should the very file come back
            self._broken.clear()
        for name, mark in seen:
            if self._read.get(name) != mark:
                self._read[name] = mark
                self._take_file(name)

    def _take_file(self, name: str) -> None:
        try:
            self._good[name] = read_objects(_text(Path(name)), name, services=self._services)
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

    def _merged(self) -> Objects:
        """All objects; of two of one kind and name the first counts, in the order of file names."""
        nodes: dict[str, Node] = {}
        services: dict[str, Service] = {}
        slices: dict[str, EndpointSlice] = {}
        keys: dict[str, Mapping[str, AnnotatedKey]] = {}
        problems = list(self._broken.values())
        for file in sorted(self._good):
            found = self._good[file]
            problems += found.problems
            keys |= {n.name: found.keys.get(n.name, {}) for n in found.nodes if n.name not in nodes}
            problems += _merge(nodes, ((n.name, n) for n in found.nodes), "node", file)
            problems += _merge(services, ((s.key, s) for s in found.services), "service", file)
            problems += _merge(slices, ((s.key, s) for s in found.slices), "endpointslice", file)
        return Objects(
            tuple(nodes.values()),
            tuple(services.values()),
            tuple(slices.values()),
            tuple(problems),
            keys,
        )


def _merge(
    known: dict[str, T], found: Iterable[tuple[str, T]], kind: str, file: str
) -> Iterator[Problem]:
    for name, thing in found:
        if name in known:
            reason = f"{file} describes it a second time; the first description counts"
            yield Problem(object=f"{kind}/{name}", reason=reason)
        else:
            known[name] = thing


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
