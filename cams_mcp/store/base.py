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
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from cams_mcp.confirmation import Channel
from cams_mcp.errors import NotConfirmed, StoreError
from cams_mcp.redaction import scrub
from cams_mcp.store.journal import Journal
from cams_mcp.store.pending import Pending
from cams_mcp.store.records import (
    RESUME_SECONDS,
    Ending,
    Event,
    Standing,
    Write,
    held,
    salted,
    shown_id,
)
from cams_mcp.store.rules import (
    append,
    begin,
    enter,
    find_earlier,
    limit_problem,
    record_ends,
    settle,
)
from cams_mcp.store.step import Step
from cams_mcp.store.waiting import WaitingWrites

T = TypeVar("T")


class BaseStore(WaitingWrites):
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

    def secret(self) -> bytes:
        """A secret of this store, the same for every process that shares it."""
        return self._run(lambda step: step.salt)

    def digest(self, *parts: Any) -> str:
        """A salted SHA-256 of JSON values, in hexadecimal. Equal values have equal digests within this store only."""
        return salted(self.secret(), json.dumps(parts, sort_keys=True))

    def begin(
        self,
        write: Write,
        channel: Channel,
        token: str | None = None,
        *,
        per_day: int | None = None,
        standing: Standing | None = None,
    ) -> tuple[int, Channel] | Pending:
        """Spend an approval, check the limits, and record the write with an unknown outcome, all in one step.

        As one step, no approval can be used twice, and two concurrent writes cannot together exceed a limit.

        Args:
            channel: the channel that the token must have come through.
            token: the secret that came with the call. None if a person must have approved the write at some door.
            per_day: the most units that may be sent to one target in 24 hours.
            standing: the approval of the upload that this write resumes, if any.

        Returns:
            The write's number in the ledger, for `finish`, and how it was approved. The waiting write, if an identical
            call has already spent the approval.

        Raises:
            NotConfirmed: the approval is unknown, used, expired or for another write, or a limit is exceeded. A token
                is used up in any case.
        """
        self._prepare()
        return self._or_blocked(lambda step: begin(step, write, channel, token, per_day, standing), write, channel)

    def begin_unasked(
        self, write: Write, *, per_day: int | None = None, hold_seconds: float = 0.0, standing: Standing | None = None
    ) -> int:
        """Record a write that needs no approval (--confirm off), in one step, unless it repeats one.

        Args:
            hold_seconds: reject a repetition of the same list within this time.

        Raises:
            NotConfirmed: it repeats a write, or a limit is exceeded.
        """
        self._prepare()

        def work(step: Step) -> int | NotConfirmed:
            earlier = find_earlier(step, write, hold_seconds, standing)
            if earlier is not None:
                return held(earlier, write.effect, resumes=standing is not None)
            return enter(step, write, "off", "approved", per_day, standing)

        return self._or_blocked(work, write, "off")

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

        return self._or_blocked(work, write, "resumed")

    def _or_blocked(self, work: Callable[[Step], T | NotConfirmed], write: Write, channel: Channel) -> T:
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

        def work(step: Step) -> NotConfirmed | None:
            pending = step.pending_of(write.binding)
            is_spent = pending is not None and pending.is_live(step.now) and pending.state == "spent"
            # Once it was sent, an identical call gets the outcome and sends nothing.
            return None if is_spent else limit_problem(step, write, per_day, standing)

        problem = self._run(work)
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

    def finish(self, number: int, write: Write, channel: Channel, ending: Ending) -> None:
        """Record the outcome of a write."""
        event: Event = "failed" if ending.outcome == "refused" else ending.outcome
        reason = scrub(ending.reason) if ending.reason else None

        def work(step: Step) -> None:
            shown = shown_id(step.salt, ending.request_id) if ending.request_id else None
            settle(step, write.binding, number, ending.to_json(), forget=ending.is_forgettable)
            step.finish(number, ending.outcome, shown, ending.amount)
            append(step, event, write, channel, request_id=shown, reason=reason)

        try:
            self._run(work)
        except StoreError:
            # A later step retries this. If this process ends first, another one records the outcome as unknown.
            self._unrecorded.append(work)
            raise

    def record(self, event: Event, write: Write, channel: Channel, reason: str | None = None) -> None:
        """Add an entry to the audit trail."""
        self._run(lambda step: append(step, event, write, channel, reason=reason))
