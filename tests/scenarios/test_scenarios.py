"""Pages: objects, configuration and UPDATEs in; sessions, announcements, routes, conflist and problems out.

A page is read from top to bottom. ``-- nodes.yaml --``, ``-- config.yaml --``, ``-- checks --`` and ``-- updates --``
happen; ``-- sessions --``, ``-- announced --``, ``-- routes --``, ``-- conflist --``, ``-- services --`` and
``-- problems --`` say what is true then. A section may come several times. KROUTE_UPDATE=1 writes what was found into
the pages: read the diff.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from support.scenario import Scenario

PAGES = sorted(Path(__file__).parent.glob("*.txt"))
HEADING = re.compile(r"^-- (\S+) --$", re.MULTILINE)
GIVEN = {
    "config.yaml": Scenario.given_config,
    "nodes.yaml": Scenario.given_nodes,
    "updates": Scenario.given_updates,
    "checks": Scenario.given_checks,
}
EXPECTED = {
    "sessions": Scenario.sessions,
    "announced": Scenario.announced,
    "routes": Scenario.routes,
    "conflist": Scenario.conflist,
    "services": Scenario.services,
    "problems": Scenario.problems,
}


def sections(text: str) -> list[tuple[str, str]]:
    """Heading and body of each section; what stands before the first heading is for people."""
    _, *parts = HEADING.split(text)
    return [
        (heading, body.strip("\n")) for heading, body in zip(parts[::2], parts[1::2], strict=True)
    ]


def played(text: str) -> list[tuple[str, str, str]]:
    """Each section with what was found there; what goes in is found as it is."""
    scenario, out = Scenario(), []
    for heading, body in sections(text):
        if heading in GIVEN:
            GIVEN[heading](scenario, body)
            out.append((heading, body, body))
        else:
            out.append((heading, body, "\n".join(EXPECTED[heading](scenario))))
    return out


@pytest.mark.parametrize("page", PAGES, ids=[p.stem for p in PAGES])
def test_what_follows_is_as_the_page_says(page: Path):
    text = page.read_text(encoding="utf-8")
    result = played(text)
    if os.environ.get("KROUTE_UPDATE"):
        preface = HEADING.split(text)[0]
        pages = [
            f"-- {heading} --\n{found}\n" if found else f"-- {heading} --\n"
            for heading, _, found in result
        ]
        page.write_text(preface + "".join(pages), encoding="utf-8")
        return
    assert any(heading in EXPECTED for heading, _, _ in result), "a page expects something"
    for heading, body, found in result:
        assert found == body, f"-- {heading} -- of {page.name}"


def test_there_are_pages():
    assert len(PAGES) >= 9
