"""Approvals, the ledger of writes and the audit trail, in SQLite.

The audit trail takes new entries only; triggers refuse to change or delete one.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from cams_mcp.models import Outcome
from cams_mcp.store.base import BaseStore, Step
from cams_mcp.store.database import Database
from cams_mcp.store.records import Approval, Earlier, Event
from cams_mcp.store.sqlite_journal import SqliteJournal

T = TypeVar("T")


class Store(BaseStore):
    """Opened at first use. Shared by the processes of one machine.

    Args:
        directory: where the file lives; made with mode 0700, the file with 0600. None keeps everything in memory.
        now: seconds since 1970, UTC.
    """

    def __init__(self, directory: Path | None, now: Callable[[], float] = time.time) -> None:
        self._database = Database(directory)
        self._now = now
        self.journal = SqliteJournal(self._database, now)

    def close(self) -> None:
        self._database.close()

    def audit(self, since: float = 0.0) -> list[dict[str, Any]]:
        """The audit trail from a time (seconds since 1970) on, oldest first. Makes no file where there is none."""
        if self._database.is_missing:
            return []
        with self._database.transaction() as database:
            rows = database.execute(
                "SELECT id, time, event, entry FROM audit WHERE time >= ? ORDER BY id", (since,)
            ).fetchall()
        return [{"id": row[0], "time": row[1], "event": row[2], **json.loads(row[3])} for row in rows]

    def _run(self, work: Callable[[Step], T]) -> T:
        with self._database.transaction() as database:
            return work(_SqliteStep(database, self._database.salt, self._now()))


class _SqliteStep(Step):
    def __init__(self, database: sqlite3.Connection, salt: bytes, now: float) -> None:
        super().__init__(salt, now)
        self._execute = database.execute

    def put_approval(self, key: str, approval: Approval) -> None:
        self._execute("DELETE FROM approvals WHERE expires <= ? OR issued > ?", (self.now, self.now))
        row = (key, approval.binding, approval.channel, approval.issued, approval.expires, approval.seen_write)
        self._execute("INSERT INTO approvals VALUES (?, ?, ?, ?, ?, ?)", row)

    def take_approval(self, key: str) -> Approval | None:
        row = self._execute(
            "SELECT binding, channel, issued, expires, seen_write FROM approvals WHERE token_hash = ?", (key,)
        ).fetchone()
        self._execute("DELETE FROM approvals WHERE token_hash = ?", (key,))
        return Approval(*row) if row else None

    def last_write(self, list_digest: str) -> int:
        row = self._execute(
            "SELECT coalesce(max(id), 0) FROM writes "
            "WHERE list_digest = ? AND list_digest != '' AND outcome != 'refused'",
            (list_digest,),
        ).fetchone()
        return int(row[0])

    def last_write_since(self, list_digest: str, since: float) -> Earlier | None:
        row = self._execute(
            "SELECT started, outcome FROM writes WHERE list_digest = ? AND list_digest != '' "
            "AND outcome != 'refused' AND started > ? ORDER BY id DESC LIMIT 1",
            (list_digest, since),
        ).fetchone()
        return Earlier(*row) if row else None

    def users_since(self, audience: str, since: float) -> int:
        row = self._execute(
            "SELECT coalesce(sum(users), 0) FROM writes WHERE audience = ? AND outcome != 'refused' AND started > ?",
            (audience, since),
        ).fetchone()
        return int(row[0])

    def enter(self, list_digest: str, audience: str, users: int) -> int:
        cursor = self._execute(
            "INSERT INTO writes (list_digest, audience, users, started, outcome) VALUES (?, ?, ?, ?, 'unknown')",
            (list_digest, audience, users, self.now),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def finish(self, number: int, outcome: Outcome, request_id: str | None) -> None:
        self._execute("UPDATE writes SET outcome = ?, request_id = ? WHERE id = ?", (outcome, request_id, number))

    def append(self, event: Event, entry: Mapping[str, Any]) -> None:
        self._execute(
            "INSERT INTO audit (time, event, entry) VALUES (?, ?, ?)",
            (self.now, event, json.dumps(entry, ensure_ascii=False)),
        )
