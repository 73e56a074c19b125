"""Pages: two states of a cluster in; what `kroute plan` says about the way from one to the other.

``now.yaml`` and ``new.yaml`` are configurations, ``nodes.yaml`` is the inventory and ``new-nodes.yaml``
what it becomes; without ``now.yaml`` there was nothing. ``only-on`` names the nodes that get the new
configuration. KROUTE_UPDATE=1 writes what was found into the pages: read the diff.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from kroute.cli import main

PAGES = sorted((Path(__file__).parent / "rehearsals").glob("*.txt"))
HEADING = re.compile(r"^-- (\S+) --$", re.MULTILINE)


def test_there_are_pages() -> None:
    assert len(PAGES) >= 6


def sections(text: str) -> tuple[str, dict[str, str]]:
    """What the page says first, and its sections by name."""
    parts = HEADING.split(text)
    return parts[0], dict(zip(parts[1::2], (p.lstrip("\n") for p in parts[2::2]), strict=True))


def arguments(folder: Path, given: dict[str, str]) -> list[str]:
    files = {}
    for name, text in given.items():
        files[name] = str(folder / name)
        (folder / name).write_text(text)
    words = ["plan", "--objects", files.get("new-nodes.yaml", files["nodes.yaml"])]
    if "now.yaml" in files:
        words += ["--from-config", files["now.yaml"], "--from-objects", files["nodes.yaml"]]
    words += ["--config", files["new.yaml"]] if "new.yaml" in files else []
    words += [w for n in given.get("only-on", "").split() for w in ("--only-on", n)]
    return words


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_page_is_true(page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = page.read_text()
    _, given = sections(text)
    expected = given.pop("report")
    code = main(arguments(tmp_path, given))
    found = f"{capsys.readouterr().out}exit {code}\n"
    if os.environ.get("KROUTE_UPDATE") and found != expected:
        page.write_text(text[: text.index("-- report --\n")] + "-- report --\n" + found)
        return
    assert found == expected
