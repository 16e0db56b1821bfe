"""What the rules of the store need of whatever it is kept in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from cams_mcp.models import Outcome
from cams_mcp.store.records import Approval, Earlier, Event, Write

Entry = Mapping[str, Any]
"""An entry of the audit trail."""


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
        """Keep an approval."""

    @abstractmethod
    def take_approval(self, key: str) -> Approval | None:
        """Remove an approval; returns what it was."""

    @abstractmethod
    def take_expired(self) -> list[Entry]:
        """Remove approvals that expired or were issued in the future; returns their audit entries."""

    @abstractmethod
    def last_write(self, digests: Sequence[str]) -> int:
        """The number of the last write of one of these lists that was or may have been applied; 0 if there is none."""

    @abstractmethod
    def earlier(self, digests: Sequence[str], since: float, after: int) -> Earlier | None:
        """The last such write that began after a time and has a number above `after`."""

    @abstractmethod
    def users_since(self, audience: str, since: float) -> int:
        """How many users were or may have been sent to an audience after a time."""

    @abstractmethod
    def enter(self, write: Write, audience: str, entry: Entry) -> int:
        """Enter a write whose outcome is unknown; returns its number, higher than those before.

        Args:
            audience: as `shown_id` gives it.
            entry: the audit entry to end it with, if this process cannot.
        """

    @abstractmethod
    def finish(self, number: int, outcome: Outcome, request_id: str | None, users: int | None) -> None:
        """Enter how a write ended, and how many users were or may have been sent; None if that is not known."""

    @abstractmethod
    def take_abandoned(self) -> list[Entry]:
        """Mark the writes as ended whose process is gone; returns their audit entries. Their outcome stays unknown."""

    @abstractmethod
    def release(self, number: int, users: int) -> None:
        """Count fewer users for a write, once, unless its own process entered how many were sent.

        An owner without an entry marks such a write.
        """

    @abstractmethod
    def append(self, event: Event, entry: Entry) -> None:
        """Add to the audit trail."""
