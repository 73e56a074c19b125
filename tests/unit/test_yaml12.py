"""YAML as YAML 1.2's core schema has it, and what is refused before it can hurt."""

from __future__ import annotations

import math

import pytest

from kroute.codec.yaml12 import MAX_DEPTH, MAX_UNFOLDED, load, load_all
from kroute.model.errors import InputError


def refusals(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        load(text, "file")
    return [str(complaint) for complaint in caught.value.complaints]


@pytest.mark.parametrize(
    "text",
    ["yes", "no", "on", "off", "y", "n", "65000:30", "1:30:00", "2026-01-01", "0b11", "1_000",
     "0o8", "0xg", "tRue", "nil", "1.2.3.4", "2001:db8::1", "=", "<<", "-", "+.5.", "1e", "e3",
     ".", "-.", "0o", "0x", "١٢", "1.2.3", "--1"],
)  # fmt: skip
def test_what_looks_special_elsewhere_is_text_here(text: str):
    assert load(text if text != "-" else '"-"', "file").value == text


@pytest.mark.parametrize(
    "text, value",
    [
        ("true", True), ("True", True), ("FALSE", False), ("null", None), ("~", None), ("", None),
        ("0", 0), ("-7", -7), ("+7", 7), ("007", 7), ("0x1F", 31), ("0o17", 15), ("18446744073709551616", 2**64),
        ("1.5", 1.5), ("1.", 1.0), (".5", 0.5), ("-1e3", -1000.0), ("1E-2", 0.01), ("-.inf", -math.inf),
        ('"1"', "1"), ("'true'", "true"), ("|\n  1\n", "1\n"), ("!!str 1", "1"), ("! 1", "1"), ("!!int 12", 12),
        ("!!null null", None), ("!!float 1.5", 1.5), ("!!seq [1]", [1]), ("!!map {a: 1}", {"a": 1}),
        ("[1, a, {b: []}]", [1, "a", {"b": []}]), ("{1: a, true: b}", {"1": "a", "true": "b"}),
    ],
)  # fmt: skip
def test_scalars_are_read_by_the_core_schema(text: str, value: object):
    found = load(text, "file").value
    assert found == value
    assert type(found) is type(value)


def test_nan_is_a_float():
    assert math.isnan(load(".nan", "file").value)


def test_lines_are_those_of_keys_values_and_entries():
    document = load("a: 1\nb:\n  c:\n    - x\n    -\n      d: 2\n", "file")
    assert document.lines[()] == 1
    assert document.lines["a",] == 1
    assert document.lines["b", "c", 0] == 4
    assert document.lines["b", "c", 1, "d"] == 6


def test_aliases_stand_for_their_values():
    assert load("a: &x {k: [1]}\nb: *x\nc: [*x]", "file").value == {
        "a": {"k": [1]}, "b": {"k": [1]}, "c": [{"k": [1]}],
    }  # fmt: skip
    assert load("&k a: *k", "file").value == {"a": "a"}


def test_every_document_is_read():
    assert load_all("a: 1\n---\n[b]\n---\n...\n", "file") == [{"a": 1}, ["b"], None]
    assert load_all("", "file") == []
    assert load("", "file").value is None


def test_a_byte_order_mark_is_no_part_of_the_text():
    assert load("\ufeffa: 1", "file").value == {"a": 1}


def test_nesting_beyond_the_limit_is_refused_at_once():
    assert load("[" * MAX_DEPTH + "]" * MAX_DEPTH, "file").value
    for text in ("[" * 1_000_000, "{a: " * 300_000, "- " * 200_000):
        assert refusals(text) == [f"line 1: is nested more than {MAX_DEPTH} levels deep"]


def test_aliases_that_unfold_without_end_are_refused():
    bomb = "".join(
        f"{key}: &{key} [{', '.join(['*' + before] * 9)}]\n"
        for before, key in zip("abcdefgh", "bcdefghi", strict=True)
    )
    text = f"a: &a [{', '.join('x' * 9)}]\n{bomb}"
    assert refusals(text) == [f"line 6: its aliases stand for more than {MAX_UNFOLDED} values"]
    assert refusals("a: &a [*a]") == ["line 1: the alias *a stands for nothing before it"]
    assert refusals("a: *b\nc: &b 1") == ["line 1: the alias *b stands for nothing before it"]


def test_keys_that_stand_twice_are_all_told():
    assert refusals("a: 1\na: 2\nb: {c: 1, c: 2}") == [
        "line 2: the key 'a' stands here a second time",
        "line 3: the key 'c' stands here a second time",
    ]


def test_numbers_of_any_length_are_told_not_tried():
    assert refusals("a: " + "1" * 10_000) == ["line 1: a number of 10000 digits"]
    assert refusals("a: 0x" + "f" * 10_000) == ["line 1: a number of 10002 digits"]
    assert load("1" * 50 + "." + "1" * 10_000, "file").value == pytest.approx(1.1111e49, rel=1e-3)


@pytest.mark.parametrize("key", ["? [a]\n: b", "? {a: b}\n: c", "{[a]: b}", "a: &x k\n*x : b"])
def test_keys_are_plain_text(key: str):
    assert refusals(key)[0].endswith("a key that is no plain text")


@pytest.mark.parametrize(
    "text", ["!!python/object/apply:os.system [id]", "!!set {a}", "!x 1", "!!binary aGk=", "!!bool 1",
             "!!int x", "!!timestamp 2026-01-01", "!!omap [a: 1]"],
)  # fmt: skip
def test_tags_beyond_the_core_schema_are_refused(text: str):
    assert "only plain YAML is read" in refusals(text)[0]


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\x7f", "\ud800", "\uffff"])
def test_characters_that_yaml_does_not_allow_are_told_with_their_line(character: str):
    assert refusals(f"a: 1\nb: {character}") == [
        f"line 2: a character that YAML does not allow: U+{ord(character):04X}"
    ]


@pytest.mark.parametrize("text", ["a:\n\tb: 1", "\ta: 1", "a: [\n\t1\n\t}"])
def test_what_is_no_yaml_is_told_with_its_line(text: str):
    (told,) = refusals(text)
    assert "is not YAML" in told
    assert told.startswith("line ")


def test_a_tab_is_called_a_tab():
    assert refusals("a:\n\tb: 1") == ["line 2: is not YAML: a tab where only spaces may indent"]


def test_complaints_end_at_a_limit():
    assert len(refusals("a: 1\n" * 10_000)) == 100
