"""`kroute kni`: what is refused before any server is asked, and with which exit code."""

from __future__ import annotations

import pytest

from kroute.cli import USAGE, main

ATTACH = ("attach", "c1", "/run/netns/x")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("delete",), "say what to delete"),
        ((*ATTACH, "--label", "web"), "--label web: expected KEY=VALUE"),
        ((*ATTACH, "--annotation", "=x"), "--annotation =x: expected KEY=VALUE"),
        ((*ATTACH, "--port", "http"), "--port http: expected HOST:POD"),
        ((*ATTACH, "--port", "80:99999999999999"), "--port 80:99999999999999: expected HOST:POD"),
        ((*ATTACH, "--port", "65536:80"), "ports from 1 to 65535"),
        ((*ATTACH, "--port", "0:80"), "ports from 1 to 65535"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
):
    line = ["kni", *words, "--generation", "v0.0.8", "--socket", "/nowhere"]
    assert main(line) == USAGE
    assert said in capsys.readouterr().err
