"""What docs/peering.md shows of FRR and BIRD is what the labs really use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "peering.md").read_text()
SHOWN = re.findall(r"\(`(labs/[^`]+)`\)[^`]*?\n```\n(.*?)```", TEXT, re.DOTALL)
"""Files of labs, each with the block that shows it."""


def lines(text: str) -> list[str]:
    """What a router reads: no comments, no separators, no empty lines."""
    cut = (line.split("#")[0].strip() for line in text.splitlines())
    return [
        line for line in cut if line and not line.startswith("!") and line != "exit-address-family"
    ]


def test_the_cookbook_shows_configurations_of_labs():
    assert len(SHOWN) >= 7
    assert len(SHOWN) == len(re.findall(r"\(`labs/[^`]+(?:frr|bird)\.conf`\)", TEXT))


@pytest.mark.parametrize(("file", "block"), SHOWN, ids=[file for file, _ in SHOWN])
def test_each_line_that_is_shown_stands_in_the_labs_file_in_that_order(file: str, block: str):
    real = iter(lines((ROOT / file).read_text()))
    missing = [line for line in lines(block) if line not in real]
    assert missing == []


@pytest.mark.parametrize("file", re.findall(r"\]\(\.\./(labs/[a-z-]+)\)", TEXT))
def test_each_lab_that_is_named_is_there(file: str):
    assert (ROOT / file / "checks.yml").exists()
