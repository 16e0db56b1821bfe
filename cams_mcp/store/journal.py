"""Upload jobs and their batches, in the same database: entered before a batch is sent and after.

A job belongs to whoever took it last. A runner that lost its job finds out before its next batch, so that two of them
never send the same people.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cams_mcp.errors import NotConfirmed
from cams_mcp.store.database import Database

BatchState = Literal["sending", "sent", "refused", "unknown"]
JobState = Literal["running", "stopped", "done"]


@dataclass(frozen=True, slots=True)
class Batch:
    """People number `first` (from 0) up to `first + users`, of those that are sent."""

    first: int
    users: int
    state: BatchState
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Job:
    """An upload.

    Attributes:
        path: the file, absolute.
        arguments: what it was called with, to read the file the same way again.
        binding: digest of who uploads which people to which audience, as the guard knows it.
        total: how many people in all.
        write: its number in the ledger.
        batches: in order of their people.
    """

    id: str
    created: float
    path: str
    arguments: Mapping[str, Any]
    binding: str
    total: int
    write: int
    state: JobState
    reason: str
    batches: tuple[Batch, ...]

    @property
    def sent(self) -> int:
        """How many people, from the first on, are known to be applied."""
        sent = 0
        for batch in self.batches:
            if batch.first == sent and batch.state == "sent":
                sent += batch.users
        return sent

    @property
    def ambiguous(self) -> Batch | None:
        """The batch that may or may not have been applied, if there is one."""
        return next((each for each in self.batches if each.first == self.sent and each.state in _AMBIGUOUS), None)


_AMBIGUOUS = ("sending", "unknown")


class Journal:
    """The upload jobs of a database."""

    def __init__(self, database: Database, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now

    def start(self, path: str, arguments: Mapping[str, Any], binding: str, total: int, write: int) -> tuple[str, str]:
        """Enter a new job; returns its id and its owner's key."""
        job, owner = secrets.token_hex(5), secrets.token_hex(8)
        with self._database.transaction() as database:
            row = (job, self._now(), path, json.dumps(dict(arguments)), binding, total, write, owner)
            database.execute(
                "INSERT INTO uploads (id, created, path, arguments, binding, total, write, state, reason, owner) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, 'running', '', ?)",
                row,
            )
        return job, owner

    def take(self, job: str) -> str:
        """Take a job over; returns the new owner's key. Whoever ran it stops before its next batch."""
        owner = secrets.token_hex(8)
        with self._database.transaction() as database:
            database.execute("UPDATE uploads SET owner = ?, state = 'running', reason = '' WHERE id = ?", (owner, job))
        return owner

    def before(self, job: str, owner: str, first: int, users: int) -> None:
        """Enter that a batch is about to be sent.

        Raises:
            NotConfirmed: another process took the job over.
        """
        with self._database.transaction() as database:
            row = database.execute("SELECT owner FROM uploads WHERE id = ?", (job,)).fetchone()
            if row is None or row[0] != owner:
                raise NotConfirmed(
                    "Nothing more was sent: another process took this upload over.", hint="See `cams-mcp uploads`."
                )
            self._drop_from(database, job, first)
            database.execute("INSERT INTO batches VALUES (?, ?, ?, 'sending', NULL)", (job, first, users))

    def after(self, job: str, first: int, state: BatchState, request_id: str | None) -> None:
        """Enter how a batch ended."""
        with self._database.transaction() as database:
            database.execute(
                "UPDATE batches SET state = ?, request_id = ? WHERE upload = ? AND first = ?",
                (state, request_id, job, first),
            )

    def end(self, job: str, owner: str, state: JobState, reason: str) -> None:
        """Enter how a run ended, if the job is still its own."""
        with self._database.transaction() as database:
            database.execute(
                "UPDATE uploads SET state = ?, reason = ? WHERE id = ? AND owner = ?", (state, reason, job, owner)
            )

    def jobs(self) -> list[Job]:
        """All jobs, newest first."""
        if self._database.is_missing:
            return []
        with self._database.transaction() as database:
            rows = database.execute(f"SELECT {_COLUMNS} FROM uploads ORDER BY created DESC, id").fetchall()  # noqa: S608
            return [self._job(database, row) for row in rows]

    def job(self, job: str) -> Job | None:
        with self._database.transaction() as database:
            row = database.execute(f"SELECT {_COLUMNS} FROM uploads WHERE id = ?", (job,)).fetchone()  # noqa: S608
            return self._job(database, row) if row else None

    def _job(self, database: sqlite3.Connection, row: Any) -> Job:
        batches = database.execute(
            "SELECT first, users, state, request_id FROM batches WHERE upload = ? ORDER BY first", (row[0],)
        ).fetchall()
        job, created, path, arguments, binding, total, write, state, reason = row
        return Job(
            id=job,
            created=created,
            path=path,
            arguments=json.loads(arguments),
            binding=binding,
            total=total,
            write=write,
            state=state,
            reason=reason,
            batches=tuple(Batch(*batch) for batch in batches),
        )

    def _drop_from(self, database: sqlite3.Connection, job: str, first: int) -> None:
        """Forget refused attempts: the people from here on are cut anew."""
        database.execute("DELETE FROM batches WHERE upload = ? AND first >= ?", (job, first))


_COLUMNS = "id, created, path, arguments, binding, total, write, state, reason"
