"""Finding labs: by folder, by topology file, or by the name of one that is running."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kroute.lab import backend, clabfile, state
from kroute.lab.backend import Backend
from kroute.lab.clab import ClabBackend
from kroute.lab.errors import LabError
from kroute.lab.netns import NetnsBackend
from kroute.lab.topology import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """A lab and the back-end that runs it; ``topology`` is None where its file is gone."""

    name: str
    topology: Topology | None
    backend: Backend

    @property
    def checks(self) -> Path:
        """Where its checks stand.

        Raises:
            LabError: its topology file is gone.
        """
        if self.topology is None:
            raise LabError(f"lab {self.name}: its topology file is gone, and its checks with it")
        return self.topology.path.parent / "checks.yml"


def open_lab(where: str, wanted: str = "auto") -> Lab:
    """The lab meant by a folder, a topology file, or the name of a running lab.

    A running lab keeps its back-end, whatever is wanted.

    Raises:
        LabError: there is no such lab, or its topology is refused.
    """
    if "/" not in where and not Path(where).exists():
        if state.load(where) is None:
            raise LabError(f"no lab {where} is up, and there is no such folder")
        return named(where)
    read = clabfile.load(where)
    there = state.load(read.name)
    return _make(read.name, read, there.backend if there else backend.choose(wanted))


def named(name: str) -> Lab:
    """The lab of that name, whether it is up, half up or gone."""
    lab = state.load(name)
    if lab is None:
        return _make(name, None, "netns")
    file = Path(lab.topology)
    return _make(name, clabfile.load(file) if file.exists() else None, lab.backend)


def _make(name: str, read: Topology | None, which: str) -> Lab:
    """A lab on the named back-end."""
    if which == "clab":
        return Lab(name=name, topology=read, backend=ClabBackend(name, read))
    return Lab(name=name, topology=read, backend=NetnsBackend(name, read))
