"""One private SQLite file that all processes of a user share, opened on first use and accessed in transactions.

The file uses a rollback journal, not a write-ahead log. A log would save half a millisecond per step, but it keeps
committed data outside the file. If someone deleted the log under a running server, that process would continue with
the deleted log while the next one would find the approvals unused. With a rollback journal, a committed step is in the
file itself, and between steps no other file matters.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cams_mcp.deadlines import busy, seconds_until, step_deadline
from cams_mcp.store.files import FILE_NAME, identity, make_private_file, record_unavailable
from cams_mcp.store.upgrade import add_columns, end_old_approvals

__all__ = ["FILE_NAME", "Database"]

RETRY_SECONDS = 0.003
"""A constant interval. SQLite's own busy handler backs off, which starves the process that has waited longest."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS secret (salt BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS pending (
    binding TEXT PRIMARY KEY,
    asked REAL NOT NULL,
    expires REAL NOT NULL,
    document TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS pending_keys (hash TEXT PRIMARY KEY, binding TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS writes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    list_digest TEXT NOT NULL,
    audience TEXT NOT NULL,
    users INTEGER NOT NULL,
    started REAL NOT NULL,
    outcome TEXT NOT NULL,
    request_id TEXT,
    part_digest TEXT NOT NULL DEFAULT '',
    owner TEXT NOT NULL DEFAULT '',
    entry TEXT NOT NULL DEFAULT '',
    ended REAL NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS writes_by_list ON writes (list_digest);
CREATE INDEX IF NOT EXISTS writes_by_part ON writes (part_digest) WHERE part_digest != '';
CREATE INDEX IF NOT EXISTS writes_open ON writes (id) WHERE entry != '';
CREATE INDEX IF NOT EXISTS writes_by_audience ON writes (audience, started);
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY,
    created REAL NOT NULL,
    path TEXT NOT NULL,
    arguments TEXT NOT NULL,
    binding TEXT NOT NULL,
    total INTEGER NOT NULL,
    write INTEGER NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    owner TEXT NOT NULL,
    approved REAL NOT NULL DEFAULT 0,
    doubted INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS batches (
    upload TEXT NOT NULL REFERENCES uploads (id),
    first INTEGER NOT NULL,
    users INTEGER NOT NULL,
    state TEXT NOT NULL,
    request_id TEXT,
    PRIMARY KEY (upload, first)
);
CREATE TABLE IF NOT EXISTS audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL,
    event TEXT NOT NULL,
    entry TEXT NOT NULL
);
CREATE TRIGGER IF NOT EXISTS audit_keeps BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS audit_stays BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS audit_grows BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'append only'); END;
"""


_LAST_SEEN = "SELECT *, (SELECT coalesce(max(id), 0) FROM writes) FROM audit ORDER BY id DESC LIMIT 1"
_STILL_THERE = "SELECT *, ? FROM audit WHERE id = ? AND ? <= (SELECT coalesce(max(id), 0) FROM writes)"


class Database:
    """Safe to use from several threads and processes.

    Every step verifies that it works on the record that this object knows: the same file, still containing the last
    audit entry and the last write that this object saw. If the record was replaced, its waiting writes are deleted,
    because they may have been sent in the previous record.

    Args:
        directory: where the file lives, created with mode 0700 and the file with 0600. None keeps everything in memory.

    Attributes:
        salt: for the digests; valid within a transaction.
    """

    def __init__(self, directory: Path | None) -> None:
        self.salt = b""
        self._directory = directory
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._last_entry: tuple[Any, ...] | None = None

    def close(self) -> None:
        with self._lock:
            self._disconnect()

    @property
    def is_missing(self) -> bool:
        """Whether the file does not exist yet."""
        with suppress(OSError):  # a transaction will hit the same error and report it
            return self._directory is not None and identity(self._directory) is None
        return False

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """Run one atomic step. Only one runs at a time across all processes.

        Raises:
            StoreError: the database cannot be opened, read or written, or the step's deadline passed.
        """
        deadline = step_deadline()
        if not self._lock.acquire(timeout=seconds_until(deadline)):
            raise busy()
        try:
            database = self._begin(deadline)
            try:
                yield database
                last_entry = _last_entry(database)
                database.execute("COMMIT")
            except BaseException:
                # SQLite itself rolls back after some errors, such as a full disk.
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
            self._check_kept()
            self._last_entry = last_entry
        except (sqlite3.Error, OSError) as error:
            if _is_busy(error):
                raise busy() from error
            if self._directory is not None:
                self._disconnect()  # the next step reopens the file
            # The message of an OSError contains the path of the state directory.
            problem = error.strerror or type(error).__name__ if isinstance(error, OSError) else error
            raise record_unavailable(problem, "Make the state directory writable") from error
        finally:
            self._lock.release()

    def _begin(self, deadline: float) -> sqlite3.Connection:
        """Start a transaction in the file that currently exists."""
        while True:
            if self._connection is not None and not self._is_in_place():
                self._disconnect()
            database = self._connection = self._connection or self._open(deadline)
            # Drop cached pages. SQLite uses a counter in the file to validate them, but a file that another program
            # overwrote can have the same counter with different contents.
            database.execute("PRAGMA shrink_memory")
            _begin_exclusive(database, deadline)
            # Check again under the lock, because the file may have been replaced during the wait.
            if self._directory is None or (
                self._is_in_place() and _keeps_no_log(database) and self._continues(database)
            ):
                return database
            self._disconnect()
            if not seconds_until(deadline):
                raise busy()

    def _check_kept(self) -> None:
        """Raise StoreError if the step was committed to a file that is no longer in place: no one would ever see it."""
        if not self._is_in_place():
            raise record_unavailable("its file was moved, deleted or replaced during the step", "Try again,")

    def _is_in_place(self) -> bool:
        return self._directory is None or identity(self._directory) == self._file

    def _continues(self, database: sqlite3.Connection) -> bool:
        """Whether the last audit entry that this object saw is in place, and the ledger no shorter: both only grow.

        A write that a person approved at some door is entered into the ledger without an audit entry of its own.
        """
        last = self._last_entry
        return last is None or database.execute(_STILL_THERE, (last[-1], last[0], last[-1])).fetchone() == last

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self, deadline: float) -> sqlite3.Connection:
        path = make_private_file(self._directory) if self._directory is not None else ":memory:"
        found = identity(self._directory) if self._directory is not None else None
        database = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            _retry("PRAGMA journal_mode = DELETE", database, deadline)
            # EXTRA also syncs the directory after the journal is deleted. A journal that reappeared after a power
            # failure would undo the step.
            database.execute("PRAGMA synchronous = EXTRA")
            # Overwrite what is deleted, such as the samples of a write that was decided.
            database.execute("PRAGMA secure_delete = ON")
            _begin_exclusive(database, deadline)
            self.salt = _prepare(database)
            if self._file not in (None, found) or not self._continues(database):
                database.execute("DELETE FROM pending")
                database.execute("DELETE FROM pending_keys")
                self._last_entry = None
            database.execute("COMMIT")
            # If the file was replaced in the meantime, `_begin` notices.
            self._file = found
        except BaseException:
            database.close()
            raise
        return database


def _prepare(database: sqlite3.Connection) -> bytes:
    """Create missing tables and columns. Returns the salt."""
    add_columns(database)
    for statement in _statements(_SCHEMA):
        database.execute(statement)
    end_old_approvals(database)
    row = database.execute("SELECT salt FROM secret").fetchone()
    salt: bytes = row[0] if row else secrets.token_bytes(32)
    if row is None:
        database.execute("INSERT INTO secret VALUES (?)", (salt,))
    return salt


def _begin_exclusive(database: sqlite3.Connection, deadline: float) -> None:
    # Not IMMEDIATE: a reader outside cams-mcp could then delay COMMIT.
    _retry("BEGIN EXCLUSIVE", database, deadline)


def _keeps_no_log(database: sqlite3.Connection) -> bool:
    """False if another program, such as an older cams-mcp, has switched the file to write-ahead logging."""
    return database.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def _retry(statement: str, database: sqlite3.Connection, deadline: float) -> None:
    """Execute a statement, retrying while other processes hold the lock."""
    while True:
        try:
            database.execute(statement)
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or not seconds_until(deadline):
                raise
            time.sleep(RETRY_SECONDS)
        else:
            return


def _last_entry(database: sqlite3.Connection) -> tuple[Any, ...] | None:
    """The last audit entry, and the number of the last write."""
    return database.execute(_LAST_SEEN).fetchone()


def _is_busy(error: Exception) -> bool:
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _statements(script: str) -> list[str]:
    """Split a script into statements. `executescript` would commit the current transaction."""
    statements: list[str] = []
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements
