"""Send the people of a checked file in batches. The journal records each batch before and after it is sent."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from cams_mcp.confirmation import Caller
from cams_mcp.errors import AmbiguousWrite, CamsMcpError, NotConfirmed, ProxyAnswer, StoreError, Throttled
from cams_mcp.guard.policy import Service
from cams_mcp.models import Response
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER, MAX_USERS
from cams_mcp.settings import Settings
from cams_mcp.store import Journal
from cams_mcp.store.journal import BatchState, JobState
from cams_mcp.threads import in_thread, persist
from cams_mcp.upload.checks import Checked
from cams_mcp.upload.requests import EncodedBatch, UploadAudienceFileRequest, UploadAudienceFileResponse, batch_of
from cams_mcp.upload.spool import Batches

TOO_LARGE = frozenset({413, 414})
FIRST_WAIT, LONGEST_WAIT, MOST_WAITS = 5.0, 60.0, 30
"""Wait between retries while CAMS throttles, in seconds, and the maximum number of waits per batch."""

NEXT_AFTER_STOP = (
    "Tell the user how far the upload got and why it stopped. To resume it, call again with the same arguments and "
    "resume set to upload_id. People whose outcome is unknown are sent again only after another approval."
)

INTERRUPTED = "the call was interrupted"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """The maximum size of a batch."""

    users: int = MAX_USERS
    encoded_bytes: int = Settings.batch_bytes


@dataclass(slots=True)
class UploadRun:
    """One run of an upload, from the first person not known to be applied.

    Attributes:
        upload, owner: the job's id and the key that proves ownership.
        first: number of the next person.
        doubted: people before this number may have been sent by an earlier run.
    """

    service: Service
    journal: Journal
    request: UploadAudienceFileRequest
    checked: Checked
    upload: str
    owner: str
    first: int
    limits: Limits
    caller: Caller
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    calls: int = 0
    doubted: int = 0
    doubtful: int = 0
    start: int = field(init=False)

    def __post_init__(self) -> None:
        self.start = self.first

    async def send_all(self) -> UploadAudienceFileResponse:
        """Send all people, or stop at a failure that cannot be retried. Never raises for CAMS or network failures.

        If cancelled, the current batch stays in the journal with an unknown outcome.
        """
        state, reason = "stopped", INTERRUPTED
        try:
            reason = await self._send_batches()
            state = "stopped" if reason else "done"
        except StoreError as error:
            reason = str(error)
        finally:
            with anyio.CancelScope(shield=True):
                await self._end(state, reason)
        return self._response(state, reason)

    async def _send_batches(self) -> str:
        """Send batches until done. Returns the reason for stopping, or an empty string."""
        total = self.checked.spool.kept
        batches = Batches(self.checked.spool.people(self.first), self.limits.users, self.limits.encoded_bytes)
        waits = 0
        while (people := await anyio.to_thread.run_sync(next, batches, None)) is not None:
            last = await anyio.to_thread.run_sync(lambda: batches.is_last)
            try:
                await self._before(len(people))
                self.doubtful = len(people)
                response = await self._send(batch_of(self.request, people, total=total, last=last))
            except CamsMcpError as error:
                reason = await self._why_to_stop(error, len(people), waits)
                if reason is not None:
                    return reason
                # Certainly not executed: send the same people again, later or in smaller batches.
                if isinstance(error, Throttled):
                    waits += 1
                    batches.give_back(people)
                    await self._wait(waits, error.retry_after)
                else:
                    batches.halve(people)
            else:
                await self._after("sent", response.request_id)
                self.doubtful = 0
                self.first += len(people)
                waits = 0
                await self._report(f"{self.first:,} of {total:,} people sent")
        return ""

    async def _send(self, batch: EncodedBatch) -> Response:
        self.calls += 1
        return await self.service.call(ADD_CUSTOM_AUDIENCE_USER, batch)

    async def _why_to_stop(self, error: CamsMcpError, users: int, waits: int) -> str | None:
        """Record how a batch failed. Returns why the upload must stop, or None if the batch can be retried."""
        if isinstance(error, NotConfirmed | StoreError):
            return str(error)  # another process owns the job, or the journal is unavailable
        request_id = getattr(error, "request_id", None)
        if isinstance(error, AmbiguousWrite):
            await self._after("unknown", request_id)
            return f"the {users:,} people after the first {self.first:,} may have been applied: {error.message}"
        self.doubtful = 0
        await self._after("refused", request_id)
        if isinstance(error, Throttled) and waits < MOST_WAITS:
            return None
        if isinstance(error, ProxyAnswer) and error.http_status in TOO_LARGE and users > 1:
            return None
        return str(error)

    async def _before(self, users: int) -> None:
        await in_thread(lambda: self.journal.before(self.upload, self.owner, self.first, users))

    async def _after(self, state: BatchState, request_id: str | None) -> None:
        await persist(lambda: self.journal.after(self.upload, self.owner, self.first, state, request_id))

    async def _end(self, state: JobState, reason: str) -> None:
        try:
            await persist(lambda: self.journal.end(self.upload, self.owner, state, reason))
        except StoreError:
            # The journal still says "running", but the response reports what was sent.
            logger.exception("failed to record the end (%s) of upload %s", state, self.upload)

    async def _wait(self, waits: int, asked: float | None) -> None:
        seconds = min(max(asked or 0.0, FIRST_WAIT * 2 ** (waits - 1)), LONGEST_WAIT)
        await self._report(f"CAMS is throttling requests; waiting {seconds:g} s")
        await self.sleep(seconds)

    async def _report(self, message: str) -> None:
        if self.caller.report is not None:
            await self.caller.report(self.first, self.checked.spool.kept, message)

    def _response(self, state: str, reason: str) -> UploadAudienceFileResponse:
        total = self.checked.spool.kept
        doubtful = max(self.doubtful, self.doubted - self.first, 0)
        return UploadAudienceFileResponse(
            upload_id=self.upload,
            state=state,
            people=total,
            sent=self.first,
            not_sent=total - self.first - doubtful,
            may_have_been_sent=doubtful,
            calls=self.calls,
            skipped_rows=self.checked.invalid.total(),
            reason=reason or None,
            next=NEXT_AFTER_STOP if reason else None,
        ).counting(self.first - self.start + self.doubtful)
