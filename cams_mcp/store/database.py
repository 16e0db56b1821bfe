"""One SQLite file for all processes of a user: nobody else can read it, it is opened at first use and used in steps."""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from cams_mcp.errors import StoreError

FILE_NAME = "cams-mcp.sqlite3"
BUSY_SECONDS = 10.0
RETRY_SECONDS = 0.02

_CREATING = threading.Lock()

_SCHEMA = """
CREATE TABLE IF NOT EXISTS secret (salt BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS approvals (
    token_hash TEXT PRIMARY KEY,
    binding TEXT NOT NULL,
    channel TEXT NOT NULL,
    issued REAL NOT NULL,
    expires REAL NOT NULL,
    seen_write INTEGER NOT NULL,
    entry TEXT NOT NULL DEFAULT '{}'
);
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
    entry TEXT NOT NULL DEFAULT ''
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
    approved REAL NOT NULL DEFAULT 0
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


_ADDED = {
    "approvals": {"entry": "TEXT NOT NULL DEFAULT '{}'"},
    "writes": {
        "part_digest": "TEXT NOT NULL DEFAULT ''",
        "owner": "TEXT NOT NULL DEFAULT ''",
        "entry": "TEXT NOT NULL DEFAULT ''",
    },
    "uploads": {"approved": "REAL NOT NULL DEFAULT 0"},
}
"""Columns that a file made by cams-mcp 0.1.0 does not have."""


class Database:
    """Safe for several threads and several processes.

    Args:
        directory: where the file lives; made with mode 0700, the file with 0600. None keeps everything in memory.

    Attributes:
        salt: of the digests; valid within a transaction.
    """

    def __init__(self, directory: Path | None) -> None:
        self.salt = b""
        self._directory = directory
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @property
    def is_missing(self) -> bool:
        """Whether there is no file yet."""
        with suppress(OSError):  # a transaction meets it again and tells
            return self._directory is not None and self._stamp() is None
        return False

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """One step, whole or not at all, one at a time over all processes.

        Raises:
            StoreError: the database cannot be opened, read or written.
        """
        with self._lock:
            try:
                database = self._connection = self._current() or self._open()
                database.execute("BEGIN IMMEDIATE")
                try:
                    yield database
                    database.execute("COMMIT")
                except BaseException:
                    # Some errors, a full disk for one, roll back by themselves.
                    if database.in_transaction:
                        database.execute("ROLLBACK")
                    raise
            except (sqlite3.Error, OSError) as error:
                raise StoreError(
                    f"The record of approvals and writes cannot be kept ({error}); no write goes out without it.",
                    hint="Make the state directory writable or choose another with --state-dir. Reading goes on.",
                ) from error

    def _current(self) -> sqlite3.Connection | None:
        """The open database, unless its file was taken away: what is written into that, nobody would ever see."""
        if self._connection is not None and self._directory is not None and self._stamp() != self._file:
            self._connection.close()
            self._connection = None
        return self._connection

    def _stamp(self) -> tuple[int, int] | None:
        """Which file is there now; None if there is none or none can be."""
        assert self._directory is not None
        try:
            found = (self._directory / FILE_NAME).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found.st_dev, found.st_ino

    def _open(self) -> sqlite3.Connection:
        path = ":memory:"
        if self._directory is not None:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = str(self._directory / FILE_NAME)
            _create(path)
        database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self.salt = _prepare(database)
            self._file = self._stamp() if self._directory is not None else None
        except BaseException:
            database.close()
            raise
        return database


def _create(path: str) -> None:
    """Make the file before SQLite does, so that nobody else can ever read it; its side files get the same mode.

    Never opens one that exists: closing it again would drop the locks that SQLite holds on it in this process.
    """
    with _CREATING, suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _prepare(database: sqlite3.Connection) -> bytes:
    """Set up a connection, and the tables if they are not there yet; returns the salt."""
    _write_ahead(database)
    database.execute("PRAGMA synchronous = FULL")
    database.execute("BEGIN IMMEDIATE")
    _add_columns(database)
    for statement in _statements(_SCHEMA):
        database.execute(statement)
    row = database.execute("SELECT salt FROM secret").fetchone()
    salt: bytes = row[0] if row else secrets.token_bytes(32)
    if row is None:
        database.execute("INSERT INTO secret VALUES (?)", (salt,))
    database.execute("COMMIT")
    return salt


def _add_columns(database: sqlite3.Connection) -> None:
    for table, columns in _ADDED.items():
        present = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
        for column, kind in columns.items():
            if present and column not in present:
                database.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")


def _write_ahead(database: sqlite3.Connection) -> None:
    """Switch to write-ahead logging. While another process does the same, SQLite does not wait but fails."""
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(RETRY_SECONDS)
        else:
            return


def _statements(script: str) -> list[str]:
    """Split a script; `executescript` would commit the transaction it runs in."""
    statements: list[str] = []
    held = ""
    for line in script.splitlines(keepends=True):
        held += line
        if sqlite3.complete_statement(held):
            statements.append(held)
            held = ""
    return statements
