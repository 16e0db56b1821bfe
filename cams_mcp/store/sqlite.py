"""Approvals, the ledger of writes and the audit trail, in SQLite.

Approvals are kept as hashes of their tokens. The ledger and the trail hold ids, counts and salted digests, never an
address. The audit trail takes new entries only; triggers refuse to change or delete one.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cams_mcp.confirmation import Channel
from cams_mcp.errors import NotConfirmed
from cams_mcp.models import Outcome
from cams_mcp.redaction import scrub
from cams_mcp.store.database import Database
from cams_mcp.store.journal import Journal
from cams_mcp.store.records import (
    DAY_SECONDS,
    Approval,
    Earlier,
    Event,
    Write,
    audit_entry,
    held,
    no_approval,
    over_limit,
    salted,
    shown_id,
    token_hash,
)


class Store:
    """Opened at first use. Safe for several threads and several processes.

    Args:
        directory: where the file lives; made with mode 0700, the file with 0600. None keeps everything in memory.
        now: seconds since 1970, UTC.
    """

    def __init__(self, directory: Path | None, now: Callable[[], float] = time.time) -> None:
        self._database = Database(directory)
        self._now = now
        self.journal = Journal(self._database, now)

    def close(self) -> None:
        self._database.close()

    def digest(self, *parts: Any) -> str:
        """A salted SHA-256 of JSON values, in hexadecimal: equal parts, equal digest, on this machine only."""
        with self._database.transaction():
            salt = self._database.salt
        return salted(salt, json.dumps(parts, sort_keys=True))

    def issue(self, write: Write, channel: Channel, seconds: float) -> str:
        """Open an approval that is good once, for so long; returns its token. Records that the person is asked."""
        token = secrets.token_urlsafe(24)
        with self._database.transaction() as database:
            now = self._now()
            database.execute("DELETE FROM approvals WHERE expires <= ? OR issued > ?", (now, now))
            seen = self._last_write_id(database, write.list_digest)
            row = (token_hash(token), write.binding, channel, now, now + seconds, seen)
            database.execute("INSERT INTO approvals VALUES (?, ?, ?, ?, ?, ?)", row)
            self._append(database, "asked", write, channel)
        return token

    def begin(
        self,
        write: Write,
        channel: Channel,
        token: str | None,
        *,
        users_per_day: int | None = None,
        hold_seconds: float = 0.0,
    ) -> int:
        """In one step: use up an approval, check the limits, and enter the write as one whose outcome is unknown.

        One step, so that one approval cannot be spent twice and two writes cannot both fit under a limit.

        Args:
            channel: how the approval must have come.
            token: the approval's; None only where nobody is asked at all.
            users_per_day: how many users may go to the audience in 24 hours.
            hold_seconds: without a token, a repetition of the same list within this time is refused.

        Returns:
            The write's number in the ledger, for `finish`.

        Raises:
            NotConfirmed: unknown, spent, expired or foreign approval, or over a limit. The approval is gone anyway.
        """
        with self._database.transaction() as database:
            if token is not None:
                problem = self._spend(database, write, channel, token)
            else:
                earlier = self._earlier(database, write.list_digest, hold_seconds)
                problem = held(earlier) if earlier is not None else None
            problem = problem or over_limit(write, self._users_of_the_day(database, write.audience), users_per_day)
            if problem is None:
                return self._enter(database, write, channel)
            self._append(database, "blocked", write, channel, reason=problem.message)
        raise problem

    def _spend(self, database: sqlite3.Connection, write: Write, channel: Channel, token: str) -> NotConfirmed | None:
        row = database.execute(
            "SELECT binding, channel, issued, expires, seen_write FROM approvals WHERE token_hash = ?",
            (token_hash(token),),
        ).fetchone()
        database.execute("DELETE FROM approvals WHERE token_hash = ?", (token_hash(token),))
        if row is None:
            return no_approval()
        last_write = self._last_write_id(database, write.list_digest)
        return Approval(*row).problem(write, channel, self._now(), last_write)

    def check_limit(self, write: Write, users_per_day: int | None) -> None:
        """Raise NotConfirmed if the day's limit forbids the write already now."""
        with self._database.transaction() as database:
            problem = over_limit(write, self._users_of_the_day(database, write.audience), users_per_day)
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
        with self._database.transaction() as database:
            request_id = self._id(request_id) if request_id else None
            database.execute(
                "UPDATE writes SET outcome = ?, request_id = ? WHERE id = ?", (outcome, request_id, number)
            )
            self._append(database, event, write, channel, request_id=request_id, reason=reason)

    def decline(self, write: Write, channel: Channel, token: str, reason: str) -> None:
        """Withdraw an approval: the person said no, or cannot say yes any more."""
        with self._database.transaction() as database:
            database.execute("DELETE FROM approvals WHERE token_hash = ?", (token_hash(token),))
            self._append(database, "declined", write, channel, reason=reason)

    def record(self, event: Event, write: Write, channel: Channel, reason: str | None = None) -> None:
        """Add an entry to the audit trail."""
        with self._database.transaction() as database:
            self._append(database, event, write, channel, reason=reason)

    def earlier(self, list_digest: str, seconds: float) -> Earlier | None:
        """The last write of this list in the last `seconds` that was or may have been applied."""
        with self._database.transaction() as database:
            return self._earlier(database, list_digest, seconds)

    def _earlier(self, database: sqlite3.Connection, list_digest: str, seconds: float) -> Earlier | None:
        row = database.execute(
            "SELECT started, outcome FROM writes WHERE list_digest = ? AND list_digest != '' "
            "AND outcome != 'refused' AND started > ? ORDER BY id DESC LIMIT 1",
            (list_digest, self._now() - seconds),
        ).fetchone()
        return Earlier(*row) if row else None

    def audit(self, since: float = 0.0) -> list[dict[str, Any]]:
        """The audit trail from a time (seconds since 1970) on, oldest first. Makes no file where there is none."""
        if self._database.is_missing:
            return []
        with self._database.transaction() as database:
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
        entry = audit_entry(self._database.salt, write, channel, request_id, reason)
        database.execute(
            "INSERT INTO audit (time, event, entry) VALUES (?, ?, ?)",
            (self._now(), event, json.dumps(entry, ensure_ascii=False)),
        )

    def _id(self, text: str) -> str:
        return shown_id(self._database.salt, text)
