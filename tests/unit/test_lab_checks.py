"""Reading checks, judging output, counting lost pings."""

import json
from pathlib import Path

import pytest

from kroute.lab import checks, probe, traffic
from kroute.lab.backend import Result
from kroute.lab.checks import Action, NoLoss, Ping, PodsStep, State
from kroute.lab.errors import LabError
from kroute.lab.expect import Expectation, JsonExpectation, select
from kroute.lab.polling import attempts

EVERY_KIND = """
checks:
  - description: a state
    nodes: [n1, n2]
    command: show
    expect: { contains: up, lacks: [down], regex: "^x", json: { path: a.*, count: 2 } }
    wait: 3
  - { description: an action, host: true, action: "true" }
  - pods: { n1: [a, b], n2: c }
  - ping: { from: a, to: [b, 192.0.2.1], family: [4, 6] }
  - description: a window
    no-loss:
      streams: [{ from: a, to: c }]
      rate: 50
      during:
        - { description: inside, node: n1, action: "false" }
  - delete-pods: { n1: a }
"""


@pytest.fixture
def load(tmp_path):
    def load(text: str):
        path = tmp_path / "checks.yml"
        path.write_text(text)
        return checks.load(path)

    return load


def test_every_kind_of_check_is_read(load):
    state, action, pods, ping, window, delete = load(EVERY_KIND)
    assert isinstance(state, State)
    assert (state.nodes, state.wait, state.expect.contains) == (("n1", "n2"), 3.0, ("up",))
    assert isinstance(action, Action)
    assert action.nodes == (checks.HOST,)
    assert isinstance(pods, PodsStep)
    assert pods.pods == {"n1": ("a", "b"), "n2": ("c",)}
    assert isinstance(ping, Ping)
    assert (ping.targets, ping.families) == (("b", "192.0.2.1"), (4, 6))
    assert isinstance(window, NoLoss)
    assert (window.rate, len(window.during)) == (50.0, 1)
    assert isinstance(delete, PodsStep)
    assert delete.delete


def test_all_complaints_come_at_once_with_their_paths(load):
    with pytest.raises(LabError) as caught:
        load(
            """
checks:
  - { description: x, node: n1, comand: show }
  - { description: x, node: n1, command: show, wiat: 3, wait: soon }
  - { description: x, command: show, expect: { regex: "(" } }
  - { description: x, no-loss: { streams: [], during: [] } }
  - ping: { from: a, to: b, family: 5 }
"""
        )
    text = str(caught.value)
    for part in (
        "checks.yml: checks[0]: want exactly one of",
        "checks[1].wiat: unknown key (did you mean wait?)",
        "checks[1].wait: want seconds",
        "checks[2].nodes: want a text or a list of texts",
        "checks[2].expect.regex: '(':",
        "checks[3].no-loss.streams: want a list of at least one",
        "checks[4].ping.family: want 4, 6",
    ):
        assert part in text


@pytest.mark.parametrize("text", ["", "checks:", "checks: []", "[]", "checks: 3", "checks: [3]"])
def test_a_file_without_checks_is_refused(load, text):
    with pytest.raises(LabError):
        load(text)


def test_every_shipped_lab_has_checks_for_nodes_that_exist():
    files = sorted(Path(__file__).parents[2].glob("labs/*/checks.yml"))
    assert files, "there are no labs"
    for file in files:
        assert checks.load(file)


def result(stdout: str, status: int = 0) -> Result:
    return Result(status=status, stdout=stdout, stderr="")


@pytest.mark.parametrize(
    ("expectation", "holds", "fails"),
    [
        (Expectation(), result(""), result("", 1)),
        (Expectation(status=None), result("", 1), None),
        (Expectation(status=3), result("", 3), result("")),
        (Expectation(contains=["b"]), result("abc"), result("ac")),
        (Expectation(lacks=["b"]), result("ac"), result("abc")),
        (Expectation(regex=["^b"]), result("a\nb"), result("ab")),
        (Expectation(json=[JsonExpectation(count=1)]), result("[1]"), result("[]")),
        (Expectation(json=[JsonExpectation(count=1)]), result("[1]"), result("no json")),
        (Expectation(json=[JsonExpectation(at_least=2)]), result("[1,2,3]"), result("[1]")),
        (Expectation(json=[JsonExpectation(equals=[])]), result("[]"), result("[1]")),
        (
            Expectation(json=[JsonExpectation(path="a.b", equals=1)]),
            result('{"a":{"b":1}}'),
            result("{}"),
        ),
    ],
)
def test_expectations_hold_and_fail(expectation, holds, fails):
    assert expectation.complaints(holds) == []
    if fails is not None:
        assert expectation.complaints(fails)


def test_json_items_are_filtered_by_value_and_by_regular_expression():
    peers = [
        {"state": "established", "address": "192.0.2.1"},
        {"state": "idle", "address": "192.0.2.2"},
    ]
    assert not JsonExpectation(where={"state": "established"}, count=1).complaint(peers)
    assert not JsonExpectation(where={"address": "~^192"}, count=2).complaint(peers)
    assert "want every one" in JsonExpectation(every={"state": "established"}).complaint(peers)
    assert "no item at all" in JsonExpectation(where={"state": "x"}, every={"a": 1}).complaint(
        peers
    )


def test_paths_select_through_mappings_and_lists():
    document = {"a": [{"b": 1}, {"b": 2}, {"c": 3}], "d": 4}
    assert select(document, "a.*.b") == [1, 2]
    assert select(document, "a.1.b") == [2]
    assert select(document, "d.x") == []
    assert select(document, "") == [document]


def test_a_tally_without_losses_has_no_complaint():
    said = json.dumps({"sent": 200, "seconds": 2.0, "silence": 0.02, "lost": [], "errors": {}})
    assert traffic.tally("a", said).complaint(100.0) == ""


def test_lost_pings_errors_and_too_few_pings_are_complained_about():
    lost = {
        "sent": 200,
        "seconds": 2.0,
        "silence": 0.5,
        "lost": [3, 4, 5, 9],
        "errors": {"unreachable": 2},
    }
    said = traffic.tally("a", json.dumps(lost)).complaint(100.0)
    assert "4 of 200 lost (numbers 3-5, 9), 0.50 s without a reply; 2 x unreachable" in said
    few = {"sent": 3, "seconds": 2.0, "silence": 0.0, "lost": [], "errors": {}}
    assert "proves little" in traffic.tally("a", json.dumps(few)).complaint(100.0)


def test_a_stream_that_died_is_told_with_its_last_words():
    with pytest.raises(LabError, match="ended by itself: 'Traceback"):
        traffic.tally("a", "Traceback: no socket")


def test_the_checksum_is_that_of_rfc_1071():
    assert probe._checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D


def test_polling_tries_once_more_after_the_deadline():
    assert list(attempts(0.0)) == [0, 1]
