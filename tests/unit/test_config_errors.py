"""Golden errors: for each wrong configuration in tests/errors/config the exact complaints."""

from __future__ import annotations

from pathlib import Path

import pytest

from kroute.codec.config import parse_config
from kroute.model.errors import ConfigError

ERRORS = Path(__file__).parents[1] / "errors" / "config"
WRONG = sorted(ERRORS.glob("*.yaml"))


def complaints(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(path.read_text(encoding="utf-8"), path.name)
    return f"{caught.value}\n"


def test_there_are_wrong_configurations_and_each_has_its_complaints():
    assert len(WRONG) > 15
    assert {p.stem for p in ERRORS.glob("*.txt")} == {p.stem for p in WRONG}


@pytest.mark.parametrize("path", WRONG, ids=lambda p: p.stem)
def test_a_wrong_configuration_gets_exactly_these_complaints(path: Path):
    assert complaints(path) == path.with_suffix(".txt").read_text(encoding="utf-8")


def test_complaints_are_told_up_to_a_limit():
    with pytest.raises(ConfigError) as caught:
        parse_config("".join(f"key{i}: 1\n" for i in range(5000)))
    told = caught.value.complaints
    assert len(told) == 101
    assert told[-1].reason == "and more: these are the first complaints"


def test_a_file_of_a_megabyte_is_refused_unread():
    with pytest.raises(ConfigError, match="is larger than 1 MiB"):
        parse_config("#" * (1 << 20) + "\n")


def test_an_empty_file_is_all_defaults():
    assert parse_config("") == parse_config("# nothing\n") == parse_config("---\n")
