"""Every lab that we ship: up, its checks, down, and nothing left behind. The checks stand beside each lab."""

import io
from pathlib import Path

import pytest

from kroute.lab import checks, labs, state
from kroute.lab.progress import Progress
from kroute.lab.runner import Runner

pytestmark = pytest.mark.root

LABS = sorted(path.parent for path in Path(__file__).parents[2].glob("labs/*/*.clab.yml"))
assert LABS, "there are no labs"


@pytest.mark.parametrize("folder", LABS, ids=lambda folder: folder.name)
def test_the_checks_of_the_lab_hold_and_nothing_is_left(folder):
    lab = labs.open_lab(str(folder), "netns")
    told = io.StringIO()
    progress = Progress(told)
    lab.backend.up(progress)
    try:
        held = Runner(lab.backend, lab.topology, progress).perform(checks.load(lab.checks))
        logs = (
            ""
            if held
            else "\n".join(f"== {n.name}\n{lab.backend.log(n.name)}" for n in lab.topology.running)
        )
    finally:
        lab.backend.down(progress)
    assert held, f"{told.getvalue()}\n{logs}"
    assert state.namespaces(lab.name) == []
    assert not state.folder(lab.name).exists()
