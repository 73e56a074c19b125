"""libcni's records of what is attached, so that a runtime that goes back to plain CNI can DEL it.

Ours is the store; a record here that is lost is written again by the next start. So no answer waits for it.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from pathlib import Path

from kroute.codec.kni.cni import cache_entry
from kroute.model.kni import Attachment, Wiring

log = logging.getLogger(__name__)

FOLDER = "/var/lib/cni"


class LibcniCache:
    """The folder ``results`` of libcni's cache."""

    def __init__(self, folder: str = FOLDER, *, delay: float = 0.0) -> None:
        """``delay``: seconds by which records are written after their answers, several together; 0 writes at once."""
        self._folder = Path(folder) / "results"
        self._delay = delay
        self._is_made = False
        self._mutex = threading.Lock()
        self._waiting: dict[str, Attachment] = {}
        self._called = threading.Event()
        self._over = threading.Event()
        self._writer: threading.Thread | None = None

    def put(self, attachment: Attachment) -> None:
        """Write the records of an attachment, now or soon."""
        with self._mutex:
            self._waiting[attachment.id] = attachment
            if self._delay and not self._over.is_set():
                self._call_writer()
                return
        self._write_all()

    def remove(self, attachment: Attachment) -> None:
        """Remove the records of an attachment; none comes later."""
        with self._mutex:
            self._waiting.pop(attachment.id, None)
            for wiring in attachment.wirings:
                with suppress(OSError):
                    self._path(attachment, wiring).unlink()

    def has(self, attachment: Attachment) -> bool:
        """Whether the records of an attachment are written."""
        return all(_is_written(self._path(attachment, w)) for w in attachment.wirings)

    def entries(self) -> list[bytes]:
        """All records, whoever wrote them, unread."""
        try:
            return [p.read_bytes() for p in self._folder.iterdir() if p.is_file()]
        except OSError:
            return []

    def close(self) -> None:
        """Write what waits."""
        self._over.set()
        with self._mutex:
            writer, self._writer = self._writer, None
        if writer is not None:
            self._called.set()
            writer.join()
        self._write_all()

    # --- writing ------------------------------------------------------------------------------------------

    def _call_writer(self) -> None:
        """The mutex is held."""
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_soon, name="kni-cache", daemon=True)
            self._writer.start()
        if not self._called.is_set():
            self._called.set()

    def _write_soon(self) -> None:
        while not self._over.is_set():
            self._called.wait()
            self._over.wait(self._delay)
            self._called.clear()
            self._write_all()

    def _write_all(self) -> None:
        for container in list(self._waiting):
            with self._mutex:  # or the record might come after its removal
                attachment = self._waiting.pop(container, None)
                if attachment is not None:
                    self._write(attachment)

    def _write(self, attachment: Attachment) -> None:
        try:
            if not self._is_made:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._is_made = True
            for wiring in attachment.wirings:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
                file = os.open(self._path(attachment, wiring), flags, 0o600)
                try:
                    os.write(file, cache_entry(attachment, wiring))
                finally:
                    os.close(file)
        except OSError as error:
            log.warning("libcni's cache %s: %s", self._folder, error.strerror)

    def _path(self, attachment: Attachment, wiring: Wiring) -> Path:
        return self._folder / f"{wiring.network['name']}-{attachment.id}-{wiring.interface}"


def _is_written(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False
