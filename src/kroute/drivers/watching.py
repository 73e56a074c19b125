"""Noticing that files changed. No driver of its own: the config file and the static inventory use it.

By asking the file system several times a second, on purpose: that sees everything (editors that rename, ConfigMaps that
swap a symbolic link, bind mounts, network file systems), where inotify sees some of it on some of them; and it costs a
few microseconds.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

INTERVAL = 0.2
"""Seconds between looks."""
SETTLE = 0.05
"""Seconds for which what has changed must stay as it is: files are written in parts, and a part may look whole."""
RECENT = 1_000_000_000
"""Nanoseconds after its last modification until a file counts as settled without another look."""
MOST_LOOKS = 40
"""Looks at what never settles, before it is taken as it is."""

Mark = tuple[int, int, int, int, int]
"""Device, inode, size, times of modification and of status change in ns: another one for another content."""
Signature = tuple[tuple[str, Mark], ...]
"""Name and mark of each file; different whenever a file is another one."""


def mark_of(path: Path) -> Mark:
    """What a file looks like from outside, behind all symbolic links.

    Raises:
        OSError: there is none.
    """
    stat = path.stat()
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def signature(path: Path, patterns: tuple[str, ...] = ("*",)) -> Signature:
    """What a file, or the matching files of a folder, look like from outside; empty where there is nothing."""
    found = []
    with suppress(OSError):
        files = sorted({f for p in patterns for f in path.glob(p)}) if path.is_dir() else [path]
        for file in files:
            with suppress(OSError):
                found.append((str(file), mark_of(file)))
    return tuple(found)


class Wake:
    """Wakes who watches a file: because it looks different, or because somebody asks to hear of it as it is."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._is_asked = False

    def ask(self) -> None:
        """Have it told, changed or not."""
        self._is_asked = True
        self._event.set()

    def stir(self) -> None:
        """Have it looked at."""
        self._event.set()

    async def wait(self) -> bool:
        """Sleep until woken; whether somebody asked meanwhile."""
        await self._event.wait()
        self._event.clear()
        asked, self._is_asked = self._is_asked, False
        return asked


async def changes(
    path: Path,
    patterns: tuple[str, ...] = ("*",),
    wake: Wake | None = None,
    seen: Signature | None = None,
) -> AsyncIterator[Signature]:
    """A signature whenever it is another one than before and has settled; also, changed or not, when asked for."""
    wake = Wake() if wake is None else wake
    looker = _Looker(path, patterns, asyncio.get_running_loop(), wake)
    looker.start()
    try:
        while True:
            asked = await wake.wait()
            now = await asyncio.to_thread(signature, path, patterns)
            if now != seen:
                seen = await _settled(path, patterns, now) if _is_recent(now) else now
                yield seen
            elif asked:
                yield now
    finally:
        looker.stopping.set()


class _Looker(threading.Thread):
    """Looks at the files now and then. In a thread of its own: a look may hang with the file system, and hundreds of
    hops a minute to a pool of threads would be most of what an idle daemon does.
    """

    def __init__(
        self,
        path: Path,
        patterns: tuple[str, ...],
        loop: asyncio.AbstractEventLoop,
        wake: Wake,
    ) -> None:
        super().__init__(name=f"watching {path}", daemon=True)
        self._path, self._patterns = path, patterns
        self._loop, self._wake = loop, wake
        self.stopping = threading.Event()

    def run(self) -> None:
        before: Signature | None = None
        while not self.stopping.is_set():
            now = signature(self._path, self._patterns)
            if now != before:
                before = now
                with suppress(RuntimeError):  # the loop has ended before this thread
                    self._loop.call_soon_threadsafe(self._wake.stir)
            self.stopping.wait(INTERVAL)


def _is_recent(now: Signature) -> bool:
    """Whether somebody may still be writing."""
    return any(time.time_ns() - mark[3] < RECENT for _, mark in now)


async def _settled(path: Path, patterns: tuple[str, ...], before: Signature) -> Signature:
    for _ in range(MOST_LOOKS):
        await asyncio.sleep(SETTLE)
        now = await asyncio.to_thread(signature, path, patterns)
        if now == before:
            break
        before = now
    return before
