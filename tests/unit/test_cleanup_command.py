"""`kroute cleanup`: what it refuses before it removes anything, and which files are ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from kroute.cli import NO, main
from kroute.daemon import cleanup


@pytest.fixture(autouse=True)
def removed(monkeypatch: pytest.MonkeyPatch) -> None:
    def clean(_config: object) -> None:
        raise AssertionError("nothing may be removed")

    monkeypatch.setattr(cleanup, "clean", clean)


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "is no file"), (b"\xff\xfe\x00", "cannot be read"), (b"bgp: {asn: 0}", "bgp.asn")],
    ids=["a folder", "no text", "a wrong file"],
)
def test_a_configuration_that_does_not_hold_removes_nothing(
    content: bytes | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "kroute.yaml"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    assert main(["cleanup", "--config", str(path)]) == NO
    assert f"{path}: {said}" in capsys.readouterr().err


def test_a_misspelt_file_is_not_taken_for_the_defaults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "kroute.yml"
    assert main(["cleanup", "--config", str(path)]) == NO
    assert f"{path}: is not there" in capsys.readouterr().err
