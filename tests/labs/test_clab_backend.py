"""The containerlab back-end against stand-ins for containerlab and docker: what is asked of them, and what becomes
of their answers. The real ones run the very labs in ``make labs-containerlab``."""

import io
import json
import os
from pathlib import Path

import pytest

from kroute.lab import labs, state
from kroute.lab.clab import complaints
from kroute.lab.errors import LabError
from kroute.lab.progress import Progress

pytestmark = pytest.mark.root

FOLDER = str(Path(__file__).parent / "bird-frr")
LAB = "kt-bird-frr"

CONTAINERLAB = """#!/bin/sh
echo "containerlab $*" >>"$CALLS"
case "$1" in
    deploy) [ -z "$DEPLOY_FAILS" ] || { echo "no such image" >&2; exit 1; }
            echo "11:15:21 INFO fine"
            echo '11:15:21 ERRO Failed to execute command command="ip address add" node=r1 rc=1'
            echo '  | Cannot find device' ;;
    destroy) [ -z "$DEPLOY_FAILS" ] || { echo "Lab not found - no running containers" >&2; exit 1; } ;;
    inspect) echo '{"kt-bird-frr": [{"name": "clab-kt-bird-frr-r1", "kind": "linux", "image": "x", "state": "running",
             "ipv4_address": "172.20.20.2/24", "ipv6_address": "N/A"}]}' ;;
esac
"""

DOCKER = """#!/bin/sh
echo "docker $*" >>"$CALLS"
case "$1" in
    exec) cat; echo " out"; echo err >&2; exit 3 ;;
    logs) echo "a line" ;;
esac
"""


@pytest.fixture
def calls(tmp_path, monkeypatch):
    for name, text in (("containerlab", CONTAINERLAB), ("docker", DOCKER)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("DEPLOY_FAILS", "")
    yield lambda: (tmp_path / "calls").read_text().splitlines()
    state.forget(LAB)


def up(told: io.StringIO | None = None) -> labs.Lab:
    lab = labs.open_lab(FOLDER, "clab")
    lab.backend.up(Progress(told or io.StringIO()))
    return lab


def test_auto_takes_containerlab_where_it_and_an_engine_answer(calls):
    assert labs.open_lab(FOLDER, "auto").backend.name == "clab"


def test_a_lab_is_deployed_with_a_worker_for_every_node_and_destroyed_by_name(calls):
    lab = up()
    assert any(
        line.startswith("containerlab deploy --topo") and line.endswith("--max-workers 4")
        for line in calls()
    )
    lab.backend.down(Progress(io.StringIO()))
    assert calls()[-1] == f"containerlab destroy --name {LAB} --cleanup"
    assert state.load(LAB) is None


def test_commands_that_failed_in_nodes_are_told(calls):
    told = io.StringIO()
    up(told)
    assert 'command="ip address add" node=r1 rc=1 | Cannot find device' in told.getvalue()
    assert complaints("1:2:3 INFO x\n  indented\n") == []


def test_a_container_with_more_bridges_than_containerlab_can_tell_apart_is_warned_about(
    calls, tmp_path
):
    def warnings(bridges: int) -> str:
        file = tmp_path / "kt-bird-frr.clab.yml"
        nodes = [
            f"br{i}|sw: {{kind: bridge, network-mode: 'container:sw'}}" for i in range(bridges)
        ]
        lines = ["sw: {kind: linux, image: 'debian:bookworm-slim'}", *nodes]
        file.write_text("\n    ".join([f"name: {LAB}\ntopology:\n  nodes:", *lines]))
        told = io.StringIO()
        labs.open_lab(str(file), "clab").backend.up(Progress(told))
        state.forget(LAB)
        return told.getvalue()

    assert "mixes up" not in warnings(2)
    assert "sw: containerlab mixes up br0, br1, br2" in warnings(3)


def test_commands_go_to_the_containers_with_their_input_and_status(calls):
    result = up().backend.run("r1", ["sort", "-u"], text="in")
    assert (result.status, result.stdout, result.stderr) == (3, "in out\n", "err\n")
    assert calls()[-1] == "docker exec -i clab-kt-bird-frr-r1 sort -u"


def test_inspect_and_logs_are_read(calls):
    lab = up()
    (node,) = lab.backend.inspect()
    assert (node.name, node.running, node.addresses) == ("r1", True, ("172.20.20.2/24",))
    assert lab.backend.log("r1") == "a line\n"


def test_a_failed_deployment_says_why_and_leaves_nothing(calls, monkeypatch):
    monkeypatch.setenv("DEPLOY_FAILS", "1")
    with pytest.raises(LabError, match="no such image"):
        up()
    assert state.load(LAB) is None
    assert not state.folder(LAB).exists()


def test_a_lab_that_is_up_keeps_its_back_end_whatever_is_asked_for(calls):
    up()
    assert labs.open_lab(FOLDER, "netns").backend.name == "clab"
    assert json.loads((state.folder(LAB) / "state.json").read_text())["backend"] == "clab"


def test_missing_programs_are_named(calls, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(LabError) as caught:
        up()
    assert [message.split(":")[0] for message in caught.value.messages] == [
        "containerlab is missing",
        "docker is missing",
    ]
