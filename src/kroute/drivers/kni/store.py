"""What is attached, in one SQLite file that survives the daemon; every answer comes after its record.

WAL, with a schema version. Writers that come together share one transaction. An acknowledged attachment is synced to
disk; intents and removals need only survive the daemon, since after a power cut neither namespaces nor interfaces exist
and the record is recognised by its boot id. So SQLite does not sync (``synchronous=NORMAL``); who needs it syncs the
log afterwards, again one for all who wait, while others write.

Reading never touches the disk: the records are few and live in memory as well.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from kroute.codec.kni import record
from kroute.drivers.kni.together import Together
from kroute.model.errors import DriverError
from kroute.model.kni import Attachment, Domain, KniError, Refusal

log = logging.getLogger(__name__)

FILE = "kni.sqlite"
"""Its name in the daemon's state folder."""
VERSION = 1
"""Of the schema (``PRAGMA user_version``)."""
_SCHEMA = """
CREATE TABLE attachments (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE domains (path TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
"""
_PATIENCE = 5.0
"""Seconds to wait for another process that holds the file, such as a backup."""

_Statement = tuple[str, tuple[str, ...]]


class _Write:
    """One caller's statements, and what became of them."""

    def __init__(self, statements: Sequence[_Statement]) -> None:
        self.statements = statements
        self.error: sqlite3.Error | OSError | None = None


class Store:
    """Attachments by id and namespaces by path."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. One that is no database is set aside as ``*.corrupt-SECONDS``.

        Raises:
            DriverError: the folder cannot be written, or the file was made by a newer kroute.
        """
        self.path = path
        self.set_aside: Path | None = None
        """Where a damaged file went."""
        self.is_new = False
        """It was made just now, for the first time or because it was damaged or lost: whoever opened it rebuilds it."""
        self.fault = ""
        """Why the last write failed; empty while writes succeed."""
        self.attachments: dict[str, Attachment] = {}
        self.domains: dict[str, Domain] = {}
        self._using = threading.Lock()
        self._commits = Together(self._commit)
        self._syncs = Together(self._sync)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = self._open_or_replace()
        except (OSError, sqlite3.Error) as error:
            raise DriverError(
                f"{path}: the store of attachments cannot be opened: {error}"
            ) from error

    def put(self, *attachments: Attachment, synced: bool) -> None:
        """Write records, all or none; on disk when this returns if ``synced``.

        Raises:
            KniError: they cannot be written; what was there before is still there.
        """
        put = "REPLACE INTO attachments VALUES (?, ?)"
        self._write([(put, (each.id, record.write(each))) for each in attachments], synced)
        self.attachments.update((each.id, each) for each in attachments)

    def remove(self, *containers: str) -> None:
        """Forget attachments, all or none; an unknown one is no error.

        Raises:
            KniError: it cannot be written.
        """
        delete = "DELETE FROM attachments WHERE id = ?"
        self._write([(delete, (container,)) for container in containers], False)
        for container in containers:
            self.attachments.pop(container, None)

    def put_domain(self, domain: Domain, *, synced: bool = True) -> None:
        """Remember a namespace; on disk when this returns if ``synced``.

        Raises:
            KniError: it cannot be written.
        """
        text = record.write_domain(domain)
        self._write([("REPLACE INTO domains VALUES (?, ?)", (domain.path, text))], synced)
        self.domains[domain.path] = domain

    def remove_domain(self, path: str) -> None:
        """Forget a namespace; an unknown one is no error.

        Raises:
            KniError: it cannot be written.
        """
        self._write([("DELETE FROM domains WHERE path = ?", (path,))], False)
        self.domains.pop(path, None)

    def close(self) -> None:
        """Fold the log into the file and close; safe to call twice."""
        with self._using, suppress(sqlite3.Error):
            self._db.close()

    # --- writing ------------------------------------------------------------------------------------------

    def _write(self, statements: Sequence[_Statement], synced: bool) -> None:
        if not statements:
            return
        write = _Write(statements)
        self._commits.do(write)
        if synced and write.error is None:
            self._syncs.do(write)
        if write.error is not None:
            raise KniError(
                Refusal.UNAVAILABLE,
                f"{self.path}: {write.error}; nothing is attached or detached until it can be written",
            ) from write.error

    def _commit(self, batch: list[_Write], _pass_on: Callable[[], None]) -> None:
        error: sqlite3.Error | None = None
        try:
            with self._using:
                self._transact(batch)
        except sqlite3.Error as caught:
            error = caught
        self._judge(error)
        for write in batch:
            write.error = error

    def _transact(self, batch: list[_Write]) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for write in batch:
                for statement, values in write.statements:
                    self._db.execute(statement, values)
            self._db.execute("COMMIT")
        except sqlite3.Error:
            with suppress(sqlite3.Error):  # a commit that failed may have ended the transaction
                self._db.execute("ROLLBACK")
            raise

    def _sync(self, batch: list[_Write], _pass_on: Callable[[], None]) -> None:
        """Put the log on disk, with what these callers have committed."""
        try:
            _sync_file(f"{self.path}-wal")
        except OSError as error:
            self._judge(error)
            for write in batch:
                write.error = error

    def _judge(self, error: Exception | None) -> None:
        if error is not None:
            log.error("%s cannot be written: %s", self.path, error)
        self.fault = (
            f"the store of attachments {self.path} cannot be written: {error}" if error else ""
        )

    # --- opening ------------------------------------------------------------------------------------------

    def _open_or_replace(self) -> sqlite3.Connection:
        try:
            return self._open()
        except (sqlite3.DatabaseError, record.Unreadable) as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self.set_aside = self.path.with_name(f"{self.path.name}.corrupt-{int(time.time())}")
            log.error("%s is damaged (%s): set aside as %s", self.path, error, self.set_aside)
            self.path.replace(self.set_aside)
            for tail in ("-wal", "-shm"):
                self.path.with_name(self.path.name + tail).unlink(missing_ok=True)
            self.attachments.clear()
            self.domains.clear()
            return self._open()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )
        try:
            self.path.chmod(0o600)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            self._migrate(db)
            _check(db)
            for (text,) in db.execute("SELECT record FROM attachments"):
                attachment = record.read(text)
                self.attachments[attachment.id] = attachment
            for (text,) in db.execute("SELECT record FROM domains"):
                domain = record.read_domain(text)
                self.domains[domain.path] = domain
            _sync_file(str(self.path.parent))  # the names of file and log
        except BaseException:
            db.close()
            raise
        return db

    def _migrate(self, db: sqlite3.Connection) -> None:
        (found,) = db.execute("PRAGMA user_version").fetchone()
        if found > VERSION:
            raise DriverError(
                f"{self.path} was written by a newer kroute (schema {found}, this one knows {VERSION})"
            )
        self.is_new = found == 0
        if found < VERSION:
            db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")


def _sync_file(path: str) -> None:
    """Put on disk what has been written to a file or folder, by whichever descriptor."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fdatasync(file)
    finally:
        os.close(file)


def _check(db: sqlite3.Connection) -> None:
    if db.execute("PRAGMA quick_check").fetchone() != ("ok",):
        raise sqlite3.DatabaseError("quick_check finds damage")
