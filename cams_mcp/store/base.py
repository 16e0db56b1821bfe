"""The rules of approvals, the ledger of writes and the audit trail, whatever they are kept in.

Every method is one step: all of it happens or none, and one at a time over all processes and hosts that share the
store. How a step is made whole is the concern of `Store` (SQLite) and `RedisStore`.

Approvals are kept as hashes of their tokens. The ledger and the trail hold ids, counts and salted digests, never an
address.

Each method that begins something first records the end of what nobody else can end any more: of approvals that expired,
and of writes whose process was killed before it recorded their outcome.
"""

from __future__ import annotations

import json
import secrets
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from cams_mcp.confirmation import Channel
from cams_mcp.errors import NotConfirmed, StoreError
from cams_mcp.models import Outcome
from cams_mcp.redaction import scrub
from cams_mcp.store.journal import Journal
from cams_mcp.store.records import (
    RESUME_SECONDS,
    Approval,
    Earlier,
    Event,
    Standing,
    Write,
    audit_entry,
    held,
    salted,
    shown_id,
    token_hash,
)
from cams_mcp.store.rules import append, enter, find_earlier, limit_problem, record_ends, spend
from cams_mcp.store.step import Step

T = TypeVar("T")


class BaseStore(ABC):
    """Safe for several threads and several processes.

    Attributes:
        journal: of upload jobs.
        renew_seconds: how often `renew` must be called while a write is in flight; None for never.
    """

    journal: Journal
    renew_seconds: float | None = None

    def __init__(self) -> None:
        self._late: deque[Callable[[Step], None]] = deque()

    @abstractmethod
    def close(self) -> None:
        """Release files and connections; the next use opens them again."""

    @abstractmethod
    def audit(self, since: float = 0.0) -> list[dict[str, Any]]:
        """The audit trail from a time (seconds since 1970) on, oldest first."""

    @abstractmethod
    def renew(self) -> None:
        """Show other processes that this one is alive."""

    @abstractmethod
    def _run(self, work: Callable[[Step], T]) -> T:
        """Do all of `work` in one step, or nothing of it. It may be run again from its beginning.

        Raises:
            StoreError: what is kept cannot be read or written.
        """

    def digest(self, *parts: Any) -> str:
        """A salted SHA-256 of JSON values, in hexadecimal: equal parts, equal digest, in this store only."""
        return salted(self._run(lambda step: step.salt), json.dumps(parts, sort_keys=True))

    def issue(self, write: Write, channel: Channel, seconds: float, *, replaces: str | None = None) -> str:
        """Open an approval that can be spent once within `seconds`; returns its token. Records the question.

        Args:
            replaces: the token of an approval for the same question, which ends here.
        """
        token = secrets.token_urlsafe(24)
        self._prepare()

        def work(step: Step) -> None:
            replaced = step.take_approval(token_hash(replaces)) if replaces is not None else None
            if replaces is not None and replaced is not None and replaced.binding != write.binding:
                step.put_approval(token_hash(replaces), replaced)  # of another question
            elif replaced is not None:
                step.append("expired", {**replaced.entry, "reason": "the question is asked again"})
            entry = audit_entry(step.salt, write, channel)
            seen = step.last_write(write.digests)
            step.put_approval(
                token_hash(token), Approval(write.binding, channel, step.now, step.now + seconds, seen, entry)
            )
            step.append("asked", entry)

        self._run(work)
        return token

    def begin(
        self,
        write: Write,
        channel: Channel,
        token: str | None,
        *,
        users_per_day: int | None = None,
        hold_seconds: float = 0.0,
        standing: Standing | None = None,
    ) -> int:
        """In one step: use up an approval, check the limits, and enter the write as one whose outcome is unknown.

        One step, so that one approval cannot be spent twice and two writes cannot both fit under a limit.

        Args:
            channel: how the approval must have come.
            token: the approval's; None only where nobody is asked at all.
            users_per_day: how many users may be sent to the audience in 24 hours.
            hold_seconds: without a token, a repetition of the same list within this time is refused.
            standing: what the write resumes, if it is the rest of an upload.

        Returns:
            The write's number in the ledger, for `finish`.

        Raises:
            NotConfirmed: unknown, spent, expired or foreign approval, or over a limit. The approval is gone anyway.
        """
        self._prepare()

        def work(step: Step) -> int | NotConfirmed:
            problem = None
            if token is not None:
                problem = spend(step, write, channel, token)
            elif (earlier := find_earlier(step, write, hold_seconds, standing)) is not None:
                problem = held(earlier, write.effect, resumes=standing is not None)
            return problem or enter(step, write, channel, "approved", users_per_day, standing)

        return self._blocked_or_number(work, write, channel)

    def resume(self, write: Write, standing: Standing, *, users_per_day: int | None = None) -> int | None:
        """In one step: enter the rest of an upload under the approval that it has, if that is still good.

        Returns:
            The write's number in the ledger; None if a person must approve it again, because the approval is older
            than `RESUME_SECONDS` or the same people were sent since.

        Raises:
            NotConfirmed: over the limit.
        """
        self._prepare()

        def work(step: Step) -> int | NotConfirmed | None:
            is_fresh = 0 <= step.now - standing.approved < RESUME_SECONDS
            if not is_fresh or step.overlapping(write, standing.write) is not None:
                return None
            return enter(step, write, "resumed", "resumed", users_per_day, standing)

        return self._blocked_or_number(work, write, "resumed")

    def _blocked_or_number(self, work: Callable[[Step], T | NotConfirmed], write: Write, channel: Channel) -> T:
        def recorded(step: Step) -> T | NotConfirmed:
            outcome = work(step)
            if isinstance(outcome, NotConfirmed):
                append(step, "blocked", write, channel, reason=outcome.message)
            return outcome

        outcome = self._run(recorded)
        if isinstance(outcome, NotConfirmed):
            raise outcome
        return outcome

    def check_limit(self, write: Write, users_per_day: int | None, standing: Standing | None = None) -> None:
        """Raise NotConfirmed if the day's limit forbids the write already now."""
        self._prepare()
        problem = self._run(lambda step: limit_problem(step, write, users_per_day, standing))
        if problem is not None:
            raise problem

    def _prepare(self) -> None:
        """Record what is left to record, in steps of their own: in Redis a step does not see its own changes."""
        self._catch_up()
        self._run(record_ends)

    def _catch_up(self) -> None:
        while self._late:
            self._run(self._late[0])
            self._late.popleft()

    def _catch_up_quietly(self) -> None:
        with suppress(StoreError):  # another process will record what is left as unknown
            self._catch_up()

    def finish(
        self,
        number: int,
        write: Write,
        channel: Channel,
        outcome: Outcome,
        request_id: str | None,
        reason: str | None,
        users: int | None = None,
    ) -> None:
        """Enter how a write ended; `users` is how many were or may have been sent, if not all."""
        event: Event = "failed" if outcome == "refused" else outcome
        reason = scrub(reason) if reason else None

        def work(step: Step) -> None:
            shown = shown_id(step.salt, request_id) if request_id else None
            step.finish(number, outcome, shown, users)
            append(step, event, write, channel, request_id=shown, reason=reason)

        try:
            self._run(work)
        except StoreError:
            # Recorded by the next step, or as unknown by another process once this one has ended.
            self._late.append(work)
            raise

    def decline(self, write: Write, channel: Channel, token: str, reason: str) -> None:
        """Withdraw an approval: the person said no, or can no longer say yes."""

        def work(step: Step) -> None:
            approval = step.take_approval(token_hash(token))
            if approval is not None:
                step.append("declined", {**approval.entry, "client": write.client, "reason": scrub(reason)})

        self._run(work)

    def record(self, event: Event, write: Write, channel: Channel, reason: str | None = None) -> None:
        """Add an entry to the audit trail."""
        self._run(lambda step: append(step, event, write, channel, reason=reason))

    def earlier(self, write: Write, seconds: float, standing: Standing | None = None) -> Earlier | None:
        """The last write of the same list that was or may have been applied in the last `seconds`.

        For the rest of an upload: the last one since the upload stopped, however long ago.
        """
        return self._run(lambda step: find_earlier(step, write, seconds, standing))
