"""Health checks of static services: what is good, what is not and why, and when a service rises or falls."""

from __future__ import annotations

import asyncio
import errno
import getpass
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from kroute.drivers.health import HealthChecks
from kroute.drivers.health.checks import CheckFailed, perform
from kroute.model.config_services import Check, ExecCheck, HttpCheck, StaticService, TcpCheck
from kroute.model.service import CheckState
from kroute.plan.health import Streak

ME = getpass.getuser()
DEADLINE = 20.0


# --- counting ------------------------------------------------------------------------------------------


def test_the_first_result_decides_alone():
    assert Streak(3, 3).take(True)
    streak = Streak(3, 3)
    assert streak.take(False)
    assert streak.up is False


def test_a_service_falls_after_so_many_bad_results_in_a_row_and_rises_after_so_many_good_ones():
    streak = Streak(rise=2, fall=3)
    streak.take(True)
    assert [streak.take(r) for r in (False, False, True, False, False, False)] == [
        *[False] * 5,
        True,
    ]
    assert streak.up is False
    assert [streak.take(r) for r in (True, False, True, True)] == [False, False, False, True]


# --- checks --------------------------------------------------------------------------------------------


@asynccontextmanager
async def answering(
    answer: bytes, hold: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that reads a request and says this; its port, and what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
            if hold:
                await reader.read()
        except (asyncio.IncompleteReadError, OSError):
            pass  # a TCP check says nothing
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], asked
    finally:
        server.close()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def failure(check: Check) -> str:
    with pytest.raises(CheckFailed) as caught:
        await perform(check)
    return str(caught.value)


def http(port: int, path: str = "/healthz", **more: object) -> Check:
    url = f"http://127.0.0.1:{port}{path}"
    return Check(http=HttpCheck(url=url, **more))  # type: ignore[arg-type]


async def test_a_port_that_answers_is_good_and_one_that_refuses_is_not():
    async with answering(b"") as (port, _):
        assert f"port {port} answers" in await perform(Check(tcp=TcpCheck(port=port)))
    assert "Connection refused" in await failure(Check(tcp=TcpCheck(port=closed_port())))


async def test_http_is_asked_as_a_browser_would_and_judged_by_its_status():
    async with answering(b"HTTP/1.1 204 No Content\r\n\r\n") as (port, asked):
        assert "answers 204" in await perform(http(port, "/a/b?c=d"))
        assert asked[0].startswith(b"GET /a/b?c=d HTTP/1.0\r\nHost: 127.0.0.1:")
        assert "answers 204" in await failure(http(port, status=(200,)))
    async with answering(b"HTTP/1.1 503 Busy\r\n\r\n") as (port, _):
        assert "answers 503" in await failure(http(port))
        assert "answers 503" in await perform(http(port, status=(503,)))


async def test_http_may_have_to_contain_a_text():
    async with answering(b"HTTP/1.0 200 OK\r\n\r\nstate: ready\n") as (port, _):
        await perform(http(port, contains="ready"))
        assert "without the text 'good'" in await failure(http(port, contains="good"))


