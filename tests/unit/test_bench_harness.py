"""The benches' own arithmetic: what they feed, what they make of the figures, and what they write. Nothing is timed."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from kroute.codec.bgp import UpdateDecoder
from kroute.model.bgp import Asn, Attributes, Negotiated
from kroute.model.net import Family

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture(autouse=True)
def _bench_on_the_path() -> Iterator[None]:
    sys.path.insert(0, str(BENCH))
    yield
    sys.path.remove(str(BENCH))


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


def bodies(data: bytes) -> list[bytes]:
    """Bodies of the messages, without headers; each header is checked."""
    found, at = [], 0
    while at < len(data):
        assert data[at : at + 16] == b"\xff" * 16
        length = int.from_bytes(data[at + 16 : at + 18], "big")
        assert length <= 4096
        assert data[at + 18] == 2
        found.append(data[at + 19 : at + length])
        at += length
    return found


def decoded(data: bytes) -> tuple[dict[bytes, Attributes], set[bytes]]:
    """What a table announces, by prefix, and what it withdraws."""
    session = Negotiated(
        asn=Asn(65001),
        router_id="10.9.0.2",
        asn4=True,
        message_size=4096,
        hold_time=90,
        families=(Family.IPV4,),
    )
    decoder = UpdateDecoder(session, internal=False, make=lambda _f, attributes: attributes)
    announced: dict[bytes, Attributes] = {}
    gone: set[bytes] = set()
    run = decoder.decode_run(bodies(data))
    assert not run.problems
    for _family, attributes, nlris in run.steps:
        if attributes is None:
            gone.update(nlris)
        else:
            announced.update(dict.fromkeys(nlris, attributes))
    return announced, gone


@pytest.mark.parametrize("shape", ["packed", "nodes", "distinct"])
def test_every_shape_announces_the_same_prefixes(shape: str) -> None:
    wire = module("harness.wire")
    announced, gone = decoded(wire.table(shape, 2500))
    assert set(announced) == {wire.nlri(i) for i in range(2500)}
    assert not gone


def test_the_shapes_differ_in_what_is_distinct() -> None:
    wire = module("harness.wire")
    tables = {shape: decoded(wire.table(shape, 500))[0] for shape in wire.SHAPES}
    assert len(set(tables["packed"].values())) == 1
    assert len({a.nexthop for a in tables["nodes"].values()}) == wire.NODES
    assert len({a.as_path for a in tables["distinct"].values()}) == 500


def test_the_withdrawals_take_back_the_whole_table() -> None:
    wire = module("harness.wire")
    announced, _ = decoded(wire.table("packed", 2500))
    _, gone = decoded(wire.withdrawals(2500))
    assert gone == set(announced)


def test_prefixes_are_counted_in_short_and_in_long_runs() -> None:
    farm, wire = module("harness.farm"), module("harness.wire")
    assert farm._count(b"") == 0
    assert farm._count(b"\x10\x0a\x01" + wire.nlri(1) + b"\0") == 3
    assert farm._count(b"".join(map(wire.nlri, range(900)))) == 900
    assert farm._count_paths(b"") == 0
    paths = (bytes((0, 0, 0, i)) for i in range(4))
    assert farm._count_paths(b"".join(i + p for i in paths for p in (b"\x10\x0a\x01", b"\0"))) == 8
    assert farm._count_paths(b"\0\0\0\x18".join([b"", *map(wire.nlri, range(900))])) == 900


class Table:
    """A kernel that holds some prefixes."""

    def __init__(self, held: set[int]) -> None:
        self.held = held

    def holds(self, address: int, length: int = 24) -> bool:
        return address in self.held

    def count(self) -> int:
        return len(self.held)


def test_a_watch_waits_for_its_whole_sample_and_then_counts() -> None:
    kernel, wire = module("harness.kernel"), module("harness.wire")
    table = Table(set())
    watch = kernel.Watch(table, 10_000)
    assert not watch.sampled()
    table.held = {wire.prefix_address(i) for i in range(9_999)}
    assert not [watch.sampled() for _ in range(100)][-1]
    table.held.add(wire.prefix_address(9_999))
    assert [watch.sampled() for _ in range(100)][-1]
    assert watch.counted()


def test_a_watch_for_absence_waits_until_all_are_gone() -> None:
    kernel, wire = module("harness.kernel"), module("harness.wire")
    table = Table({wire.prefix_address(999)})
    watch = kernel.Watch(table, 1_000, present=False)
    assert not [watch.sampled() for _ in range(100)][-1]
    table.held.clear()
    assert [watch.sampled() for _ in range(100)][-1]
    assert watch.counted()


def test_subjects_take_turns_and_one_that_fails_does_not_stop_the_others() -> None:
    figures = module("harness.figures")
    order: list[str] = []
    complaints: list[str] = []

    def measure(name: str, value: float) -> float:
        order.append(name)
        if name == "broken":
            raise RuntimeError("no")
        return value

    jobs = {
        "kroute": lambda: measure("kroute", 3.0),
        "broken": lambda: measure("broken", 0.0),
        "bird": lambda: measure("bird", 2.0),
        "slow": lambda: measure("slow", 1.0),
    }
    series = figures.alternate(jobs, 2, lambda n, _e: complaints.append(n), once=("slow",))
    assert order == ["kroute", "broken", "bird", "slow", "kroute", "bird"]
    assert complaints == ["broken"]
    assert set(series) == {"kroute", "bird", "slow"}
    row = figures.row("x/10k", "routes/s", series)
    assert row is not None
    assert row["ratio"] == {"bird": 1.5, "slow": 3.0}
    assert row["spread"] == [3.0, 3.0]


def test_without_a_figure_of_ours_there_is_no_row() -> None:
    figures = module("harness.figures")
    assert figures.row("x", "s", {"bird": figures.Series([1.0])}) is None


def test_rows_are_replaced_by_id_and_sorted_by_size() -> None:
    figures = module("harness.figures")
    old = [{"id": "a/100k", "value": 1}, {"id": "a/10k", "value": 1}]
    new = [{"id": "a/100k", "value": 2}, {"id": "a/9", "value": 2}]
    found = figures.merged(old, new)
    assert [(r["id"], r["value"]) for r in found] == [("a/9", 2), ("a/10k", 1), ("a/100k", 2)]


def test_aims_hold_a_row_against_others_and_against_itself() -> None:
    aims = module("harness.aims")
    row = {"id": "to-kernel/packed/100k", "value": 1.0, "ratio": {"bird": 0.9, "naive": 60}}
    verdicts = {aim.words(): met for aim, met in aims.judged(row)}
    assert verdicts == {"≥ 1× bird": False, "≥ 50× naive": True}
    row = {"id": "idle/50", "value": 0.3, "ratio": {}}
    assert [(a.words(), met) for a, met in aims.judged(row)] == [("≤ 1", True)]


def test_results_are_written_one_row_a_line_and_read_again(tmp_path: Path) -> None:
    report = module("harness.report")
    rows = [
        {
            "id": "to-kernel/packed/100k",
            "value": 1234.0,
            "unit": "routes/s",
            "spread": [1200.0, 1300.0],
            "ratio": {"bird": 1.2},
            "peers": {"bird": {"value": 1000.0}},
            "date": "2026-01-01",
        },
        {"id": "new/thing", "value": 0.5, "unit": "s", "ratio": {}, "date": "2026-01-02"},
    ]
    path = tmp_path / "results.json"
    report.write_rows(path, rows)
    assert json.loads(path.read_text()) == report.read(path) == rows
    assert len(path.read_text().splitlines()) == len(rows) + 2
    text = report.document(rows, "make bench", {"kernel": "6.1"})
    assert "| kernel | 6.1 |" in text
    assert "1,234 (1,200–1,300)" in text
    assert "1.2× bird (1,000)" in text
    assert "`to-kernel/packed/100k` 2026-01-01" in text, "an older row is named with its date"
    assert "`new/thing` 2026" not in text


def test_every_bench_of_the_runner_has_rows_that_take_what_it_hands_over() -> None:
    run = module("run")
    assert run.BENCHES
    for name in run.BENCHES:
        rows = getattr(module(name), "rows", None)
        assert callable(rows), name


def test_a_part_of_the_benches_is_named_by_a_prefix_of_the_ids() -> None:
    run = module("run")
    assert run.wanted(("egress", "idle"), None)
    assert run.wanted(("egress", "idle"), "idle/50")
    assert run.wanted(("to-kernel",), "to-k")
    assert not run.wanted(("to-kernel",), "rib-in/packed")
