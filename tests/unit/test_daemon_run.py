"""The life of a daemon in this process, without a kernel table, peers or inventory: how it ends, and by what."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kroute.daemon import Daemon
from kroute.drivers.config_file import ConfigFile
from kroute.model.config import Cni, Config, Fib, Http, Inventory, Paths, Speaker, StaticInventory
from kroute.model.errors import DriverError
from support.netns import until


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kt-") as name:  # short: socket paths have 107 octets
        yield Path(name)


@pytest.fixture(autouse=True)
def quiet_ends() -> Iterator[None]:
    """A daemon sets the level of the root logger; the next test shall find it as it was."""
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)


def config(folder: Path) -> Config:
    return Config(
        node_name="n1",
        inventory=Inventory(static=StaticInventory(path=str(folder / "nodes.yaml"))),
        fib=Fib(enabled=False),
        cni=Cni(enabled=False),
        http=Http(enabled=False),
        speaker=Speaker(),
        paths=Paths(run=str(folder / "run"), state=str(folder / "state")),
    )


def make(folder: Path) -> Daemon:
    file = folder / "kroute.yaml"
    file.write_text("{}")
    return Daemon(config(folder), ConfigFile(file))


async def lived(daemon: Daemon, then: Callable[[], object]) -> None:
    """Run it, do something once it has begun to live, and wait for its end."""
    running = asyncio.create_task(daemon.run())
    await until(lambda: daemon.speaker.pid is not None or running.done(), 20)
    then()
    await asyncio.wait_for(running, 20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_good_order(folder: Path, number: int) -> None:
    daemon = make(folder)
    await lived(daemon, lambda: os.kill(os.getpid(), number))
    assert daemon.speaker.pid is None


async def test_a_signal_before_the_start_is_over_ends_it_as_well(folder: Path) -> None:
    daemon = make(folder)
    running = asyncio.create_task(daemon.run())
    await until(lambda: (folder / "run" / "kroute.sock").exists())
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, 20)


async def test_an_exception_in_a_callback_ends_it_with_that_cause(folder: Path) -> None:
    daemon = make(folder)

    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(RuntimeError, match="a callback failed") as caught:
        await lived(daemon, lambda: asyncio.get_running_loop().call_soon(broken))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert daemon.speaker.pid is None


async def test_a_warning_of_the_event_loop_ends_nothing(folder: Path) -> None:
    daemon = make(folder)

    def warned() -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "socket.send() raised"})
        asyncio.get_running_loop().call_later(0.2, os.kill, os.getpid(), signal.SIGTERM)

    await lived(daemon, warned)


async def test_a_driver_that_cannot_start_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = make(folder)

    async def failing() -> None:
        raise DriverError("the kernel does not answer")

    monkeypatch.setattr(daemon.watcher, "start", failing)
    with pytest.raises(DriverError, match="the kernel does not answer"):
        await asyncio.wait_for(daemon.run(), 20)


async def test_a_bug_in_a_task_is_shown_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = make(folder)

    async def failing() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(daemon.watcher, "start", failing)
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(daemon.run(), 20)
    assert caught.group_contains(ZeroDivisionError)


async def test_the_log_level_follows_the_configuration(folder: Path) -> None:
    daemon = make(folder)

    def changed() -> None:
        daemon._on_config(replace(config(folder), log_level="error"))
        os.kill(os.getpid(), signal.SIGTERM)

    await lived(daemon, changed)
    assert logging.getLogger().level == logging.ERROR
