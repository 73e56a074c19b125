"""The configuration file: read at start, followed live, read again on SIGHUP."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from kroute.codec.config import MAX_SIZE, parse_config
from kroute.drivers.watching import Wake, changes, mark_of, signature
from kroute.model.config import Config
from kroute.model.errors import Complaint, ConfigError, DriverError

EMPTY = "is empty; write {} for all defaults"
"""Why a version is refused that an accident may have emptied."""


class ConfigFile:
    """One configuration file, and its newer versions."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._seen = signature(self.path)
        self._wake = Wake()

    def load(self) -> Config:
        """Read and check it; an empty one is all defaults.

        Raises:
            ConfigError: it cannot be read, or is wrong; all complaints at once.
        """
        return parse_config(self.text(), str(self.path))

    def reload(self) -> None:
        """Have :meth:`watch` read it again, changed or not."""
        self._wake.ask()

    async def watch(self, emit: Callable[[Config | ConfigError], None]) -> None:
        """Tell of each new version, or why it is refused, until cancelled; SIGHUP reads it again."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        try:
            async for _ in changes(self.path, wake=self._wake, seen=self._seen):
                emit(await asyncio.to_thread(self._newer))
        finally:
            loop.remove_signal_handler(signal.SIGHUP)

    def _newer(self) -> Config | ConfigError:
        """The version that is there now. An empty one is refused: files are empty while they are being written."""
        try:
            text = self.text()
            if not text.strip():
                raise self._error(EMPTY)
            return parse_config(text, str(self.path))
        except ConfigError as error:
            return error

    def replace(self, text: str) -> Path:
        """Write a new version in one step, and keep the one before beside it; where that is.

        Raises:
            DriverError: it cannot be written, as where it is mounted read-only.
        """
        path = self.path.resolve()
        kept, draft = path.with_name(path.name + ".before"), path.with_name(f".{path.name}.draft")
        try:
            shutil.copy2(path, kept)
            shutil.copy2(path, draft)  # keeps the mode
            with draft.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise DriverError(f"{self.path} cannot be written: {error.strerror}") from error
        return kept

    def text(self) -> str:
        """What the file says now.

        Raises:
            ConfigError: it cannot be read, or changed while it was read.
        """
        try:
            if not self.path.is_file():
                raise self._error("is no file" if self.path.exists() else "is not there")
            before = mark_of(self.path)
            with self.path.open(encoding="utf-8") as file:
                text = file.read(MAX_SIZE + 1)
            if mark_of(self.path) != before:
                raise self._error("changed while it was read")
        except (OSError, UnicodeDecodeError) as error:
            raise self._error(f"cannot be read: {error}") from error
        return text

    def _error(self, reason: str) -> ConfigError:
        return ConfigError(str(self.path), [Complaint("", reason)])
