"""What becomes of a command whose output nobody reads to the end, or that cannot be written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kroute.cli import INTERRUPTED, NO, OK, main

SMALL, LARGE = ("check-config", "{file}"), ("check-config", "{file}", "--effective")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "kroute.yaml"
    names = "".join(f"n{i}: '64512:{i}'\n  " for i in range(5000))
    path.write_text(f"communityNames:\n  {names}\n")
    return path


def run(words: tuple[str, ...], file: Path, out: int) -> tuple[int, str]:
    """Exit code and complaints of a command in a process of its own, as its buffers are emptied when that ends."""
    program = "import sys; from kroute.cli import main; sys.exit(main())"
    line = [sys.executable, "-c", program, *(w.format(file=file) for w in words)]
    done = subprocess.run(line, stdout=out, stderr=subprocess.PIPE, text=True, timeout=60)
    return done.returncode, done.stderr


@pytest.mark.parametrize("words", [SMALL, LARGE, ("--help",)], ids=["small", "large", "help"])
def test_a_reader_who_has_seen_enough_is_no_error(words: tuple[str, ...], file: Path):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert run(words, file, writer) == (OK, "")
    finally:
        os.close(writer)


@pytest.mark.parametrize("words", [SMALL, LARGE], ids=["small", "large"])
def test_a_full_disk_is_told_in_a_sentence(words: tuple[str, ...], file: Path):
    with Path("/dev/full").open("w") as full:
        code, said = run(words, file, full.fileno())
    assert (code, said) == (NO, "kroute check-config: the output: No space left on device\n")


def test_an_interrupt_is_no_traceback_however_early_it_comes(monkeypatch: pytest.MonkeyPatch):
    def interrupted(_commands: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kroute.cli.build_parser", interrupted)
    assert main(["show", "peers"]) == INTERRUPTED


def test_another_full_disk_is_not_taken_for_the_outputs(
    monkeypatch: pytest.MonkeyPatch, file: Path
):
    def full(_args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(file))

    monkeypatch.setattr("kroute.cli.check_config.run", full)
    with pytest.raises(OSError, match="No space left"):
        main(["check-config", str(file)])
