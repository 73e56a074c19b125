"""`kroute check-config`: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from kroute.cli import NO, OK, main
from kroute.codec.config import dump_config, parse_config
from kroute.model.config import Config

GOOD = "bgp: {asn: 65001}\npeering: {peers: [{name: tor, address: 192.0.2.1, asn: 65000}]}\n"
BAD = "bgp: {asn: 0, colour: blue}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kroute.yaml"


def test_a_right_file_is_ok(file: Path, capsys: pytest.CaptureFixture[str]):
    file.write_text(GOOD)
    assert main(["check-config", str(file)]) == OK
    assert capsys.readouterr().out == f"{file}: ok\n"


def test_a_wrong_file_gets_a_line_for_each_complaint(
    file: Path, capsys: pytest.CaptureFixture[str]
):
    file.write_text(BAD)
    assert main(["check-config", str(file)]) == NO
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        f"{file}: bgp.asn: expected a number from 1 to 4294967295, got 0 (line 1)",
        f"{file}: bgp.colour: is no known key; known here: asn, asnLabel, gracefulRestart, holdTime,"
        " maxPrefixes, multipath, port, routerId, seeding (line 1)",
    ]


def test_a_missing_file_is_told(file: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["check-config", str(file)]) == NO
    assert capsys.readouterr().err == f"{file}: is not there\n"


def test_the_daemon_refuses_to_start_with_a_wrong_file(
    file: Path, capsys: pytest.CaptureFixture[str]
):
    file.write_text(BAD)
    assert main(["run", "--config", str(file)]) == NO
    assert f"{file}: bgp.asn: expected" in capsys.readouterr().err


@pytest.mark.parametrize("output", ["yaml", "json"])
def test_the_effective_configuration_is_the_same_configuration(
    file: Path, output: str, capsys: pytest.CaptureFixture[str]
):
    file.write_text(GOOD)
    assert main(["check-config", "--effective", "-o", output, str(file)]) == OK
    printed = capsys.readouterr().out
    assert parse_config(printed) == parse_config(GOOD)
    if output == "json":
        assert json.loads(printed)["bgp"]["asn"] == 65001


def test_the_effective_default_is_every_key(file: Path, capsys: pytest.CaptureFixture[str]):
    file.write_text("")
    assert main(["check-config", "--effective", str(file)]) == OK
    assert capsys.readouterr().out == dump_config(Config())


def test_the_schema_needs_no_file(capsys: pytest.CaptureFixture[str]):
    assert main(["check-config", "--schema"]) == OK
    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate({"bgp": {"asn": 65001}}, schema)
