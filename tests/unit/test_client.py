"""Asking the daemon: whatever answers on the socket, or does not, is told in one sentence."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kroute.cli import UNREACHABLE, main
from kroute.cli.client import Unreachable, ask

NO_ANSWERS = {
    "a page of another server": b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
    "its refusal": b"HTTP/1.1 404 No\r\nContent-Length: 6\r\n\r\n<html>",
    "no text": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\xff\xfe\xfd",
    "nothing": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "no HTTP": b"\x00\xff\xfe garbage\r\n\r\n",
    "JSON that is no object": b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n[]",
}


@contextmanager
def served(path: Path, answer: bytes) -> Iterator[None]:
    """A server that gives everybody the same answer."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(10)


@pytest.mark.parametrize("answer", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_who_is_not_kroutes_daemon_is_called_so(tmp_path: Path, answer: bytes):
    path = tmp_path / "s"
    with served(path, answer), pytest.raises(Unreachable, match="is not kroute's daemon"):
        ask(str(path), "peers")


def test_the_exit_code_says_that_no_daemon_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "s"
    with served(path, NO_ANSWERS["a page of another server"]):
        assert main(["show", "peers", "--socket", str(path)]) == UNREACHABLE
    assert (
        capsys.readouterr().err
        == f"kroute show: {path}: whoever answers there is not kroute's daemon\n"
    )


def test_a_socket_that_a_dead_daemon_left_is_told_with_what_to_look_at(tmp_path: Path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with pytest.raises(Unreachable, match=r"nobody serves .*kroute run"):
        ask(str(path), "peers")


def test_a_daemon_that_dies_over_a_question_is_no_other_server(tmp_path: Path):
    path = tmp_path / "s"
    with served(path, b""), pytest.raises(Unreachable, match="the daemon does not answer"):
        ask(str(path), "peers")


def test_a_path_that_no_socket_can_have_is_told(tmp_path: Path):
    with pytest.raises(Unreachable, match="too long"):
        ask(str(tmp_path / ("x" * 300)), "peers")


def test_a_folder_that_may_not_be_entered_is_told(monkeypatch: pytest.MonkeyPatch):
    def connect(_self: object) -> None:
        raise PermissionError(13, "Permission denied")

    def looked_at(_self: Path) -> bool:
        raise AssertionError("who may not enter the folder may not look into it either")

    monkeypatch.setattr("kroute.cli.client._UnixConnection.connect", connect)
    monkeypatch.setattr(Path, "exists", looked_at)
    with pytest.raises(Unreachable, match="only root may ask"):
        ask("/run/kroute/kroute.sock", "peers")
