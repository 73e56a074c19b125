"""The configuration file followed live: a good version is told, a bad one with its reasons, SIGHUP reads it again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kroute.drivers.config_file import ConfigFile
from kroute.drivers.watching import Wake
from kroute.model.config import Config
from kroute.model.errors import ConfigError

Outcome = Config | ConfigError


class Told:
    """What was told of a file so far."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self._news = asyncio.Event()

    def take(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._news.set()

    async def until(self, holds: Callable[[Outcome], object], count: int = 1) -> Outcome:
        async with asyncio.timeout(20):
            while len(self.outcomes) < count or not holds(self.outcomes[-1]):
                self._news.clear()
                await self._news.wait()
        return self.outcomes[-1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "kroute.yaml"
    file.write_text("bgp: {asn: 65001}\n")
    return file


@asynccontextmanager
async def following(path: Path) -> AsyncIterator[Told]:
    told = Told()
    task = asyncio.create_task(ConfigFile(path).watch(told.take))
    await asyncio.sleep(0)
    try:
        yield told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def has_asn(asn: int) -> Callable[[Outcome], bool]:
    return lambda outcome: isinstance(outcome, Config) and outcome.bgp.asn == asn


def is_refused(words: str) -> Callable[[Outcome], bool]:
    return lambda outcome: isinstance(outcome, ConfigError) and words in str(outcome)


def test_a_file_is_read_and_checked(path: Path):
    assert ConfigFile(path).load().bgp.asn == 65001
    path.write_text("bgp: {asn: no}\n")
    with pytest.raises(ConfigError, match=r"bgp\.asn: expected .*, got 'no'"):
        ConfigFile(path).load()


def test_an_empty_file_is_all_defaults_at_start(path: Path):
    path.write_text("")
    assert ConfigFile(path).load() == Config()


def test_what_is_no_readable_file_is_told_in_words(tmp_path: Path):
    with pytest.raises(ConfigError, match="is not there"):
        ConfigFile(tmp_path / "nowhere").load()
    with pytest.raises(ConfigError, match="is no file"):
        ConfigFile(tmp_path).load()
    with pytest.raises(ConfigError, match="is no file"):
        ConfigFile("/dev/zero").load()
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        ConfigFile(tmp_path / "binary").load()
    (tmp_path / "huge").write_text("#" * (2 << 20))
    with pytest.raises(ConfigError, match="is larger than"):
        ConfigFile(tmp_path / "huge").load()


async def test_the_version_that_was_loaded_is_not_told_again(path: Path):
    async with following(path) as told:
        path.write_text("bgp: {asn: 65002}\n")
        await told.until(has_asn(65002))
        assert len(told.outcomes) == 1


async def test_a_change_between_loading_and_following_is_not_missed(path: Path):
    file = ConfigFile(path)
    assert file.load().bgp.asn == 65001
    path.write_text("bgp: {asn: 65002}\n")
    told = Told()
    task = asyncio.create_task(file.watch(told.take))
    await told.until(has_asn(65002))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_bad_version_is_told_with_its_reasons_and_a_good_one_follows(path: Path):
    async with following(path) as told:
        path.write_text("bgp: {asn: x, holdTime: 1}\n")
        error = await told.until(is_refused("bgp.asn"))
        assert "bgp.holdTime" in str(error)
        path.write_text("bgp: {asn: 65003}\n")
        await told.until(has_asn(65003))


async def test_a_file_that_is_emptied_or_vanishes_is_refused(path: Path):
    async with following(path) as told:
        path.write_text("\n")
        await told.until(is_refused("is empty; write {} for all defaults"))
        path.unlink()
        await told.until(is_refused("is not there"))
        path.write_text("{}")
        assert await told.until(lambda o: isinstance(o, Config)) == Config()


async def test_sighup_reads_the_file_again_though_it_is_unchanged(path: Path):
    async with following(path) as told:
        os.kill(os.getpid(), signal.SIGHUP)
        await told.until(has_asn(65001))
        os.kill(os.getpid(), signal.SIGHUP)
        await told.until(has_asn(65001), count=2)


async def test_a_sighup_that_comes_with_a_look_at_the_file_is_not_lost():
    """Found by a busy machine: right after the start, the first look and the signal woke the reader together."""
    wake = Wake()
    wake.stir()
    wake.ask()
    wake.stir()
    assert await wake.wait()
    wake.stir()
    assert not await wake.wait()


async def test_a_configmap_that_swaps_its_symbolic_link_is_followed(tmp_path: Path):
    for version, asn in (("v1", 65001), ("v2", 65002)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "kroute.yaml").write_text(f"bgp: {{asn: {asn}}}\n")
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "kroute.yaml").symlink_to("..data/kroute.yaml")
    async with following(tmp_path / "kroute.yaml") as told:
        (tmp_path / "..new").symlink_to("v2")
        (tmp_path / "..new").rename(tmp_path / "..data")
        await told.until(has_asn(65002))
