"""The table of what was tried with whom (docs/peering.md) says what the tests of tests/interop are."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from support.matrix import BEGIN, END, PAGE, PROGRAMS, ROWS, Row, with_table

INTEROP = Path(__file__).parents[1] / "interop"


@cache
def module(name: str) -> ModuleType:
    """A module of the interop suite; nothing runs by reading it."""
    spec = importlib.util.spec_from_file_location(f"matrix_{name}", INTEROP / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def programs(function: Any) -> tuple[str, ...]:
    """The programs with which a test runs: of its parameters; of its name where it has all of them in one scene."""
    for mark in getattr(function, "pytestmark", ()):
        if mark.name == "parametrize":
            names = mark.kwargs.get("ids") or mark.args[1]
            found = [n if isinstance(n, str) else str(getattr(n, "__name__", "")) for n in names]
            if set(found) <= set(PROGRAMS):
                return tuple(found)
    return tuple(p for p in PROGRAMS if p in function.__name__.split("_"))


@pytest.mark.parametrize("row", ROWS, ids=[row.function for row in ROWS])
def test_a_row_is_a_test_that_runs_with_the_programs_that_can(row: Row) -> None:
    file = row.test.partition("::")[0]
    assert programs(getattr(module(file), row.function)) == row.programs
    assert not {*row.cannot} & {*row.but}


def test_no_test_is_two_rows_and_none_is_tried_without_a_row() -> None:
    functions = [row.function for row in ROWS]
    assert len(functions) == len(set(functions))
    decorated = [
        text.split("(")[0]
        for file in INTEROP.glob("test_matrix*.py")
        for text in file.read_text().split("@tried\ndef ")[1:]
    ]
    assert set(decorated) <= set(functions)


def test_the_page_has_the_table_of_the_tests() -> None:
    page = PAGE.read_text()
    assert page.count(BEGIN) == page.count(END) == 1
    assert page == with_table(page), (
        "run `PYTHONPATH=tests .venv/bin/python tests/support/matrix.py`"
    )
