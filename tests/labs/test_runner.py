"""The runner itself: up, checks and down of a lab without kroute, and what is left when it is interrupted."""

import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kroute.lab import checks, labs, processes, state
from kroute.lab.errors import LabError
from kroute.lab.pods import Pods
from kroute.lab.polling import attempts
from kroute.lab.progress import Progress
from kroute.lab.runner import Runner

pytestmark = pytest.mark.root

HERE = Path(__file__).parent
LAB = "kt-bird-frr"
TOOL = [str(Path(sys.executable).parent / "kroute"), "lab"]


def tool(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([*TOOL, *words], capture_output=True, text=True, check=False)


def left_over(lab: str) -> list[str]:
    """What is left of a lab: namespaces, state, lock, processes."""
    found = [*state.namespaces(lab), *(["state"] if state.folder(lab).exists() else [])]
    found += [str(path) for path in Path("/run").glob(f"**/kroute-lab.{lab}.lock")]
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or not processes.alive(int(entry.name)):
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if f"kl.{lab}." in words or f"/kroute-lab/{lab}/" in words:
            found.append(words)
    return found


@pytest.fixture
def lab():
    opened = labs.open_lab(str(HERE / "bird-frr"), "netns")
    quiet = Progress(io.StringIO())
    opened.backend.down(quiet)
    yield opened
    opened.backend.down(quiet)
    assert left_over(LAB) == []


def test_a_lab_of_bird_frr_and_pods_comes_up_and_its_checks_hold(lab):
    told = io.StringIO()
    progress = Progress(told)
    lab.backend.up(progress)
    held = Runner(lab.backend, lab.topology, progress).perform(checks.load(lab.checks))
    assert held, told.getvalue()


def test_lost_pings_are_noticed(lab, tmp_path):
    told = io.StringIO()
    progress = Progress(told)
    lab.backend.up(progress)
    path = tmp_path / "checks.yml"
    path.write_text(
        """
checks:
  - ping: { from: r1, to: 192.0.2.2 }
  - description: a cut cable
    no-loss:
      streams: [{ from: r1, to: 192.0.2.2 }]
      during:
        - { description: cut, node: r2, action: "ip link set eth1 down; sleep 0.2; ip link set eth1 up" }
"""
    )
    assert not Runner(lab.backend, lab.topology, progress).perform(checks.load(path))
    assert " lost (numbers " in told.getvalue()


def test_a_failed_check_says_what_was_wanted_and_what_was_seen(lab, tmp_path):
    told = io.StringIO()
    lab.backend.up(Progress(told))
    path = tmp_path / "checks.yml"
    path.write_text(
        "checks: [{description: x, node: r1, command: echo hello, expect: {contains: bye}, wait: 0}]"
    )
    assert not Runner(lab.backend, lab.topology, Progress(told)).perform(checks.load(path))
    assert "r1: after 0 s 'echo hello': does not contain 'bye'\n        | hello" in told.getvalue()


def test_nodes_have_their_own_root_host_name_and_processes(lab):
    lab.backend.up(Progress(io.StringIO()))
    assert lab.backend.run("r1", ["hostname"]).stdout == "r1\n"
    lab.backend.run("r1", ["sh", "-c", "echo mine >/etc/kt-lab-file; echo mine >/tmp/kt-lab-file"])
    assert lab.backend.run("r1", ["cat", "/etc/kt-lab-file"]).stdout == "mine\n"
    assert lab.backend.run("r2", ["cat", "/etc/kt-lab-file"]).status != 0
    assert not Path("/etc/kt-lab-file").exists()
    assert not Path("/tmp/kt-lab-file").exists()
    assert "zebra" not in lab.backend.run("r1", ["ps", "ax"]).stdout
    assert "zebra" in lab.backend.run("r2", ["ps", "ax"]).stdout


def test_binds_marked_read_only_are_read_only(lab):
    lab.backend.up(Progress(io.StringIO()))
    assert lab.backend.run("r1", ["sh", "-c", "echo >>/etc/bird/bird.conf"]).status != 0


def test_a_lab_that_is_up_is_not_started_twice(lab):
    lab.backend.up(Progress(io.StringIO()))
    with pytest.raises(LabError, match="up already"):
        lab.backend.up(Progress(io.StringIO()))
    assert all(node.running for node in lab.backend.inspect())


def test_a_killed_node_is_seen_dead_and_the_lab_still_goes_down(lab):
    lab.backend.up(Progress(io.StringIO()))
    os.kill(state.load(LAB).nodes["r1"].pause, signal.SIGKILL)
    for _ in attempts(5.0):
        if not all(node.running for node in lab.backend.inspect()):
            break
    assert [node.name for node in lab.backend.inspect() if not node.running] == ["r1"]
    with pytest.raises(LabError, match="not running"):
        lab.backend.run("r1", ["true"])


def test_a_frozen_program_does_not_hold_up_down(lab):
    lab.backend.up(Progress(io.StringIO()))
    lab.backend.run("r1", ["sh", "-c", "kill -STOP $(pidof bird)"])
    lab.backend.down(Progress(io.StringIO()))
    assert left_over(LAB) == []


def test_a_pod_waits_for_its_nodes_conflist(lab):
    lab.backend.up(Progress(io.StringIO()))
    pods = Pods(lab.backend)
    with pytest.raises(LabError, match="sw: no CNI configuration"):
        pods.add("sw", "p", wait=0.2)
    assert pods.on("sw") == []
    pod = pods.add("r1", "p")
    assert pods.add("r1", "p") == pod
    assert pods.run(pod, ["ping", "-c1", "-W1", pod.address(4)]).status == 0
    pods.check("r1", "p")
    pods.delete("r1", "p")
    assert "pod-p" not in lab.backend.run("r1", ["ip", "netns", "list"]).stdout


def test_down_removes_all_after_the_runner_was_killed_on_its_way_up(lab):
    child = subprocess.Popen(
        [*TOOL, "up", str(HERE / "bird-frr"), "--backend", "netns"], stdout=subprocess.DEVNULL
    )
    for _ in attempts(60.0, pause=0.01):
        if state.namespaces(LAB):
            break
    child.kill()
    child.wait()
    assert state.namespaces(LAB), "the runner was not even on its way"
    assert tool("down", LAB).returncode == 0
    assert left_over(LAB) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_takes_its_lab_down_itself(lab, tmp_path, number):
    folder = shutil.copytree(HERE / "bird-frr", tmp_path / "bird-frr")
    never = 'checks: [{description: never, node: r1, command: "false", wait: 300}]'
    (folder / "checks.yml").write_text(never)
    child = subprocess.Popen(
        [*TOOL, "run", str(folder), "--backend", "netns"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in attempts(60.0, pause=0.05):
        there = state.load(LAB)
        if there is not None and there.ready:
            break
    child.send_signal(number)
    _, complained = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "interrupted" in complained
    assert left_over(LAB) == []


def test_down_of_a_lab_that_is_not_up_is_no_error():
    done = tool("down", "kt-no-such-lab")
    assert (done.returncode, done.stdout) == (0, "  lab kt-no-such-lab is not up\n")


def test_without_root_one_sentence_says_so(lab, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(
        LabError, match="labs need root: they make network namespaces and mounts; try sudo"
    ):
        lab.backend.up(Progress(io.StringIO()))
    monkeypatch.undo()
