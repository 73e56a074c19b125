"""docs/kni.md promises a test for each line of the conformance list, and stable keys; here both are held to it."""

from __future__ import annotations

import re
from pathlib import Path

from kroute.model.kni import NodeFacts
from kroute.plan import kni as plan

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "kni.md").read_text()
ROWS = {
    int(number): re.findall(r"`(\w+\.py)::(test_[^`]+)`", cell)
    for number, cell in re.findall(r"^\| C(\d+) \|.*\| ([^|]*) \|$", PAGE, re.MULTILINE)
}


def named(file: str) -> list[str]:
    """Tests of one file."""
    (path,) = TESTS.glob(f"*/{file}")
    return re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)


def test_each_line_of_the_conformance_list_is_proved_by_a_test_that_bears_its_number():
    assert [*ROWS] == [*range(1, 18)]
    for number, places in ROWS.items():
        found = [
            test
            for file, name in places
            for test in named(file)
            if re.fullmatch(name.replace("…", r"\w*"), test)
            and f"c{number}" in test.removeprefix("test_").split("_")
        ]
        assert len(found) >= len(places) > 0, f"C{number}: {places}"


def test_every_numbered_test_is_in_the_table_of_the_conformance_list():
    for path in TESTS.glob("*/test_kni_*.py"):
        for test in named(path.name):
            for number in re.findall(r"(?<=_)c(\d+)(?=_)", test):
                files = {file for file, _ in ROWS[int(number)]}
                assert path.name in files, f"{path.name}::{test}"


def test_the_stable_keys_of_querynodenetworks_are_the_documented_ones_in_their_order():
    (text,) = re.findall(r"`extradata`, stable: (.*?)\. A full range", PAGE, re.DOTALL)
    told = re.sub(r"\([^)]*\)", "", text)
    reply = plan.nodes_reply(NodeFacts(node="n1"))
    assert re.findall(r"`(\w+)`", told) == [*reply.networks[0].extradata]
    assert reply.networks[0].extradata["overlay"] == "none"
