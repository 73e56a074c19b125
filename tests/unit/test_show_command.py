"""`kroute show`: what it asks the daemon, and what it says of questions that make no sense."""

from __future__ import annotations

from typing import Any

import pytest

from kroute.cli import NO, OK, USAGE, main, show
from kroute.codec.show import MOST_ROWS

ROW = {"prefix": "10.1.0.0/16", "from": "peer/tor", "attributes": {"origin": "igp"}}
ASKED = [
    ("rib in tor", "rib-in", {"peer": "tor", "limit": "1000"}),
    (
        "rib out tor --rejected --limit 1 --after 10.0.0.0/8",
        "rib-out",
        {"peer": "tor", "limit": "1", "after": "10.0.0.0/8", "rejected": "1"},
    ),
    ("routes --rejected", "routes", {"rejected": "1"}),
    ("config --effective -o json", "config", {"effective": "1"}),
    ("services --all", "services", {"all": "1"}),
]


@pytest.mark.parametrize(("line", "resource", "query"), ASKED, ids=[a[0] for a in ASKED])
def test_a_command_asks_one_question(
    line: str, resource: str, query: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    found: list[tuple[str, dict[str, str]]] = []

    def ask(_path: str, resource: str, **query: str) -> list[Any]:
        found.append((resource, query))
        return []

    monkeypatch.setattr(show, "ask", ask)
    assert main(["show", *line.split()]) == OK
    assert found == [(resource, query)]


@pytest.mark.parametrize(
    "line", ["rib", "peer", "peer a b", "rib in", "rib sideways tor", "rib in a b", "routes tor"]
)
def test_a_question_that_makes_no_sense_shows_the_usage(
    line: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["show", *line.split()]) == USAGE
    assert "show rib in|out NAME" in capsys.readouterr().err


def test_a_full_page_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(show, "ask", lambda _path, _what, **_query: [ROW])
    assert main(["show", "rib", "in", "tor", "--limit", "1"]) == OK
    out, err = capsys.readouterr()
    assert "10.1.0.0/16" in out
    assert "--after 10.1.0.0/16" in err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("peers --rejected", "--rejected is for routes and rib"),
        ("routes --limit 5", "--limit is for rib"),
        ("fib --after 10.0.0.0/8", "--after is for rib"),
        ("nodes --all", "--all is for services"),
        ("status --effective", "--effective is for config"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["show", *line.split()]) == USAGE
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("limit", ["0", "-4", str(MOST_ROWS + 1), "many"])
def test_a_page_that_the_daemon_would_cut_otherwise_is_refused(
    limit: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        main(["show", "rib", "in", "tor", f"--limit={limit}"])
    assert ended.value.code == USAGE
    assert f"a number from 1 to {MOST_ROWS}" in capsys.readouterr().err


def test_a_name_is_not_called_for_where_only_the_thing_is_missing(
    capsys: pytest.CaptureFixture[str],
):
    with pytest.raises(SystemExit):
        main(["show"])
    assert capsys.readouterr().err.endswith("are required: what\n")


def test_a_peer_without_a_session_is_told_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    answer = {"known": ["node/n2"], "why": ["address: is our own"]}
    monkeypatch.setattr(show, "ask", lambda _path, _what, **_query: answer)
    assert main(["show", "peer", "me"]) == NO
    assert capsys.readouterr().err == (
        "kroute show: no peer me (there are: node/n2)\nkroute show: me: address: is our own\n"
    )
