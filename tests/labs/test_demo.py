"""The guided tour, as ``make demo`` runs it: to its end, and interrupted in the middle."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kroute.lab import state
from kroute.lab.polling import attempts

pytestmark = pytest.mark.root

FOLDER = str(Path(__file__).parents[2] / "labs" / "full-mesh")
TOUR = [str(Path(sys.executable).parent / "kroute"), "lab", "demo", FOLDER]


def nothing_left() -> bool:
    return not state.namespaces("full-mesh") and not state.folder("full-mesh").exists()


def test_the_tour_ends_well_with_no_ping_lost_and_nothing_left():
    done = subprocess.run(TOUR, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(", 0 lost") == 3
    assert nothing_left()


def test_an_interrupted_tour_cleans_up():
    child = subprocess.Popen(TOUR, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if "daemon is killed" in line:
            break
    child.send_signal(signal.SIGINT)
    said, complained = child.communicate(timeout=60)
    assert child.returncode == 130, said + complained
    for _ in attempts(5.0):
        if nothing_left():
            break
    assert nothing_left()
