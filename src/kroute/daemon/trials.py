"""``kroute apply``: a configuration on trial, watched by the daemon, which needs nobody else to return from it.

The watched file is the operator's, and stays as it is until he confirms. So whatever happens meanwhile, the file says
what a new life of the daemon begins with; the trial itself is a file in ``paths.state``, which a new life takes up
again or drops (docs/adr/0050). A change of the watched file ends the trial: it is the newer word.

Files are read and written in a thread of their own, one after the other, so that a slow disk holds up nothing else and
what was begun last is what a new life finds. Whatever may have happened meanwhile is looked at again afterwards.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

from kroute.codec.config import parse_config
from kroute.codec.config.decode import camel
from kroute.codec.trial import Wish, pack, unpack
from kroute.daemon.control import RESTART_ONLY
from kroute.drivers.config_file import EMPTY, ConfigFile
from kroute.model.config import Config
from kroute.model.errors import Complaint, ConfigError, DriverError, KrouteError
from kroute.model.problem import Problem
from kroute.model.trial import Counts, Trial
from kroute.plan.trial import expected_sessions, verdict

log = logging.getLogger(__name__)

FILE = "trial.json"

T = TypeVar("T")


class Host(Protocol):
    """What a trial asks of the daemon."""

    def config_in_force(self) -> Config:
        """The configuration that is planned with."""

    def put_in_force(self, config: Config) -> None:
        """Plan with this one from now on."""

    def counts(self) -> Counts:
        """How the node fares."""


class Trials:
    """At most one trial at a time. All but :meth:`resume` and :meth:`close` is to be called in the event loop."""

    def __init__(self, file: ConfigFile, state: str, clock: Callable[[], float]) -> None:
        """``clock`` is the wall clock: seconds since 1970."""
        self.trial: Trial | None = None
        self.ended = ""
        """Why the last trial went, in words, until something newer is in force."""
        self._file = file
        self._state = Path(state) / FILE
        self._clock = clock
        self._since = clock()
        self._before: Config | None = None
        self._candidate: Config | None = None
        self._disk = ThreadPoolExecutor(1, "trials")
        self._asked = asyncio.Lock()
        """Held by what people ask for, from beginning to end: it waits for the disk on the way."""
        self._confirming = False

    async def _on_disk(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)

    def close(self) -> None:
        """Wait until all that was begun is on the disk."""
        self._disk.shutdown()

    # --- a new life -----------------------------------------------------------------------------------

    def resume(self, config: Config) -> Config:
        """The configuration that a new life begins with, given the file's: the one on trial while that goes on."""
        try:
            trial = unpack(self._state.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            return config
        why = self._obsolete(trial)
        if trial is None or why:
            self._drop(why)
            return config
        self.trial, self._before = trial, config
        self._candidate = parse_config(trial.text, trial.source)
        log.warning("on trial again for %d s: %s", trial.until - self._clock(), trial.source)
        return self._candidate

    def _obsolete(self, trial: Trial | None) -> str:
        """Why a trial that an earlier life left is not taken up; empty where it is."""
        if trial is None:
            return "what was left of it cannot be read"
        if self._clock() >= trial.until or self._clock() < trial.began - 60:
            return "it was not confirmed in time, while the daemon was away"
        try:
            if digest(self._file.text()) != trial.replaces:
                return f"{self._file.path} has changed meanwhile"
            parse_config(trial.text, trial.source)
        except ConfigError as error:
            return f"it is not understood any more: {error}"
        return ""

    # --- begin and end --------------------------------------------------------------------------------

    async def begin(self, wish: Wish, host: Host) -> None:
        """Put a candidate in force.

        Raises:
            ConfigError: it is wrong; all complaints at once.
            KrouteError: it cannot be tried now, and why.
        """
        async with self._asked:
            if self.trial is not None:
                words = f"{self.trial.source} is on trial; confirm it or roll it back first"
                raise KrouteError(words)
            await self._begin(wish, host)

    async def _begin(self, wish: Wish, host: Host) -> None:
        if not wish.text.strip():
            raise ConfigError(wish.source, [Complaint("", EMPTY)])
        candidate = await self._on_disk(lambda: parse_config(wish.text, wish.source))
        before = host.config_in_force()
        fixed = [p for p in RESTART_ONLY if getattr(candidate, p) != getattr(before, p)]
        if fixed:
            reason = "is read at start only: no trial can put it in force"
            raise ConfigError(wish.source, [Complaint(camel(part), reason) for part in fixed])
        replaces = digest(await self._on_disk(self._file.text))
        now, counts = self._clock(), host.counts()
        trial = Trial(
            text=wish.text,
            source=wish.source,
            replaces=replaces,
            began=now,
            until=now + wish.confirm,
            min_sessions=wish.min_sessions,
            min_routes=wish.min_routes,
            grace=wish.grace,
            sessions=counts.established,
            routes=counts.routes,
        )
        await self._on_disk(lambda: self._remember(trial))
        if host.config_in_force() != before:
            self._disk.submit(self._forget)
            raise KrouteError(
                "the configuration changed at the same moment; look at it and ask again"
            )
        self.trial, self._before, self._candidate = trial, before, candidate
        self._since, self.ended = now, ""
        log.warning("on trial for %d s: %s", wish.confirm, wish.source)
        host.put_in_force(candidate)

    async def confirm(self) -> str:
        """The candidate becomes the watched file; where the one before is kept.

        Raises:
            KrouteError: nothing is on trial, or the file cannot be written.
        """
        async with self._asked:
            trial, self._confirming = self._pending(), True
            try:
                kept = await self._on_disk(lambda: self._file.replace(trial.text))
            except DriverError as error:
                raise KrouteError(
                    f"{error}. Write the new configuration there yourself, which confirms it; "
                    f"it stays on trial for {self.left()} s"
                ) from error
            finally:
                self._confirming = False
            if self.trial is trial:  # else the watched file has been read meanwhile, and said so
                self._finish("confirmed")
        return str(kept)

    async def give_up(self, host: Host) -> None:
        """Somebody asks to return to the configuration before.

        Raises:
            KrouteError: nothing is on trial.
        """
        async with self._asked:
            self.roll_back("asked for", host)

    def roll_back(self, why: str, host: Host) -> None:
        """Return to the configuration before.

        Raises:
            KrouteError: nothing is on trial.
        """
        trial, before = self._pending(), self._before
        assert before is not None
        self._finish(f"rolled back: {why}")
        self.ended = f"{trial.source} was rolled back: {why}"
        host.put_in_force(before)

    def tick(self, host: Host) -> None:
        """Time passes: a trial may have to end. One that is being confirmed does not: the file is being written."""
        if self.trial is None or self._confirming:
            return
        why = verdict(self.trial, host.counts(), self._clock(), self._since)
        if why:
            self.roll_back(why, host)

    def file_says(self, config: Config) -> bool:
        """The watched file has a new version; whether it is to be put in force."""
        if self.trial is not None:
            if config == self._before:
                return False
            same = config == self._candidate
            self._finish("confirmed by the file" if same else "the file has changed, and counts")
        self.ended = ""
        return True

    # --- what it says ---------------------------------------------------------------------------------

    def left(self) -> int:
        """Seconds until the trial ends by itself; 0 where there is none."""
        return max(0, round(self.trial.until - self._clock())) if self.trial is not None else 0

    def state(self, host: Host) -> dict[str, Any]:
        """The trial for people and programs; empty where there is none."""
        if self.trial is None:
            return {}
        counts = host.counts()
        return {
            "source": self.trial.source,
            "remaining": self.left(),
            "sessions": counts.established,
            "sessionsExpected": expected_sessions(self.trial, counts),
            "routes": counts.routes,
            "routesBefore": self.trial.routes,
            "minSessions": self.trial.min_sessions,
            "minRoutes": self.trial.min_routes,
        }

    def problems(self) -> tuple[Problem, ...]:
        """That something is on trial, or has just been rolled back."""
        if self.trial is not None:
            words = f"{self.trial.source} is on trial: the configuration before returns in {self.left()} s"
            return (Problem(object="config", field="trial", reason=f"{words} unless confirmed"),)
        if self.ended:
            words = f"{self.ended}; the configuration before is in force"
            return (Problem(object="config", field="trial", reason=words),)
        return ()

    # --- its file -------------------------------------------------------------------------------------

    def _pending(self) -> Trial:
        if self.trial is None:
            raise KrouteError("nothing is on trial" + (f": {self.ended}" if self.ended else ""))
        return self.trial

    def _remember(self, trial: Trial) -> None:
        """Write the trial down before it begins, where a new life finds it.

        Raises:
            KrouteError: it cannot be written, so a restart would forget it.
        """
        draft = self._state.with_suffix(".draft")
        try:
            self._state.parent.mkdir(parents=True, exist_ok=True)
            draft.touch(mode=0o600)
            with draft.open("w", encoding="utf-8") as file:
                file.write(pack(trial))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._state)
        except OSError as error:
            raise KrouteError(
                f"{self._state}: {error.strerror}; a trial that a restart would forget is not begun"
            ) from error

    def _finish(self, words: str) -> None:
        log.warning("trial ended: %s", words)
        self.trial = self._before = self._candidate = None
        self._disk.submit(self._forget)

    def _drop(self, why: str) -> None:
        """A trial of an earlier life is not taken up."""
        log.warning("trial of an earlier life dropped: %s", why)
        self.ended = f"the configuration on trial was dropped: {why}"
        self._forget()

    def _forget(self) -> None:
        try:
            self._state.unlink(missing_ok=True)
        except OSError as error:
            log.error("%s: %s; a restart would begin the trial again", self._state, error.strerror)


def digest(text: str) -> str:
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
