"""What the service manager is told, over a real socket of either kind."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kroute.drivers import systemd
from kroute.model.errors import DriverError


class Manager:
    """The manager's end of the socket."""

    def __init__(self, name: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        self.socket.settimeout(5)

    def hears(self) -> list[str]:
        return self.socket.recv(4096).decode().split("\n")


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Manager]:
    name = f"@kt-{secrets.token_hex(8)}" if request.param == "abstract" else str(tmp_path / "n")
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    listening = Manager(name)
    yield listening
    listening.socket.close()


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("alone")
def test_nothing_is_sent_where_nobody_asked():
    assert systemd.ready() is False
    assert systemd.watchdog_interval() is None


def test_readiness_arrives_with_its_status_on_one_line(manager: Manager):
    assert systemd.ready("3 sessions\nup") is True
    assert manager.hears() == ["READY=1", "STATUS=3 sessions up"]


def test_stopping_status_and_watchdog_arrive(manager: Manager):
    systemd.stopping()
    systemd.status("relearning routes")
    systemd.watchdog()
    heard = [manager.hears() for _ in range(3)]
    assert heard == [["STOPPING=1"], ["STATUS=relearning routes"], ["WATCHDOG=1"]]


def test_a_reload_carries_the_monotonic_time(manager: Manager):
    systemd.reloading()
    first, second = manager.hears()
    assert first == "RELOADING=1"
    assert second.startswith("MONOTONIC_USEC=")
    assert int(second.partition("=")[2]) > 0


@pytest.mark.parametrize("name", ["relative", "vsock:2:1234"])
def test_a_name_that_is_no_socket_is_refused(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with pytest.raises(DriverError, match="neither a path nor an abstract name"):
        systemd.ready()


def test_an_absent_manager_is_an_error_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    with pytest.raises(DriverError, match=r"cannot notify .*/gone: No such file"):
        systemd.ready()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("microseconds", "pid", "seconds"),
    [
        ("30000000", None, 15.0),
        ("30000000", "own", 15.0),
        ("30000000", "1", None),
        ("0", None, None),
        ("soon", None, None),
        ("-5", None, None),
    ],
)
def test_the_watchdog_is_due_at_half_of_what_was_asked(
    microseconds: str, pid: str | None, seconds: float | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    if pid is not None:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)
    assert systemd.watchdog_interval() == seconds
