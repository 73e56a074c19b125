"""No text, however odd, makes the reader of configurations raise anything but ConfigError, or take long."""

from __future__ import annotations

import random
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kroute.codec.config import parse_config
from kroute.model.config import Config
from kroute.model.errors import Complaint, ConfigError

ROOT = Path(__file__).parents[2]
EXAMPLES = [p.read_text() for p in sorted(ROOT.glob("config/*.yaml"))]
WRONG = [p.read_text() for p in sorted(ROOT.glob("tests/errors/config/*.yaml"))]
PIECES = st.sampled_from(
    ["a", ":", ": ", "- ", "\n", "  ", "\t", "[", "]", "{", "}", ",", "&a ", "*a", "!!int ", "!x ", "<<", "|\n", ">-\n",
     "'", '"', "#", "%YAML 1.1\n", "---\n", "...\n", "? ", "\x00", "\ud800", "\ufeff", "\u2028", "\\", "1" * 400, "0x",
     "bgp", "peering", "peers", "asn", "name", "address", "null", "true", ".nan", "-.inf", "1e999", "fe80::1%", "/33"]
)  # fmt: skip


def outcome(text: str) -> Config | tuple[Complaint, ...]:
    try:
        return parse_config(text, "file")
    except ConfigError as error:
        return error.complaints


def judge(text: str) -> None:
    """Read it. Whatever is wrong is said in complaints of one line each that can be printed."""
    found = outcome(text)
    if isinstance(found, Config):
        return
    assert found
    for complaint in found:
        assert "\n" not in complaint.path
        assert str(complaint).isprintable()
        assert len(str(complaint)) < 2000


def test_there_is_something_to_mutate():
    assert len(EXAMPLES) > 5
    assert len(WRONG) > 15


@settings(max_examples=300, deadline=1000)
@given(st.text() | st.lists(PIECES, max_size=60).map("".join))
def test_any_text_is_read_or_refused(text: str):
    judge(text)


@settings(max_examples=200, deadline=1000)
@given(st.binary(max_size=200))
def test_any_octets_are_read_or_refused(octets: bytes):
    judge(octets.decode("latin-1"))
    judge(octets.decode("utf-8", "surrogateescape"))


@settings(max_examples=300, deadline=2000)
@given(st.sampled_from(EXAMPLES + WRONG), st.randoms(use_true_random=False))
def test_any_mutation_of_a_file_is_read_or_refused(text: str, rng: random.Random):
    for _ in range(rng.randint(1, 4)):
        a, b = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        match rng.randrange(4):
            case 0:
                text = text[:a] + text[b:]
            case 1:
                text = text[:b] + text[a:b][:2000] + text[b:]
            case 2:
                text = (
                    text[:a]
                    + chr(rng.choice([0, 9, 10, 34, 38, 42, 58, 91, 123, 0xD800]))
                    + text[a:]
                )
            case 3:
                text = text[:a]
    judge(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda below: st.lists(below, max_size=4)
    | st.dictionaries(
        st.sampled_from(["bgp", "asn", "peering", "peers", "name", "address", "nodeSelector", "cni", "extraPlugins",
                         "fib", "table", "inventory", "static", "path", "http", "families"]) | st.text(max_size=5),
        below, max_size=5,
    ),
    max_leaves=30,
)  # fmt: skip


@settings(max_examples=300, deadline=1000)
@given(JSON)
def test_any_value_is_read_or_refused(value: object):
    judge(yaml.safe_dump(value, allow_unicode=True))


def test_large_and_hostile_files_are_refused_soon():
    """Each within the deadline that the suite as a whole has; the naive way takes minutes or crashes."""
    many = "".join(f"k{i}: {{}}\n" for i in range(70_000))
    wide = "peering: {peers: [" + "{}," * 100_000 + "]}"
    long_key = "k" * 900_000
    for text in (many, wide, f'"{long_key}": 1', "[" * 1_000_000, "&a " * 300_000, "- " * 500_000,
                 "'" * 1_000_000, "? " * 500_000, "a: " + "9" * 1_000_000, "# x\n" * 250_000):  # fmt: skip
        judge(text)
