"""The rules of approvals, the ledger of writes and the audit trail, whatever they are kept in.

Every method is one step: all of it happens or none, and one at a time over all processes and hosts that share the
store. How a step is made whole is the concern of `Store` (SQLite) and `RedisStore`.

Approvals are kept as hashes of their tokens. The ledger and the trail hold ids, counts and salted digests, never an
address.
"""

from __future__ import annotations

import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from cams_mcp.confirmation import Channel
from cams_mcp.errors import NotConfirmed
from cams_mcp.models import Outcome
from cams_mcp.redaction import scrub
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

T = TypeVar("T")


class Step(ABC):
    """What is kept, as one step reads and changes it.

    Args:
        salt: of the digests.
        now: seconds since 1970, UTC.
    """

    def __init__(self, salt: bytes, now: float) -> None:
        self.salt = salt
        self.now = now

    @abstractmethod
    def put_approval(self, key: str, approval: Approval) -> None:
        """Keep an approval; forget those that expired or come from the future."""

    @abstractmethod
    def take_approval(self, key: str) -> Approval | None:
        """Remove an approval; gives what it was."""

    @abstractmethod
    def last_write(self, list_digest: str) -> int:
        """The number of the last write of a list that was or may have been applied; 0 if there is none."""

    @abstractmethod
    def last_write_since(self, list_digest: str, since: float) -> Earlier | None:
        """The same, if it was begun after a time."""

    @abstractmethod
    def users_since(self, audience: str, since: float) -> int:
        """How many users went or may have gone to an audience after a time."""

    @abstractmethod
    def enter(self, list_digest: str, audience: str, users: int) -> int:
        """Enter a write whose outcome is unknown; gives its number, higher than those before."""

    @abstractmethod
    def finish(self, number: int, outcome: Outcome, request_id: str | None) -> None:
        """Enter how a write ended."""

    @abstractmethod
    def append(self, event: Event, entry: Mapping[str, Any]) -> None:
        """Add to the audit trail."""


class BaseStore(ABC):
    """Safe for several threads and several processes.

    Attributes:
        journal: of upload jobs.
    """

    journal: Journal

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections; the next use opens them again."""

    @abstractmethod
    def audit(self, since: float = 0.0) -> list[dict[str, Any]]:
        """The audit trail from a time (seconds since 1970) on, oldest first."""

    @abstractmethod
    def _run(self, work: Callable[[Step], T]) -> T:
        """Do all of `work` in one step, or nothing of it. It may be run again from its beginning.

        Raises:
            StoreError: what is kept cannot be read or written.
        """

    def digest(self, *parts: Any) -> str:
        """A salted SHA-256 of JSON values, in hexadecimal: equal parts, equal digest, in this store only."""
        return salted(self._run(lambda step: step.salt), json.dumps(parts, sort_keys=True))

    def issue(self, write: Write, channel: Channel, seconds: float) -> str:
        """Open an approval that is good once, for so long; returns its token. Records that the person is asked."""
        token = secrets.token_urlsafe(24)

        def work(step: Step) -> None:
            seen = step.last_write(write.list_digest)
            approval = Approval(write.binding, channel, step.now, step.now + seconds, seen)
            step.put_approval(token_hash(token), approval)
            _append(step, "asked", write, channel)

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

        def work(step: Step) -> int | NotConfirmed:
            if token is not None:
                problem = _spend(step, write, channel, token)
            else:
                earlier = _earlier(step, write.list_digest, hold_seconds)
                problem = held(earlier) if earlier is not None else None
            problem = problem or over_limit(write, _users_of_the_day(step, write.audience), users_per_day)
            if problem is not None:
                _append(step, "blocked", write, channel, reason=problem.message)
                return problem
            number = step.enter(write.list_digest, shown_id(step.salt, write.audience), write.users)
            _append(step, "approved", write, channel)
            return number

        outcome = self._run(work)
        if isinstance(outcome, NotConfirmed):
            raise outcome
        return outcome

    def check_limit(self, write: Write, users_per_day: int | None) -> None:
        """Raise NotConfirmed if the day's limit forbids the write already now."""
        problem = self._run(lambda step: over_limit(write, _users_of_the_day(step, write.audience), users_per_day))
        if problem is not None:
            raise problem

    def finish(
        self, number: int, write: Write, channel: Channel, outcome: Outcome, request_id: str | None, reason: str | None
    ) -> None:
        """Enter how a write ended."""
        event: Event = "failed" if outcome == "refused" else outcome
        reason = scrub(reason) if reason else None

        def work(step: Step) -> None:
            shown = shown_id(step.salt, request_id) if request_id else None
            step.finish(number, outcome, shown)
            _append(step, event, write, channel, request_id=shown, reason=reason)

        self._run(work)

    def resume(self, number: int, write: Write, *, counted: bool, users_per_day: int | None = None) -> None:
        """In one step: check the day's limit if the write does not count in it yet, and enter it as unknown again.

        Args:
            counted: whether some of it was or may have been applied, so that the ledger counts it already.

        Raises:
            NotConfirmed: over the limit.
        """

        def work(step: Step) -> NotConfirmed | None:
            used = _users_of_the_day(step, write.audience)
            problem = None if counted else over_limit(write, used, users_per_day)
            if problem is None:
                step.finish(number, "unknown", None)
                _append(step, "resumed", write, "resumed")
            else:
                _append(step, "blocked", write, "resumed", reason=problem.message)
            return problem

        problem = self._run(work)
        if problem is not None:
            raise problem

    def decline(self, write: Write, channel: Channel, token: str, reason: str) -> None:
        """Withdraw an approval: the person said no, or cannot say yes any more."""

        def work(step: Step) -> None:
            step.take_approval(token_hash(token))
            _append(step, "declined", write, channel, reason=reason)

        self._run(work)

    def record(self, event: Event, write: Write, channel: Channel, reason: str | None = None) -> None:
        """Add an entry to the audit trail."""
        self._run(lambda step: _append(step, event, write, channel, reason=reason))

    def earlier(self, list_digest: str, seconds: float) -> Earlier | None:
        """The last write of this list in the last `seconds` that was or may have been applied."""
        return self._run(lambda step: _earlier(step, list_digest, seconds))


def _spend(step: Step, write: Write, channel: Channel, token: str) -> NotConfirmed | None:
    approval = step.take_approval(token_hash(token))
    if approval is None:
        return no_approval()
    return approval.problem(write, channel, step.now, step.last_write(write.list_digest))


def _earlier(step: Step, list_digest: str, seconds: float) -> Earlier | None:
    return step.last_write_since(list_digest, step.now - seconds)


def _users_of_the_day(step: Step, audience: str) -> int:
    return step.users_since(shown_id(step.salt, audience), step.now - DAY_SECONDS)


def _append(
    step: Step,
    event: Event,
    write: Write,
    channel: Channel,
    *,
    request_id: str | None = None,
    reason: str | None = None,
) -> None:
    step.append(event, audit_entry(step.salt, write, channel, request_id, reason))
