"""The interface of the store: approvals, the ledger of writes and the audit trail, independent of the backend.

Every method is one step. A step is atomic, and steps run one at a time across all processes and hosts that share the
store. `Store` (SQLite) and `RedisStore` implement steps.

The store identifies approvals by a hash of their token. The ledger and the audit trail hold ids, counts and salted
digests, never an e-mail address or a phone number.

Methods that begin something first record endings that no other process will record: approvals that expired, and
writes whose process was killed before it recorded their outcome.
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
    """Safe to use from several threads and processes.

    Attributes:
        journal: the upload jobs.
        renew_seconds: how often to call `renew` while a write is in flight; None for never.
    """

    journal: Journal
    renew_seconds: float | None = None

    def __init__(self) -> None:
        self._unrecorded: deque[Callable[[Step], None]] = deque()

    @abstractmethod
    def close(self) -> None:
        """Release files and connections. The next use reopens them."""

    @abstractmethod
    def audit(self, since: float = 0.0) -> list[dict[str, Any]]:
        """The audit trail since a time (seconds since 1970), oldest first."""

    @abstractmethod
    def renew(self) -> None:
        """Show other processes that this one is alive."""

    @abstractmethod
    def _run(self, work: Callable[[Step], T]) -> T:
        """Run `work` as one atomic step. The store may restart it from the beginning.

        Raises:
            StoreError: the store cannot be read or written.
        """

    def digest(self, *parts: Any) -> str:
        """A salted SHA-256 of JSON values, in hexadecimal. Equal values have equal digests within this store only."""
        return salted(self._run(lambda step: step.salt), json.dumps(parts, sort_keys=True))

    def issue(self, write: Write, channel: Channel, seconds: float, *, replaces: str | None = None) -> str:
        """Record the question and open an approval that can be used once, within `seconds`. Returns its token.

        Args:
            replaces: the token of an earlier approval for the same question, which expires now.
        """
        token = secrets.token_urlsafe(24)
        self._prepare()

        def work(step: Step) -> None:
            replaced = step.take_approval(token_hash(replaces)) if replaces is not None else None
            if replaces is not None and replaced is not None and replaced.binding != write.binding:
                step.put_approval(token_hash(replaces), replaced)  # for a different write
            elif replaced is not None:
                step.append("expired", {**replaced.entry, "reason": "the question was asked again"})
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
        per_day: int | None = None,
        hold_seconds: float = 0.0,
        standing: Standing | None = None,
    ) -> int:
        """Use up an approval, check the limits, and record the write with an unknown outcome, all in one step.

        As one step, no approval can be used twice, and two concurrent writes cannot together exceed a limit.

        Args:
            channel: the channel that the approval must have come through.
            token: the approval's token; None only if no approval is required (--confirm off).
            per_day: the most units that may be sent to one target in 24 hours.
            hold_seconds: without a token, reject a repetition of the same list within this time.
            standing: the approval of the upload that this write resumes, if any.

        Returns:
            The write's number in the ledger, for `finish`.

        Raises:
            NotConfirmed: the approval is unknown, used, expired or for another write, or a limit is exceeded. The
                approval is used up in any case.
        """
        self._prepare()

        def work(step: Step) -> int | NotConfirmed:
            problem = None
            if token is not None:
                problem = spend(step, write, channel, token)
            elif (earlier := find_earlier(step, write, hold_seconds, standing)) is not None:
                problem = held(earlier, write.effect, resumes=standing is not None)
            return problem or enter(step, write, channel, "approved", per_day, standing)

        return self._blocked_or_number(work, write, channel)

    def resume(self, write: Write, standing: Standing, *, per_day: int | None = None) -> int | None:
        """Record the rest of an upload as a write under its existing approval, in one step, if that is still valid.

        Returns:
            The write's number in the ledger. None if a person must approve it again, because the approval is older
            than `RESUME_SECONDS` or the same contents have been sent since.

        Raises:
            NotConfirmed: a limit is exceeded.
        """
        self._prepare()

        def work(step: Step) -> int | NotConfirmed | None:
            is_fresh = 0 <= step.now - standing.approved < RESUME_SECONDS
            if not is_fresh or step.overlapping(write, standing.write) is not None:
                return None
            return enter(step, write, "resumed", "resumed", per_day, standing)

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

    def check_limit(self, write: Write, per_day: int | None, standing: Standing | None = None) -> None:
        """Raise NotConfirmed if the write would exceed the daily limit now."""
        self._prepare()
        problem = self._run(lambda step: limit_problem(step, write, per_day, standing))
        if problem is not None:
            raise problem

    def _prepare(self) -> None:
        """Record overdue outcomes and endings in separate steps: a step in Redis does not see its own changes."""
        self._catch_up()
        self._run(record_ends)

    def _catch_up(self) -> None:
        while self._unrecorded:
            self._run(self._unrecorded[0])
            self._unrecorded.popleft()

    def _try_catch_up(self) -> None:
        with suppress(StoreError):  # another process will record these writes as unknown
            self._catch_up()

    def finish(
        self,
        number: int,
        write: Write,
        channel: Channel,
        outcome: Outcome,
        request_id: str | None,
        reason: str | None,
        amount: int | None = None,
    ) -> None:
        """Record the outcome of a write. `amount` is how many units were or may have been sent, if not all."""
        event: Event = "failed" if outcome == "refused" else outcome
        reason = scrub(reason) if reason else None

        def work(step: Step) -> None:
            shown = shown_id(step.salt, request_id) if request_id else None
            step.finish(number, outcome, shown, amount)
            append(step, event, write, channel, request_id=shown, reason=reason)

        try:
            self._run(work)
        except StoreError:
            # A later step retries this. If this process ends first, another one records the outcome as unknown.
            self._unrecorded.append(work)
            raise

    def decline(self, write: Write, channel: Channel, token: str, reason: str) -> None:
        """Withdraw an approval: the person declined or can no longer respond."""

        def work(step: Step) -> None:
            approval = step.take_approval(token_hash(token))
            if approval is not None:
                step.append("declined", {**approval.entry, "client": write.client, "reason": scrub(reason)})

        self._run(work)

    def record(self, event: Event, write: Write, channel: Channel, reason: str | None = None) -> None:
        """Add an entry to the audit trail."""
        self._run(lambda step: append(step, event, write, channel, reason=reason))

    def earlier(self, write: Write, seconds: float, standing: Standing | None = None) -> Earlier | None:
        """The last write of the same list in the last `seconds` that was or may have been applied.

        For the rest of an upload, the last such write since the upload stopped, regardless of `seconds`.
        """
        return self._run(lambda step: find_earlier(step, write, seconds, standing))