@pytest.mark.parametrize(
    "garbage", [b"", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\0" * 99]
)
async def test_what_answers_but_not_in_http_is_not_good(garbage: bytes):
    async with answering(garbage) as (port, _):
        assert "not in HTTP" in await failure(http(port))


async def test_https_is_asked_without_looking_at_the_certificate(tmp_path: Path):
    made = (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -out c -subj /CN=x"
    )
    subprocess.run(["openssl", *made.split()], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c", tmp_path / "k")
    async with answering(b"HTTP/1.1 200 OK\r\n\r\n", tls=context) as (port, _):
        url = f"https://127.0.0.1:{port}/"
        assert await perform(Check(http=HttpCheck(url=url))) == f"{url} answers 200"


async def test_a_program_is_judged_by_its_exit_code_and_says_why():
    good = Check(exec=ExecCheck(command=("/bin/sh", "-c", "echo fine; echo more"), user=ME))
    assert await perform(good) == "/bin/sh is content: fine"
    bad = Check(exec=ExecCheck(command=("/bin/sh", "-c", "echo no zone >&2; exit 3"), user=ME))
    assert await failure(bad) == "/bin/sh: exit code 3, no zone"
    killed = Check(exec=ExecCheck(command=("/bin/sh", "-c", "kill -9 $$"), user=ME))
    assert "ended by SIGKILL" in await failure(killed)


async def test_a_program_or_user_that_is_not_there_is_told():
    missing = Check(exec=ExecCheck(command=("/no/such/program",), user=ME))
    assert "cannot be run: No such file or directory" in await failure(missing)
    stranger = Check(exec=ExecCheck(command=("/bin/true",), user="no-such-user"))
    assert await failure(stranger) == "there is no user no-such-user"


@pytest.mark.root
async def test_a_program_runs_as_the_named_user_without_groups_or_capabilities():
    script = "id -un; id -Gn; grep CapEff /proc/self/status"
    check = Check(exec=ExecCheck(command=("/bin/sh", "-c", f"({script}) | tr '\\n' ' '")))
    said = await perform(check)
    assert "nobody nogroup CapEff: 0000000000000000" in " ".join(said.split())


# --- services ------------------------------------------------------------------------------------------


class Heard:
    """What a driver has told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, CheckState | None]] = []
        self._news = asyncio.Event()

    def emit(self, name: str, state: CheckState | None) -> None:
        self.told.append((name, state))
        self._news.set()

    def now(self, name: str) -> bool | None:
        states = [state for told, state in self.told if told == name]
        return states[-1].up if states and states[-1] is not None else None

    async def until(self, name: str, up: bool | None) -> None:
        async with asyncio.timeout(DEADLINE):
            while self.now(name) is not up or not self.told:
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def checking() -> AsyncIterator[tuple[HealthChecks, Heard]]:
    heard = Heard()
    health = HealthChecks(heard.emit)
    task = asyncio.create_task(health.run())
    await asyncio.sleep(0)
    try:
        yield health, heard
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def service(name: str, check: Check, **more: object) -> StaticService:
    terms = {"interval": 0.02, "timeout": 5, "rise": 2, "fall": 2, **more}
    return StaticService(name=name, addresses=(ip_address("192.0.2.1"),), check=check, **terms)  # type: ignore[arg-type]


def by_file(path: Path) -> Check:
    return Check(exec=ExecCheck(command=("/usr/bin/test", "-e", str(path)), user=ME))


async def test_a_service_rises_and_falls_with_what_its_check_looks_at(tmp_path: Path):
    flag = tmp_path / "up"
    flag.touch()
    async with checking() as (health, heard):
        health.want([service("a", by_file(flag))])
        await heard.until("a", True)
        flag.unlink()
        await heard.until("a", False)
        flag.touch()
        await heard.until("a", True)
        assert [state.up for _, state in heard.told if state] == [True, False, True]


async def test_a_check_that_hangs_is_ended_with_all_it_has_started_and_holds_up_no_other(
    tmp_path: Path,
):
    children = tmp_path / "children"
    hang = f"sleep 1000 & echo $! >> {children}; echo $$ >> {children}; wait"
    stuck = Check(exec=ExecCheck(command=("/bin/sh", "-c", hang), user=ME))
    async with checking() as (health, heard):
        health.want([service("stuck", stuck, timeout=0.3), service("b", by_file(Path("/")))])
        await heard.until("b", True)
        await heard.until("stuck", False)
        assert dict(heard.told)["stuck"] == CheckState(False, "no answer within 0.3 s")
        first = [int(n) for n in children.read_text().split()[:2]]
    async with asyncio.timeout(DEADLINE):
        while any(is_alive(pid) for pid in first):
            await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_server_that_never_answers_is_not_good_in_time():
    async with answering(b"", hold=True) as (port, _), checking() as (health, heard):
        health.want([service("slow", http(port), timeout=0.2)])
        await heard.until("slow", False)


async def test_only_services_whose_check_changed_are_checked_anew(tmp_path: Path):
    same, other = service("same", by_file(Path("/"))), service("other", by_file(Path("/")))
    async with checking() as (health, heard):
        health.want([same, other])
        await heard.until("same", True)
        await heard.until("other", True)
        health.want([same, service("other", by_file(tmp_path / "nothing"))])
        await heard.until("other", False)
        health.want([same])
        assert heard.told[-1] == ("other", None)
        assert [state for name, state in heard.told if name == "same"] == [
            CheckState(True, "/usr/bin/test is content")
        ]


async def test_nothing_is_left_of_a_check_when_the_driver_ends(tmp_path: Path):
    note = tmp_path / "pid"
    code = textwrap.dedent(f"""
        import os, time
        with open({str(note)!r}, "w") as f: f.write(str(os.getpid()))
        time.sleep(1000)
    """)
    slow = Check(exec=ExecCheck(command=(sys.executable, "-c", code), user=ME))
    async with checking() as (health, _):
        health.want([service("slow", slow)])
        async with asyncio.timeout(DEADLINE):
            while not (note.exists() and note.read_text()):
                await asyncio.sleep(0.01)
    assert not is_alive(int(note.read_text()))


async def test_a_bug_in_a_check_is_not_swallowed(monkeypatch: pytest.MonkeyPatch):
    async def broken(_check: Check) -> str:
        raise RuntimeError("a bug")

    monkeypatch.setattr("kroute.drivers.health.perform", broken)
    health = HealthChecks(Heard().emit)
    task = asyncio.create_task(health.run())
    await asyncio.sleep(0)
    health.want([service("a", by_file(Path("/")))])
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(RuntimeError, match="a bug"):
            await task


async def test_a_program_that_is_slow_to_start_holds_up_nobody_and_ends_with_its_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, real, begun = threading.Event(), subprocess.Popen, []

    def slowly(*args: Any, **more: Any) -> Any:
        assert gate.wait(10)
        begun.append(real(*args, **more))
        return begun[0]

    monkeypatch.setattr("kroute.drivers.health.checks.subprocess.Popen", slowly)
    check = Check(exec=ExecCheck(command=("/bin/sleep", "1000"), user=ME))
    task = asyncio.create_task(perform(check))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert begun[0].returncode == -signal.SIGKILL


async def test_a_sandbox_without_pidfd_open_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(_pid: int) -> int:
        raise OSError(errno.ENOSYS, "not implemented")

    monkeypatch.setattr(os, "pidfd_open", unknown)
    good = Check(exec=ExecCheck(command=("/bin/sh", "-c", "echo fine"), user=ME))
    assert await perform(good) == "/bin/sh is content: fine"
