"""The SQLite journal: upload jobs and their batches."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping
from typing import Any

from cams_mcp.store.database import Database
from cams_mcp.store.journal import Batch, BatchState, Job, JobState, Journal, progressed, taken_over


class SqliteJournal(Journal):
    """Upload jobs in the store's SQLite file."""

    def __init__(self, database: Database, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now

    def start(self, path: str, arguments: Mapping[str, Any], binding: str, total: int, write: int) -> tuple[str, str]:
        job, owner = secrets.token_hex(5), secrets.token_hex(8)
        with self._database.transaction() as database:
            now = self._now()
            row = (job, now, path, json.dumps(dict(arguments)), binding, total, write, owner, now)
            database.execute(
                "INSERT INTO uploads "
                "(id, created, path, arguments, binding, total, write, state, reason, owner, approved) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, 'running', '', ?, ?)",
                row,
            )
        return job, owner

    def take(self, job: str, position: tuple[int, int], write: int, *, approved: bool) -> str:
        owner = secrets.token_hex(8)
        with self._database.transaction() as database:
            found = self._find(database, job)
            if found is None or not found.is_at(position):
                raise progressed()
            since = self._now() if approved else found.approved
            database.execute(
                "UPDATE uploads SET owner = ?, state = 'running', reason = '', write = ?, approved = ? WHERE id = ?",
                (owner, write, since, job),
            )
        return owner

    def before(self, job: str, owner: str, first: int, count: int) -> None:
        with self._database.transaction() as database:
            row = database.execute("SELECT owner FROM uploads WHERE id = ?", (job,)).fetchone()
            if row is None or row[0] != owner:
                raise taken_over()
            database.execute(
                "UPDATE uploads SET doubted = max(doubted, (SELECT coalesce(max(first + users), 0) FROM batches "
                "WHERE upload = uploads.id AND first >= ? AND state IN ('sending', 'unknown'))) WHERE id = ?",
                (first, job),
            )
            database.execute("DELETE FROM batches WHERE upload = ? AND first >= ?", (job, first))
            database.execute("INSERT INTO batches VALUES (?, ?, ?, 'sending', NULL)", (job, first, count))

    def after(self, job: str, owner: str, first: int, state: BatchState, request_id: str | None) -> None:
        with self._database.transaction() as database:
            database.execute(
                "UPDATE batches SET state = ?, request_id = ? WHERE upload = ? AND first = ? "
                "AND EXISTS (SELECT 1 FROM uploads WHERE id = batches.upload AND owner = ?)",
                (state, request_id, job, first, owner),
            )

    def end(self, job: str, owner: str, state: JobState, reason: str) -> None:
        with self._database.transaction() as database:
            database.execute(
                "UPDATE uploads SET state = ?, reason = ? WHERE id = ? AND owner = ?", (state, reason, job, owner)
            )

    def jobs(self) -> list[Job]:
        if self._database.is_missing:
            return []
        with self._database.transaction() as database:
            rows = database.execute(f"SELECT {_COLUMNS} FROM uploads ORDER BY created DESC, id").fetchall()
            return [self._job(database, row) for row in rows]

    def job(self, job: str) -> Job | None:
        with self._database.transaction() as database:
            return self._find(database, job)

    def _find(self, database: sqlite3.Connection, job: str) -> Job | None:
        row = database.execute(f"SELECT {_COLUMNS} FROM uploads WHERE id = ?", (job,)).fetchone()
        return self._job(database, row) if row else None

    def _job(self, database: sqlite3.Connection, row: Any) -> Job:
        batches = database.execute(
            "SELECT first, users, state, request_id FROM batches WHERE upload = ? ORDER BY first", (row[0],)
        ).fetchall()
        job, created, path, arguments, binding, total, write, approved, doubted, state, reason = row
        return Job(
            id=job,
            created=created,
            path=path,
            arguments=json.loads(arguments),
            binding=binding,
            total=total,
            write=write,
            approved=approved,
            doubted=doubted,
            state=state,
            reason=reason,
            batches=tuple(Batch(*batch) for batch in batches),
        )


_COLUMNS = "id, created, path, arguments, binding, total, write, approved, doubted, state, reason"
