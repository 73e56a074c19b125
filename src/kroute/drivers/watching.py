"""Noticing that files changed. No driver of its own: the config file and the static inventory use it.

By asking the file system several times a second, on purpose: that sees everything (editors that rename, ConfigMaps that
swap a symbolic link, bind mounts, network file systems), where inotify sees some of it on some of them; and it costs a
few microseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

INTERVAL = 0.25
"""Seconds between looks."""

Signature = tuple[tuple[str, int, int, int], ...]
"""Name, inode, size and modification time in ns of each file; different whenever a file is another one."""


def signature(path: Path, patterns: tuple[str, ...] = ("*",)) -> Signature:
    """What a file, or the matching files of a folder, look like from outside; empty where there is nothing."""
    files = sorted({f for p in patterns for f in path.glob(p)}) if path.is_dir() else [path]
    found = []
    for file in files:
        try:
            stat = file.stat()
        except OSError:
            continue
        found.append((str(file), stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return tuple(found)


async def changes(
    path: Path,
    patterns: tuple[str, ...] = ("*",),
    wake: asyncio.Event | None = None,
    seen: Signature | None = None,
) -> AsyncIterator[Signature]:
    """A signature whenever it is another one than before; also, changed or not, when ``wake`` is set."""
    while True:
        now = await asyncio.to_thread(signature, path, patterns)
        if now != seen or (wake is not None and wake.is_set()):
            seen = now
            if wake is not None:
                wake.clear()
            yield now
        if wake is None:
            await asyncio.sleep(INTERVAL)
            continue
        try:
            async with asyncio.timeout(INTERVAL):
                await wake.wait()
        except TimeoutError:
            pass
