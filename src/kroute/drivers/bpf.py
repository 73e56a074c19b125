"""Classic BPF for socket filters, by labels instead of counted jumps (linux/filter.h, linux/bpf_common.h).

A program is a list of steps, and of labels (plain text) before the steps that they name::

    assemble([half(4), equal(RTM_DELLINK, otherwise="drop"), KEEP, "drop", DROP])

Loads put a number into the accumulator, comparisons look at it and jump to a label, or go on with the next step.
Numbers that a message has in the machine's byte order are read as big-endian: compare them with htons or htonl of
what is meant. What a load finds missing ends the program, and the message is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

Instruction = tuple[int, int, int, int]
"""code, jump if true, jump if false, constant."""


class Step(NamedTuple):
    """One instruction whose jumps are labels; empty: the next step."""

    code: int
    constant: int
    then: str = ""
    otherwise: str = ""


KEEP, DROP = Step(0x06, 0xFFFFFFFF), Step(0x06, 0)
_ATTRIBUTE = 0xFFFFF000 + 12
"""SKF_AD_OFF + SKF_AD_NLATTR: replaces the accumulator by where the attribute is whose type is in X; 0: nowhere."""


def word(offset: int) -> Step:
    """Load 32 bits."""
    return Step(0x20, offset)


def half(offset: int) -> Step:
    """Load 16 bits."""
    return Step(0x28, offset)


def byte(offset: int) -> Step:
    """Load 8 bits."""
    return Step(0x30, offset)


def masked(mask: int) -> Step:
    """Keep these bits."""
    return Step(0x54, mask)


def attribute(kind: int, behind: int, missing: str) -> list[Step]:
    """Find a netlink attribute among those that begin at an offset; :func:`half_of` and :func:`word_of` load of it."""
    return [
        Step(0x00, behind),
        Step(0x01, kind),
        Step(0x20, _ATTRIBUTE),
        Step(0x15, 0, then=missing),
        Step(0x07, 0),
    ]


def word_of(offset: int = 0) -> Step:
    """Load 32 bits of the attribute's value."""
    return Step(0x40, 4 + offset)


def half_of(offset: int = 0) -> Step:
    """Load 16 bits of the attribute's value."""
    return Step(0x48, 4 + offset)


def equal(value: int, then: str = "", otherwise: str = "") -> Step:
    """Compare."""
    return Step(0x15, value, then, otherwise)


def at_least(value: int, then: str = "", otherwise: str = "") -> Step:
    """Compare, unsigned."""
    return Step(0x35, value, then, otherwise)


def has_bits(value: int, then: str = "", otherwise: str = "") -> Step:
    """Whether any of these bits is set."""
    return Step(0x45, value, then, otherwise)


def assemble(program: Iterable[Step | str]) -> list[Instruction]:
    """The instructions.

    Raises:
        ValueError: a jump to a label that is not further down, or is too far.
    """
    steps: list[Step] = []
    places: dict[str, int] = {}
    for each in program:
        if isinstance(each, Step):
            steps.append(each)
        else:
            places[each] = len(steps)

    def jump(label: str, place: int) -> int:
        distance = places.get(label, -1) - place - 1 if label else 0
        if not 0 <= distance < 256:
            raise ValueError(f"BPF: no jump from step {place} to {label!r}")
        return distance

    return [
        (step.code, jump(step.then, place), jump(step.otherwise, place), step.constant)
        for place, step in enumerate(steps)
    ]
