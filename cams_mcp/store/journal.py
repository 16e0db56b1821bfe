"""Upload jobs and their batches, in the same store as the ledger: entered before a batch is sent and after.

A job belongs to whoever took it last. A runner that lost its job finds out before its next batch, so that two of them
never send the same people.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cams_mcp.errors import NotConfirmed

BatchState = Literal["sending", "sent", "refused", "unknown"]
JobState = Literal["running", "stopped", "done"]


@dataclass(frozen=True, slots=True)
class Batch:
    """People number `first` (from 0) up to `first + users`, of those that are sent."""

    first: int
    users: int
    state: BatchState
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Job:
    """An upload.

    Attributes:
        path: the file, absolute.
        arguments: what it was called with, to read the file the same way again.
        binding: digest of who uploads which people to which audience, as the guard knows it.
        total: how many people in all.
        write: the number of its last run in the ledger.
        approved: when a person approved it last, seconds since 1970, UTC.
        batches: in order of their people.
    """

    id: str
    created: float
    path: str
    arguments: Mapping[str, Any]
    binding: str
    total: int
    write: int
    approved: float
    state: JobState
    reason: str
    batches: tuple[Batch, ...]

    @property
    def sent(self) -> int:
        """How many people, from the first on, are known to be applied."""
        sent = 0
        for batch in self.batches:
            if batch.first == sent and batch.state == "sent":
                sent += batch.users
        return sent

    @property
    def ambiguous(self) -> Batch | None:
        """The batch that may or may not have been applied, if there is one."""
        sent = self.sent
        return next((each for each in self.batches if each.first == sent and each.state in _AMBIGUOUS), None)

    @property
    def position(self) -> tuple[int, int]:
        """How many people are known to be applied, and of how many after them it is not known."""
        return self.sent, self.ambiguous.users if self.ambiguous else 0

    def is_at(self, position: tuple[int, int]) -> bool:
        """Whether what is left to send is still what it was at this position."""
        return self.state != "done" and self.position == position


_AMBIGUOUS = ("sending", "unknown")


class Journal(ABC):
    """The upload jobs of a store."""

    @abstractmethod
    def start(self, path: str, arguments: Mapping[str, Any], binding: str, total: int, write: int) -> tuple[str, str]:
        """Enter a new job; returns its id and its owner's key."""

    @abstractmethod
    def take(self, job: str, position: tuple[int, int], write: int, *, approved: bool) -> str:
        """Take a job over; returns the new owner's key. The process that ran it stops before its next batch.

        Args:
            position: what `Job.position` was when the rest to send was decided on.
            write: the number of this run in the ledger.
            approved: whether a person approved this run.

        Raises:
            NotConfirmed: the job has progressed since then, is complete, or is gone.
        """

    @abstractmethod
    def before(self, job: str, owner: str, first: int, users: int) -> None:
        """Enter that a batch is about to be sent, in place of refused attempts: the people from here on are cut anew.

        Raises:
            NotConfirmed: another process took the job over.
        """

    @abstractmethod
    def after(self, job: str, owner: str, first: int, state: BatchState, request_id: str | None) -> None:
        """Enter how a batch ended, if the job is still this owner's: another one may have cut another batch there."""

    @abstractmethod
    def end(self, job: str, owner: str, state: JobState, reason: str) -> None:
        """Enter how a run ended, if the job is still its own."""

    @abstractmethod
    def jobs(self) -> list[Job]:
        """All jobs, newest first."""

    @abstractmethod
    def job(self, job: str) -> Job | None:
        """A job, if there is one of this id."""


def progressed() -> NotConfirmed:
    return NotConfirmed(
        "Nothing more was sent: another process resumed this upload in the meantime.",
        hint="See `cams-mcp uploads`; resume it again if it stopped.",
    )


def taken_over() -> NotConfirmed:
    return NotConfirmed("Nothing more was sent: another process took this upload over.", hint="See `cams-mcp uploads`.")
