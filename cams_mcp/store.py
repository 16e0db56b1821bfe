"""What must outlive a call: approvals, the ledger of writes, the audit trail. One SQLite file for all processes.

Approvals are kept as hashes of their tokens. The ledger and the trail hold ids, counts and salted digests, never an
address. The audit trail takes new entries only; triggers refuse to change or delete one.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cams_mcp.confirmation import Channel
from cams_mcp.errors import NotConfirmed, StoreError
from cams_mcp.redaction import scrub

Outcome = Literal["sent", "refused", "unknown"]
Event = Literal["asked", "approved", "declined", "blocked", "sent", "failed", "unknown"]
"""What the audit trail records of a write. "blocked" is a limit's no, "failed" CAMS's."""

FILE_NAME = "cams-mcp.sqlite3"
DAY_SECONDS = 86_400.0
BUSY_SECONDS = 10.0
RETRY_SECONDS = 0.02

_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_CREATING = threading.Lock()

_SCHEMA = """
CREATE TABLE IF NOT EXISTS secret (salt BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS approvals (
    token_hash TEXT PRIMARY KEY,
    binding TEXT NOT NULL,
    channel TEXT NOT NULL,
    issued REAL NOT NULL,
    expires REAL NOT NULL,
    seen_write INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS writes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    list_digest TEXT NOT NULL,
    audience TEXT NOT NULL,
    users INTEGER NOT NULL,
    started REAL NOT NULL,
    outcome TEXT NOT NULL,
    request_id TEXT
);
CREATE INDEX IF NOT EXISTS writes_by_list ON writes (list_digest);
CREATE INDEX IF NOT EXISTS writes_by_audience ON writes (audience, started);
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


@dataclass(frozen=True, slots=True)
class Write:
    """A write as the store knows it: who, what, how much; no addresses.

    Attributes:
        binding: digest of exactly what may be sent, by whom, to where.
        list_digest: digest of the audience and its list of people, whatever their order; empty without people.
        target: the ids, by argument.
        counts: how many users, e-mails, phones, duplicates.
    """

    operation: str
    principal: str
    client: str
    binding: str
    list_digest: str
    audience: str
    target: Mapping[str, str]
    counts: Mapping[str, int]

    @property
    def users(self) -> int:
        return self.counts["users"]


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier write of the same list to the same audience: when (seconds since 1970, UTC), and how it ended."""

    started: float
    outcome: Outcome


class Store:
    """Opened at first use. Safe for several threads and several processes.

    Args:
        directory: where the file lives; made with mode 0700, the file with 0600. None keeps everything in memory.
        now: seconds since 1970, UTC.
    """

    def __init__(self, directory: Path | None, now: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._now = now
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._salt = b""

    def close(self) -> None:
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def digest(self, *parts: Any) -> str:
        """A salted SHA-256 of JSON values, in hexadecimal: equal parts, equal digest, on this machine only."""
        with self._transaction():
            salt = self._salt
        return _salted(salt, json.dumps(parts, sort_keys=True))

    def issue(self, write: Write, channel: Channel, seconds: float) -> str:
        """Open an approval that is good once, for so long; returns its token. Records that the person is asked."""
        token = secrets.token_urlsafe(24)
        with self._transaction() as database:
            now = self._now()
            database.execute("DELETE FROM approvals WHERE expires <= ? OR issued > ?", (now, now))
            seen = self._last_write_id(database, write.list_digest)
            row = (_hash(token), write.binding, channel, now, now + seconds, seen)
            database.execute("INSERT INTO approvals VALUES (?, ?, ?, ?, ?, ?)", row)
            self._append(database, "asked", write, channel)
        return token

    def begin(self, write: Write, channel: Channel, token: str | None, users_per_day: int | None = None) -> int:
        """In one step: use up an approval, check the day's limit, and enter the write as one whose outcome is unknown.

        One step, so that one approval cannot be spent twice and two writes cannot both fit under the limit.

        Args:
            channel: how the approval must have come.
            token: the approval's; None only where nobody is asked at all.
            users_per_day: how many users may go to the audience in 24 hours.

        Returns:
            The write's number in the ledger, for `finish`.

        Raises:
            NotConfirmed: unknown, spent, expired or foreign approval, or over the limit. The approval is gone anyway.
        """
        with self._transaction() as database:
            problem = self._spend(database, write, channel, token) if token is not None else None
            problem = problem or self._over_limit(database, write, users_per_day)
            if problem is None:
                return self._enter(database, write, channel)
            self._append(database, "blocked", write, channel, reason=problem.message)
        raise problem

    def _spend(self, database: sqlite3.Connection, write: Write, channel: Channel, token: str) -> NotConfirmed | None:
        now = self._now()
        row = database.execute(
            "SELECT binding, channel, issued, expires, seen_write FROM approvals WHERE token_hash = ?", (_hash(token),)
        ).fetchone()
        database.execute("DELETE FROM approvals WHERE token_hash = ?", (_hash(token),))
        if row is None or row[1] != channel or not row[2] <= now < row[3]:
            return NotConfirmed(
                "Nothing was sent: the confirmation is unknown, already used, or older than ten minutes.",
                hint="Call again without confirmation_token to get a new preview or question.",
            )
        if not hmac.compare_digest(row[0], write.binding):
            return NotConfirmed(
                "Nothing was sent: this is not what was confirmed (other arguments, another caller, or another "
                "endpoint or access key), so the confirmation is void.",
                hint="Call again without confirmation_token, with the final arguments, for a new preview or question.",
            )
        if self._last_write_id(database, write.list_digest) > row[4]:
            return NotConfirmed(
                "Nothing was sent: since the question was put, this very list went out to this audience another way.",
                hint="Call again without confirmation_token; the new preview or question tells when.",
            )
        return None

    def _over_limit(self, database: sqlite3.Connection, write: Write, users_per_day: int | None) -> NotConfirmed | None:
        if users_per_day is None:
            return None
        used = self._users_of_the_day(database, write.audience)
        if used + write.users <= users_per_day:
            return None
        return NotConfirmed(
            f"Nothing was sent: this server lets at most {users_per_day:,} users a day go to one audience; "
            f"{used:,} went in the last 24 hours.",
            hint="No argument can lift this. Send fewer users or wait; the operator sets --max-users-per-day.",
        )

    def check_limit(self, write: Write, users_per_day: int | None) -> None:
        """Raise NotConfirmed if the day's limit forbids the write already now."""
        with self._transaction() as database:
            problem = self._over_limit(database, write, users_per_day)
        if problem is not None:
            raise problem

    def _enter(self, database: sqlite3.Connection, write: Write, channel: Channel) -> int:
        cursor = database.execute(
            "INSERT INTO writes (list_digest, audience, users, started, outcome) VALUES (?, ?, ?, ?, 'unknown')",
            (write.list_digest, self._id(write.audience), write.users, self._now()),
        )
        self._append(database, "approved", write, channel)
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def finish(
        self, number: int, write: Write, channel: Channel, outcome: Outcome, request_id: str | None, reason: str | None
    ) -> None:
        """Enter how a write ended."""
        event: Event = "failed" if outcome == "refused" else outcome
        reason = scrub(reason) if reason else None
        with self._transaction() as database:
            request_id = self._id(request_id) if request_id else None
            database.execute(
                "UPDATE writes SET outcome = ?, request_id = ? WHERE id = ?", (outcome, request_id, number)
            )
            self._append(database, event, write, channel, request_id=request_id, reason=reason)

    def decline(self, write: Write, channel: Channel, token: str, reason: str) -> None:
        """Withdraw an approval: the person said no, or cannot say yes any more."""
        with self._transaction() as database:
            database.execute("DELETE FROM approvals WHERE token_hash = ?", (_hash(token),))
            self._append(database, "declined", write, channel, reason=reason)

    def record(self, event: Event, write: Write, channel: Channel, reason: str | None = None) -> None:
        """Add an entry to the audit trail."""
        with self._transaction() as database:
            self._append(database, event, write, channel, reason=reason)

    def earlier(self, list_digest: str, seconds: float) -> Earlier | None:
        """The last write of this list in the last `seconds` that was or may have been applied."""
        with self._transaction() as database:
            row = database.execute(
                "SELECT started, outcome FROM writes WHERE list_digest = ? AND list_digest != '' "
                "AND outcome != 'refused' AND started > ? ORDER BY id DESC LIMIT 1",
                (list_digest, self._now() - seconds),
            ).fetchone()
        return Earlier(*row) if row else None

    def audit(self, since: float = 0.0) -> list[dict[str, Any]]:
        """The audit trail from a time (seconds since 1970) on, oldest first. Makes no file where there is none."""
        with suppress(OSError):  # the transaction meets it again and tells
            if self._directory is not None and self._stamp() is None:
                return []
        with self._transaction() as database:
            rows = database.execute(
                "SELECT id, time, event, entry FROM audit WHERE time >= ? ORDER BY id", (since,)
            ).fetchall()
        return [{"id": row[0], "time": row[1], "event": row[2], **json.loads(row[3])} for row in rows]

    def _users_of_the_day(self, database: sqlite3.Connection, audience: str) -> int:
        row = database.execute(
            "SELECT coalesce(sum(users), 0) FROM writes WHERE audience = ? AND outcome != 'refused' AND started > ?",
            (self._id(audience), self._now() - DAY_SECONDS),
        ).fetchone()
        return int(row[0])

    @staticmethod
    def _last_write_id(database: sqlite3.Connection, list_digest: str) -> int:
        row = database.execute(
            "SELECT coalesce(max(id), 0) FROM writes "
            "WHERE list_digest = ? AND list_digest != '' AND outcome != 'refused'",
            (list_digest,),
        ).fetchone()
        return int(row[0])

    def _append(
        self,
        database: sqlite3.Connection,
        event: Event,
        write: Write,
        channel: Channel,
        *,
        request_id: str | None = None,
        reason: str | None = None,
    ) -> None:
        entry: dict[str, Any] = {
            "operation": write.operation,
            "principal": write.principal,
            "client": write.client,
            "channel": channel,
            "target": {name: self._id(value) for name, value in write.target.items()},
            "counts": dict(write.counts),
            "digest": write.binding,
        }
        entry |= {"request_id": request_id} if request_id else {}
        entry |= {"reason": reason} if reason else {}
        database.execute(
            "INSERT INTO audit (time, event, entry) VALUES (?, ?, ?)",
            (self._now(), event, json.dumps(entry, ensure_ascii=False)),
        )

    def _id(self, text: str) -> str:
        """An id as it is; what does not look like one could be an address, so only its digest is kept."""
        return text if _ID.fullmatch(text) else f"sha256:{_salted(self._salt, text)[:32]}"

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        """One step, whole or not at all, one at a time over all processes.

        Raises:
            StoreError: the database cannot be opened, read or written.
        """
        with self._lock:
            try:
                database = self._database = self._current() or self._open()
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
        if self._database is not None and self._directory is not None and self._stamp() != self._file:
            self._database.close()
            self._database = None
        return self._database

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
            self._salt = _prepare(database)
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
    for statement in _statements(_SCHEMA):
        database.execute(statement)
    row = database.execute("SELECT salt FROM secret").fetchone()
    salt: bytes = row[0] if row else secrets.token_bytes(32)
    if row is None:
        database.execute("INSERT INTO secret VALUES (?)", (salt,))
    database.execute("COMMIT")
    return salt


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


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _salted(salt: bytes, text: str) -> str:
    return hmac.new(salt, text.encode(), hashlib.sha256).hexdigest()
