"""Upload jobs and their batches, in the same store as the ledger. Each batch is recorded before and after it is sent.

A job belongs to the runner that took it last. A runner that has lost its job finds out before its next batch, so two
runners never send the same part.
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
    """The items from number `first` (counted from 0) up to, but not including, `first + count`."""

    first: int
    count: int
    state: BatchState
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Job:
    """An upload job.

    Attributes:
        path: absolute path of the file.
        arguments: the tool's arguments, to read the file the same way on a resume.
        binding: the guard's digest of who uploads what to which target.
        total: number of items in the upload.
        write: ledger number of the last run.
        approved: when a person last approved it, seconds since 1970, UTC.
        doubted: the end of the last batch that ever had an unknown outcome. If CAMS later refuses the same items, the
            first attempt may still have been applied.
        batches: in order of their items.
    """

    id: str
    created: float
    path: str
    arguments: Mapping[str, Any]
    binding: str
    total: int
    write: int
    approved: float
    doubted: int
    state: JobState
    reason: str
    batches: tuple[Batch, ...]

    @property
    def sent(self) -> int:
        """How many items, counted from the first, were certainly applied."""
        sent = 0
        for batch in self.batches:
            if batch.first == sent and batch.state == "sent":
                sent += batch.count
        return sent

    @property
    def ambiguous(self) -> Batch | None:
        """The batch after those, if its outcome is unknown."""
        sent = self.sent
        return next((each for each in self.batches if each.first == sent and each.state in _AMBIGUOUS), None)

    @property
    def position(self) -> tuple[int, int]:
        """How many items were certainly applied, and how many after them may have been."""
        sent = self.sent
        batch = self.ambiguous
        return sent, max(self.doubted, sent + batch.count if batch else 0, sent) - sent

    def is_at(self, position: tuple[int, int]) -> bool:
        """Whether the job is still unfinished and at this position."""
        return self.state != "done" and self.position == position


_AMBIGUOUS = ("sending", "unknown")


class Journal(ABC):
    """The upload jobs of a store."""

    @abstractmethod
    def start(self, path: str, arguments: Mapping[str, Any], binding: str, total: int, write: int) -> tuple[str, str]:
        """Create a job. Returns its id and the owner's key."""

    @abstractmethod
    def take(self, job: str, position: tuple[int, int], write: int, *, approved: bool) -> str:
        """Take over a job. Returns the new owner's key. A process still running it stops before its next batch.

        Args:
            position: `Job.position` when the items left to send were determined.
            write: ledger number of this run.
            approved: whether a person approved this run.

        Raises:
            NotConfirmed: the job has progressed since then, is complete, or no longer exists.
        """

    @abstractmethod
    def before(self, job: str, owner: str, first: int, count: int) -> None:
        """Record that a batch is about to be sent. Replaces earlier attempts at this position and beyond.

        Raises:
            NotConfirmed: another process took over the job.
        """

    @abstractmethod
    def after(self, job: str, owner: str, first: int, state: BatchState, request_id: str | None) -> None:
        """Record how a batch ended, unless another process took over the job and may have replaced the batch."""

    @abstractmethod
    def end(self, job: str, owner: str, state: JobState, reason: str) -> None:
        """Record how a run ended, unless another process took over the job."""

    @abstractmethod
    def jobs(self) -> list[Job]:
        """All jobs, newest first."""

    @abstractmethod
    def job(self, job: str) -> Job | None:
        """The job with this id, if it exists."""


def progressed() -> NotConfirmed:
    return NotConfirmed(
        "Nothing more was sent: another process has resumed this upload in the meantime.",
        hint="Run `cams-mcp uploads` to check its state. If it has stopped, resume it again.",
    )


def taken_over() -> NotConfirmed:
    return NotConfirmed(
        "Nothing more was sent: another process took over this upload.",
        hint="Run `cams-mcp uploads` to check its state.",
    )
