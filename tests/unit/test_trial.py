"""A configuration on trial: begun, confirmed, returned from, and found again by a new life."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from kroute.cli.apply import seconds, share
from kroute.codec.config import parse_config
from kroute.codec.trial import Wish, pack, read_wish, unpack, write_wish
from kroute.daemon.trials import FILE, Trials
from kroute.drivers.config_file import ConfigFile
from kroute.model.config import Config
from kroute.model.errors import ConfigError, KrouteError
from kroute.model.trial import Counts, Trial
from kroute.plan.trial import verdict

OLD, NEW = "bgp: {holdTime: 90}\n", "bgp: {holdTime: 9}\n# mine\n"
WELL = Counts(established=4, wanted=4, routes=10)
TRIAL = Trial(
    text=NEW,
    source="new.yaml",
    replaces="",
    began=1000.0,
    until=1300.0,
    min_sessions=0.8,
    min_routes=0.5,
    grace=15.0,
    sessions=4,
    routes=10,
)


def ended(now: float = 1100.0, since: float = 1000.0, **counts: int | bool) -> str:
    return verdict(TRIAL, replace(WELL, **counts), now, since)


def test_a_trial_goes_on_while_all_is_well() -> None:
    assert ended() == ""
    assert ended(now=1299.9) == ""


def test_a_trial_ends_when_its_time_is_over() -> None:
    assert ended(now=1300.0) == "it was not confirmed within 300 s"


def test_a_clock_that_is_set_back_ends_it() -> None:
    assert "not confirmed" in ended(now=900.0)


def test_too_few_sessions_end_it_but_they_may_take_their_time_first() -> None:
    assert ended(now=1010.0, established=0) == ""
    assert ended(established=3) == "sessions fell to 3 of 4 (75 %), below 80 %"
    assert ended(now=1100.0, since=1099.0, established=0) == "", "a new life has just begun"


def test_fewer_sessions_are_enough_where_fewer_are_wanted() -> None:
    assert ended(established=2, wanted=2) == ""
    assert ended(established=1, wanted=2) != ""
    assert ended(established=0, wanted=0) != "", "to want none is not to have all"


def test_too_few_routes_end_it_at_once_but_not_while_they_are_still_coming() -> None:
    assert ended(now=1000.1, routes=4) == "routed prefixes fell to 4 of 10 (40 %), below 50 %"
    assert ended(now=1000.1, routes=4, settled=False) == ""
    assert ended(routes=5) == ""


class Life:
    """One life of a daemon, as far as trials look at it."""

    def __init__(self, folder: Path) -> None:
        self.file = ConfigFile(folder / "kroute.yaml")
        self.now = 1000.0
        self.trials = Trials(self.file, str(folder / "state"), lambda: self.now)
        self.config = self.trials.resume(self.file.load())
        self.well = WELL

    def config_in_force(self) -> Config:
        return self.config

    def put_in_force(self, config: Config) -> None:
        self.config = config

    def counts(self) -> Counts:
        return self.well

    def begins(self, text: str = NEW, confirm: float = 300.0) -> None:
        wish = Wish(
            text=text,
            source="new.yaml",
            confirm=confirm,
            min_sessions=0.8,
            min_routes=0.5,
            grace=15.0,
        )
        asyncio.run(self.trials.begin(wish, self))

    def confirms(self) -> str:
        return asyncio.run(self.trials.confirm())

    def ends(self) -> None:
        """All that it has begun to write is written."""
        self.trials.close()

    @property
    def hold_time(self) -> int:
        return self.config.bgp.hold_time

    def problem(self) -> str:
        return "; ".join(p.reason for p in self.trials.problems())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "kroute.yaml").write_text(OLD)
    return tmp_path


@pytest.fixture
def life(folder: Path) -> Life:
    return Life(folder)


def test_the_watched_file_stays_as_it_is_while_a_candidate_is_on_trial(
    life: Life, folder: Path
) -> None:
    life.begins()
    assert life.hold_time == 9
    assert (folder / "kroute.yaml").read_text() == OLD
    assert life.problem() == (
        "new.yaml is on trial: the configuration before returns in 300 s unless confirmed"
    )


def test_a_confirmed_candidate_becomes_the_file_and_the_one_before_is_kept(
    life: Life, folder: Path
) -> None:
    (folder / "kroute.yaml").chmod(0o640)
    life.begins()
    assert life.confirms() == str(folder / "kroute.yaml.before")
    assert (folder / "kroute.yaml").read_text() == NEW
    assert (folder / "kroute.yaml").stat().st_mode & 0o777 == 0o640
    assert (folder / "kroute.yaml.before").read_text() == OLD
    assert life.problem() == ""
    life.now += 1000
    life.trials.tick(life)
    assert life.hold_time == 9


def test_an_unconfirmed_candidate_goes_and_says_why(life: Life, folder: Path) -> None:
    life.begins()
    life.now += 300
    life.trials.tick(life)
    assert life.hold_time == 90
    assert "new.yaml was rolled back: it was not confirmed within 300 s" in life.problem()
    life.ends()
    assert not (folder / "state" / FILE).exists()


def test_losing_routes_ends_the_trial_at_once(life: Life) -> None:
    life.begins()
    life.trials.tick(life)
    assert life.hold_time == 9
    life.well = replace(WELL, routes=1)
    life.trials.tick(life)
    assert life.hold_time == 90


def test_a_new_life_takes_up_the_trial_with_what_is_left_of_its_time(
    life: Life, folder: Path
) -> None:
    life.begins()
    second = Life(folder)
    second.now = 1250.0
    assert second.hold_time == 9
    assert second.trials.left() == 50
    second.now = 1300.0
    second.trials.tick(second)
    assert second.hold_time == 90


def test_a_new_life_drops_a_trial_whose_time_is_over(life: Life, folder: Path) -> None:
    life.begins(confirm=20.0)
    (folder / "state" / FILE).write_text(
        pack(replace(life.trials.trial, until=999.0))  # type: ignore[type-var]
    )
    second = Life(folder)
    assert second.hold_time == 90
    assert "not confirmed in time, while the daemon was away" in second.problem()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda f: (f / "kroute.yaml").write_text("bgp: {holdTime: 30}"), "has changed meanwhile"),
        (lambda f: (f / "state" / FILE).write_text("{"), "cannot be read"),
    ],
)
def test_a_new_life_believes_the_file_rather_than_a_trial_that_does_not_fit_it(
    life: Life, folder: Path, spoil: object, why: str
) -> None:
    life.begins()
    spoil(folder)  # type: ignore[operator]
    second = Life(folder)
    assert second.hold_time != 9
    assert why in second.problem()
    assert not (folder / "state" / FILE).exists()


def test_a_change_of_the_file_is_newer_than_the_trial(life: Life) -> None:
    life.begins()
    assert not life.trials.file_says(parse_config(OLD)), "it was read again, and says the same"
    assert life.trials.trial is not None
    assert life.trials.file_says(parse_config("bgp: {holdTime: 30}"))
    assert life.trials.trial is None


def test_a_file_that_says_what_the_candidate_says_confirms_it(life: Life) -> None:
    """As where it is a ConfigMap, which only its owner can change."""
    life.begins()
    assert life.trials.file_says(parse_config(NEW))
    life.now += 1000
    life.trials.tick(life)
    assert life.hold_time == 9


def test_a_wrong_candidate_is_refused_with_all_its_errors_before_anything_happens(
    life: Life, folder: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        life.begins("bgp: {asn: 0, holdTime: 1}\nnonsense: 1\n")
    assert len(caught.value.complaints) == 3
    assert life.hold_time == 90
    assert not (folder / "state").exists()


@pytest.mark.parametrize("text", ["", "\n  \n"])
def test_an_empty_candidate_is_refused_as_the_watched_file_would_be(life: Life, text: str) -> None:
    with pytest.raises(ConfigError, match="is empty"):
        life.begins(text)


@pytest.mark.parametrize("text", ["fib: {metric: 7}", "nodeName: n9"])
def test_what_is_read_at_start_only_cannot_be_tried(life: Life, text: str) -> None:
    key = text.partition(":")[0]
    with pytest.raises(ConfigError, match=f"{key}: is read at start only"):
        life.begins(text)


def test_there_is_one_trial_at_a_time_and_nothing_else_to_confirm(life: Life) -> None:
    with pytest.raises(KrouteError, match="nothing is on trial"):
        life.confirms()
    life.begins()
    with pytest.raises(KrouteError, match="is on trial; confirm it or roll it back first"):
        life.begins()


def test_a_trial_that_a_restart_would_forget_is_not_begun(life: Life, folder: Path) -> None:
    (folder / "state").write_text("a file where a folder should be")
    with pytest.raises(KrouteError, match="a restart would forget"):
        life.begins()
    assert life.hold_time == 90


def test_a_file_that_cannot_be_written_leaves_the_trial_on(
    life: Life, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    life.begins()

    def read_only(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("kroute.drivers.config_file.shutil.copy2", read_only)
    with pytest.raises(KrouteError, match=r"Read-only file system\. Write the new configuration"):
        life.confirms()
    assert life.trials.left() == 300


class SlowDisk:
    """Holds up what a life writes until it is let go, and says when it has begun."""

    def __init__(self, life: Life, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.reached, self.gate = threading.Event(), threading.Event()
        owner = life.trials if name == "_remember" else life.file
        write = getattr(owner, name)

        def slowly(what: object) -> object:
            self.reached.set()
            assert self.gate.wait(10)
            return write(what)

        monkeypatch.setattr(owner, name, slowly)

    async def is_busy(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, 10)


WISH = Wish(
    text=NEW, source="new.yaml", confirm=300.0, min_sessions=0.8, min_routes=0.5, grace=15.0
)


async def test_a_slow_disk_does_not_hold_up_the_loop_and_nothing_is_in_force_before_it_is_noted(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(life, monkeypatch, "_remember")
    task = asyncio.create_task(life.trials.begin(WISH, life))
    await disk.is_busy()
    assert (life.hold_time, life.trials.trial) == (90, None)
    disk.gate.set()
    await task
    assert life.hold_time == 9


async def test_a_file_that_changes_while_a_trial_begins_is_the_newer_word(
    life: Life, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(life, monkeypatch, "_remember")
    task = asyncio.create_task(life.trials.begin(WISH, life))
    await disk.is_busy()
    newer = parse_config("bgp: {holdTime: 30}")
    assert life.trials.file_says(newer)
    life.put_in_force(newer)
    disk.gate.set()
    with pytest.raises(KrouteError, match="changed at the same moment"):
        await task
    life.ends()
    assert (life.hold_time, life.trials.trial) == (30, None)
    assert not (folder / "state" / FILE).exists()


async def test_time_that_runs_out_while_the_file_is_written_does_not_undo_the_confirmation(
    life: Life, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await life.trials.begin(WISH, life)
    disk = SlowDisk(life, monkeypatch, "replace")
    task = asyncio.create_task(life.trials.confirm())
    await disk.is_busy()
    life.now += 1000
    life.trials.tick(life)
    late = asyncio.create_task(life.trials.give_up(life))
    disk.gate.set()
    await task
    with pytest.raises(KrouteError, match="nothing is on trial"):
        await late
    assert life.hold_time == 9
    assert (folder / "kroute.yaml").read_text() == NEW


async def test_the_watcher_may_see_the_confirmed_file_before_the_confirmation_is_through(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    await life.trials.begin(WISH, life)
    disk = SlowDisk(life, monkeypatch, "replace")
    task = asyncio.create_task(life.trials.confirm())
    await disk.is_busy()
    assert life.trials.file_says(parse_config(NEW))
    disk.gate.set()
    assert (await task).endswith(".before")
    assert life.hold_time == 9


def test_a_trial_survives_being_written_and_odd_files_are_none() -> None:
    assert unpack(pack(TRIAL)) == TRIAL
    for odd in ("", "[]", "{}", json.dumps({"text": 1}), "[" * 100_000):
        assert unpack(odd) is None


def test_a_request_is_checked() -> None:
    wish = Wish(text=NEW, source="x", confirm=60.0, min_sessions=0.8, min_routes=0.8, grace=15.0)
    assert read_wish(write_wish(wish)) == wish
    for wrong in ({"confirm": 0.0}, {"confirm": 1e9}, {"min_routes": 1.1}, {"grace": 61.0}):
        with pytest.raises(KrouteError):
            read_wish(write_wish(replace(wish, **wrong)))
    with pytest.raises(KrouteError, match="no request"):
        read_wish(b"{}")


def test_times_and_shares_are_read_as_people_write_them() -> None:
    assert [seconds(t) for t in ("90", "90s", "5m", "2h", "1d")] == [90, 90, 300, 7200, 86400]
    assert [share(t) for t in ("80%", "80", "0", "100%")] == [0.8, 0.8, 0, 1]
    for wrong in ("", "5x", "-1", "m"):
        with pytest.raises(Exception, match="expected"):
            seconds(wrong)
    with pytest.raises(Exception, match="expected"):
        share("101%")
