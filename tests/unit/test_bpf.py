"""Socket filters written by labels."""

from __future__ import annotations

import pytest

from kroute.drivers import bpf


def test_jumps_are_counted_from_the_step_behind_them() -> None:
    program = [
        bpf.half(4),
        bpf.equal(7, "keep", otherwise="other"),
        bpf.DROP,
        "other",
        bpf.has_bits(1, otherwise="drop"),
        "keep",
        bpf.KEEP,
        "drop",
        bpf.DROP,
    ]
    assert bpf.assemble(program) == [
        (0x28, 0, 0, 4),
        (0x15, 2, 1, 7),
        (0x06, 0, 0, 0),
        (0x45, 0, 1, 1),
        (0x06, 0, 0, 0xFFFFFFFF),
        (0x06, 0, 0, 0),
    ]


@pytest.mark.parametrize(
    "program",
    [
        ["back", bpf.byte(0), bpf.equal(1, "back")],
        [bpf.equal(1, "nowhere"), bpf.KEEP],
        [bpf.equal(1, "far"), *[bpf.byte(0)] * 256, "far", bpf.KEEP],
    ],
)
def test_a_jump_that_the_kernel_would_refuse_or_misread_is_refused(program) -> None:
    with pytest.raises(ValueError, match="no jump from step"):
        bpf.assemble(program)
