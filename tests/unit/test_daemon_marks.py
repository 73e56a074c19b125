"""Under which protocols earlier lives installed routes: written down, read back, never trusted blindly."""

from __future__ import annotations

from pathlib import Path

import pytest

from kroute.daemon.marks import FILE, remember_protocol
from kroute.model.config import Config, Fib, Paths


def config(folder: Path, protocol: int = 201, *former: int) -> Config:
    return Config(
        fib=Fib(protocol=protocol, former_protocols=former), paths=Paths(state=str(folder))
    )


def test_a_first_life_has_no_former_marks(tmp_path: Path) -> None:
    assert remember_protocol(config(tmp_path / "new" / "state")) == ()


def test_the_next_life_knows_the_mark_of_the_one_before(tmp_path: Path) -> None:
    remember_protocol(config(tmp_path, 201))
    assert remember_protocol(config(tmp_path, 222)) == (201,)
    assert remember_protocol(config(tmp_path, 223)) == (201, 222)
    assert remember_protocol(config(tmp_path, 201)) == (222, 223)


def test_configured_former_marks_count_as_well(tmp_path: Path) -> None:
    assert remember_protocol(config(tmp_path, 201, 190, 201)) == (190,)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b"null",
        b'{"routeProtocols": null}',
        b'{"routeProtocols": 5}',
        b'{"routeProtocols": {"2": 1}}',
        b'{"routeProtocols": [2, 3, 4, 256, -1, true, "201", null, 1.5]}',
        b"\xff\xfe\0",
    ],
)
def test_a_damaged_file_is_as_good_as_none_and_is_written_anew(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert remember_protocol(config(tmp_path, 222)) == ()
    assert remember_protocol(config(tmp_path, 223)) == (222,)


def test_a_folder_that_cannot_be_written_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert remember_protocol(config(Path("/proc/kroute"), 222, 201)) == (201,)
    assert "fib.formerProtocols" in caplog.text
