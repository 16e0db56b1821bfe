"""The operations that the store's rules require from a backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from cams_mcp.models import Outcome
from cams_mcp.store.pending import Pending
from cams_mcp.store.records import Earlier, Event, Write

Entry = Mapping[str, Any]
"""An entry of the audit trail."""


class Step(ABC):
    """Access to the stored data within one step.

    Args:
        salt: for the digests.
        now: seconds since 1970, UTC.
    """

    def __init__(self, salt: bytes, now: float) -> None:
        self.salt = salt
        self.now = now

    @abstractmethod
    def put_pending(self, pending: Pending) -> None:
        """Store a waiting write, in place of any with the same digest."""

    @abstractmethod
    def drop_pending(self, pending: Pending) -> None:
        """Remove a waiting write."""

    @abstractmethod
    def pending_of(self, binding: str) -> Pending | None:
        """The waiting write with this digest."""

    @abstractmethod
    def pending_with_key(self, hashed: str) -> Pending | None:
        """The waiting write that has a key with this hash."""

    @abstractmethod
    def all_pending(self) -> list[Pending]:
        """Every waiting write, oldest first, also those that are decided or have expired."""

    @abstractmethod
    def take_expired(self) -> list[Pending]:
        """Remove and return waiting writes that have expired or are dated in the future."""

    @abstractmethod
    def last_write(self, digests: Sequence[str]) -> int:
        """The number of the last write of any of these lists that was or may have been applied; 0 if there is none."""

    @abstractmethod
    def earlier(self, digests: Sequence[str], since: float) -> Earlier | None:
        """The last write of any of these lists that was or may have been applied and that began after a time."""

    @abstractmethod
    def overlapping(self, write: Write, number: int) -> Earlier | None:
        """The last write that was in flight when write `number` began, or that began after it.

        Considers only other writes of the same list, of its rest, or of an earlier rest of it, that were or may have
        been applied.
        """

    @abstractmethod
    def sent_since(self, target_id: str, since: float) -> int:
        """How many units were or may have been sent to a target since a time."""

    @abstractmethod
    def enter(self, write: Write, target_id: str, entry: Entry) -> int:
        """Record a write with an unknown outcome. Returns its number, which is higher than all earlier ones.

        Args:
            target_id: the id, as returned by `shown_id`.
            entry: the audit entry for another process to record if this one ends first.
        """

    @abstractmethod
    def finish(self, number: int, outcome: Outcome, request_id: str | None, amount: int | None) -> None:
        """Record a write's outcome and how many units were or may have been sent. None leaves the count unchanged."""

    @abstractmethod
    def take_abandoned(self) -> list[tuple[int, Entry]]:
        """Mark writes whose process is gone as ended. Returns their numbers and audit entries. Their outcome stays
        unknown.
        """

    @abstractmethod
    def may_release(self, number: int) -> bool:
        """Whether a write counts all its units because its process did not record how many were sent.

        Such a write has an owner but no entry.
        """

    @abstractmethod
    def release(self, number: int, amount: int) -> None:
        """Reduce the count of such a write by `amount`, once. Does nothing for other writes."""

    @abstractmethod
    def append(self, event: Event, entry: Entry) -> None:
        """Add an entry to the audit trail."""
