"""The SQLite store: approvals, the ledger of writes and the audit trail.

The audit trail is append-only: triggers reject updates and deletions.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cams_mcp.models import Outcome
from cams_mcp.store.base import BaseStore
from cams_mcp.store.database import Database
from cams_mcp.store.pending import Pending
from cams_mcp.store.presence import Presence
from cams_mcp.store.records import Earlier, Event, Write
from cams_mcp.store.rules import record_ends
from cams_mcp.store.sqlite_journal import SqliteJournal
from cams_mcp.store.step import Entry, Step

T = TypeVar("T")


class Store(BaseStore):
    """Shared by the processes on one machine. Opened on first use.

    Args:
        directory: where the file lives, created with mode 0700 and the file with 0600. None keeps everything in memory.
        now: seconds since 1970, UTC.
    """

    def __init__(self, directory: Path | None, now: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._database = Database(directory)
        self._presence = Presence(directory)
        self._now = now
        self.journal = SqliteJournal(self._database, now)

    def close(self) -> None:
        self._try_catch_up()
        self._database.close()
        self._presence.close()

    def audit(self, since: float = 0.0) -> list[dict[str, Any]]:
        """The audit trail since a time (seconds since 1970), oldest first. Does not create a missing file."""
        if self._database.is_missing:
            return []
        with self._database.transaction() as database:
            record_ends(self._step(database))
            rows = database.execute(
                "SELECT id, time, event, entry FROM audit WHERE time >= ? ORDER BY id", (since,)
            ).fetchall()
        return [{"id": row[0], "time": row[1], "event": row[2], **json.loads(row[3])} for row in rows]

    def renew(self) -> None:
        """Do nothing: the operating system knows which processes are alive."""

    def _run(self, work: Callable[[Step], T]) -> T:
        with self._database.transaction() as database:
            return work(self._step(database))

    def _step(self, database: sqlite3.Connection) -> Step:
        return _SqliteStep(database, self._presence, self._database.salt, self._now())


class _SqliteStep(Step):
    def __init__(self, database: sqlite3.Connection, presence: Presence, salt: bytes, now: float) -> None:
        super().__init__(salt, now)
        self._execute = database.execute
        self._presence = presence

    def put_pending(self, pending: Pending) -> None:
        self.drop_pending(pending)
        document = json.dumps(pending.to_json(), ensure_ascii=False)
        self._execute(
            "INSERT INTO pending VALUES (?, ?, ?, ?)", (pending.binding, pending.asked, pending.expires, document)
        )
        for key in pending.keys:
            self._execute("INSERT INTO pending_keys VALUES (?, ?)", (key.hash, pending.binding))

    def drop_pending(self, pending: Pending) -> None:
        self._execute("DELETE FROM pending WHERE binding = ?", (pending.binding,))
        self._execute("DELETE FROM pending_keys WHERE binding = ?", (pending.binding,))

    def pending_of(self, binding: str) -> Pending | None:
        return _one(self._execute("SELECT document FROM pending WHERE binding = ?", (binding,)).fetchall())

    def pending_with_key(self, hashed: str) -> Pending | None:
        return _one(
            self._execute(
                "SELECT document FROM pending WHERE binding = (SELECT binding FROM pending_keys WHERE hash = ?)",
                (hashed,),
            ).fetchall()
        )

    def all_pending(self) -> list[Pending]:
        return _pending(self._execute("SELECT document FROM pending ORDER BY asked, binding").fetchall())

    def take_expired(self) -> list[Pending]:
        rows = self._execute("SELECT document FROM pending WHERE expires <= ? OR asked > ?", (self.now, self.now))
        expired = _pending(rows.fetchall())
        for each in expired:
            self.drop_pending(each)
        return expired

    def last_write(self, digests: Sequence[str]) -> int:
        row = self._execute(
            f"SELECT coalesce(max(id), 0) FROM writes WHERE {_of_lists(digests)}",
            (*digests, *digests),
        ).fetchone()
        return int(row[0])

    def earlier(self, digests: Sequence[str], since: float) -> Earlier | None:
        row = self._execute(
            f"SELECT started, outcome FROM writes WHERE {_of_lists(digests)} AND started > ? ORDER BY id DESC LIMIT 1",
            (*digests, *digests, since),
        ).fetchone()
        return Earlier(*row) if row else None

    def overlapping(self, write: Write, number: int) -> Earlier | None:
        rests = self._execute(
            "SELECT DISTINCT part_digest FROM writes WHERE list_digest = ? AND part_digest != ''", (write.list_digest,)
        ).fetchall()
        digests = [*write.digests, *(row[0] for row in rests)]
        row = self._execute(
            f"SELECT started, outcome FROM writes WHERE {_of_lists(digests)} AND id != ? "
            "AND (id > ? OR entry != '' OR ended > (SELECT started FROM writes WHERE id = ?)) ORDER BY id DESC LIMIT 1",
            (*digests, *digests, number, number, number),
        ).fetchone()
        return Earlier(*row) if row else None

    def sent_since(self, target_id: str, since: float) -> int:
        row = self._execute(
            "SELECT coalesce(sum(users), 0) FROM writes WHERE audience = ? AND outcome != 'refused' AND started > ?",
            (target_id, since),
        ).fetchone()
        return int(row[0])

    def enter(self, write: Write, target_id: str, entry: Entry) -> int:
        cursor = self._execute(
            "INSERT INTO writes (list_digest, part_digest, audience, users, started, outcome, owner, entry) "
            "VALUES (?, ?, ?, ?, ?, 'unknown', ?, ?)",
            (
                *(write.list_digest, write.part_digest, target_id, write.amount, self.now),
                *(self._presence.name, json.dumps(entry)),
            ),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def finish(self, number: int, outcome: Outcome, request_id: str | None, amount: int | None) -> None:
        self._execute(
            "UPDATE writes SET outcome = ?, request_id = ?, users = coalesce(?, users), owner = iif(?, '', owner), "
            "entry = '', ended = ? WHERE id = ?",
            (outcome, request_id, amount, outcome != "unknown" or amount is not None, self.now, number),
        )

    def take_abandoned(self) -> list[tuple[int, Entry]]:
        rows = self._execute("SELECT id, owner, entry FROM writes WHERE entry != ''").fetchall()
        abandoned = [row for row in rows if not self._presence.is_alive(row[1])]
        for number, _, _ in abandoned:
            self._execute("UPDATE writes SET entry = '', ended = ? WHERE id = ?", (self.now, number))
        return [(number, json.loads(entry)) for number, _, entry in abandoned]

    def may_release(self, number: int) -> bool:
        row = self._execute("SELECT 1 FROM writes WHERE id = ? AND owner != '' AND entry = ''", (number,)).fetchone()
        return row is not None

    def release(self, number: int, amount: int) -> None:
        self._execute(
            "UPDATE writes SET users = max(0, users - ?), owner = '' WHERE id = ? AND owner != '' AND entry = ''",
            (amount, number),
        )

    def append(self, event: Event, entry: Entry) -> None:
        self._execute(
            "INSERT INTO audit (time, event, entry) VALUES (?, ?, ?)",
            (self.now, event, json.dumps(entry, ensure_ascii=False)),
        )


def _pending(rows: list[tuple[str]]) -> list[Pending]:
    return [Pending.from_json(json.loads(row[0])) for row in rows]


def _one(rows: list[tuple[str]]) -> Pending | None:
    return next(iter(_pending(rows)), None)


def _of_lists(digests: Sequence[str]) -> str:
    """SQL condition: writes of these lists that were or may have been applied."""
    marks = ", ".join("?" * len(digests))
    return f"(list_digest IN ({marks}) OR part_digest IN ({marks})) AND outcome != 'refused'"
