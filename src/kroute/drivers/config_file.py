"""The configuration file: read at start, followed live, read again on SIGHUP."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

from kroute.codec.config import parse_config
from kroute.drivers.watching import changes, signature
from kroute.model.config import Config
from kroute.model.errors import Complaint, ConfigError


class ConfigFile:
    """One configuration file. A file that is not there is all defaults at start, and an error later."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._seen = signature(self.path)
        self._reload = asyncio.Event()

    def load(self) -> Config:
        """Read and check it.

        Raises:
            ConfigError: it cannot be read, or is wrong; all complaints at once.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ConfigError(str(self.path), [Complaint("", "is not there")]) from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                str(self.path), [Complaint("", f"cannot be read: {error}")]
            ) from error
        return parse_config(text, str(self.path))

    async def watch(self, emit: Callable[[Config | ConfigError], None]) -> None:
        """Tell of each new version, or why it is refused, until cancelled; SIGHUP reads it again."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload.set)
        async for _ in changes(self.path, wake=self._reload, seen=self._seen):
            try:
                outcome: Config | ConfigError = await asyncio.to_thread(self.load)
            except ConfigError as error:
                outcome = error
            emit(outcome)
