"""The two file tools: check a file, and upload a file or resume its upload."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import anyio
import anyio.from_thread
import anyio.to_thread

from cams_mcp.confirmation import Answered, Caller, Channel
from cams_mcp.errors import FileRefused, NotConfirmed
from cams_mcp.guard.guard import Answer, Guard
from cams_mcp.guard.policy import Service
from cams_mcp.models import Result
from cams_mcp.operation import AnyTool, Tool
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER
from cams_mcp.operations.audience.question import MIN_MATCHED
from cams_mcp.store import Job, Journal, Standing
from cams_mcp.threads import in_thread
from cams_mcp.upload.checks import Checked, HowToRead, check_file
from cams_mcp.upload.requests import (
    CheckAudienceFileRequest,
    CheckAudienceFileResponse,
    FileWrite,
    RestOfUpload,
    UploadAudienceFileRequest,
    UploadAudienceFileResponse,
)
from cams_mcp.upload.runner import Limits, UploadRun

OpenFile = Callable[[str], tuple[Path, BinaryIO]]


CHECK_AUDIENCE_FILE = Tool(
    name="check_audience_file",
    title="Check a customer file",
    request=CheckAudienceFileRequest,
    response=CheckAudienceFileResponse,
)
UPLOAD_AUDIENCE_FILE = Tool(
    name="upload_audience_file",
    title="Upload a customer file",
    request=UploadAudienceFileRequest,
    response=UploadAudienceFileResponse,
    effect=ADD_CUSTOM_AUDIENCE_USER.effect,
)
FILE_TOOLS: tuple[AnyTool, ...] = (CHECK_AUDIENCE_FILE, UPLOAD_AUDIENCE_FILE)


class Uploads:
    """Checks files of people and uploads them to audiences.

    Args:
        open_file: opens a file by the caller's path, or raises FileRefused.
        service: sends the batches.
        guard: decides whether an upload may be sent.
        journal: records jobs and batches.
        limits: the maximum size of a batch.
        directory: for temporary files; None uses the system default.
        on_invalid: called with the line and the reason for each invalid row.
        sleep: waits, in seconds.
    """

    def __init__(
        self,
        open_file: OpenFile,
        service: Service,
        guard: Guard,
        journal: Journal,
        limits: Limits | None = None,
        *,
        directory: Path | None = None,
        on_invalid: Callable[[int, str], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._open = open_file
        self._service = service
        self._guard = guard
        self._journal = journal
        self._limits = limits or Limits()
        self._directory = directory
        self._on_invalid = on_invalid
        self._sleep = sleep

    def tools(self) -> list[tuple[AnyTool, Callable[..., Awaitable[Answer]]]]:
        """The tools and their handlers."""
        return [(CHECK_AUDIENCE_FILE, self.check), (UPLOAD_AUDIENCE_FILE, self.upload)]

    async def check(self, request: CheckAudienceFileRequest, caller: Caller) -> CheckAudienceFileResponse:
        """Read a file and summarise it. Sends nothing.

        Raises:
            FileRefused: the file is not allowed, or is not a table of people.
        """
        path, checked = await self._check(request.path, request.suppression_path, request.how(), caller)
        with checked:
            calls = await self._calls(checked)
            few = checked.spool.kept < MIN_MATCHED
            return CheckAudienceFileResponse(path=str(path), calls=calls, under_100=few, **checked.summary())

    async def upload(
        self,
        request: UploadAudienceFileRequest,
        caller: Caller,
        *,
        token: str | None = None,
        answered: Answered | None = None,
    ) -> Answer:
        """Send a file's people after one confirmation, or resume a stopped upload.

        Raises:
            FileRefused: the file is not allowed, is not a table of people, or contains no one to send.
            NotConfirmed: see `Guard.submit`.
        """
        how = request.how(refuse_invalid=request.on_invalid == "refuse")
        job = await self._job(request.resume) if request.resume else None
        path, checked = await self._check(request.path, request.suppression_path, how, caller)
        with checked:
            if checked.spool.kept == 0:
                raise FileRefused("no people are left to send", hint="Run check_audience_file to see why.")
            write = FileWrite(path.name, request, checked, await self._calls(checked))

            async def first_run(binding: str, number: int, channel: Channel) -> Result:
                given = request.model_dump(by_alias=False, exclude_none=True, exclude={"resume"})
                total = checked.spool.kept
                name = str(path).encode("utf-8", "replace").decode()
                upload, owner = await in_thread(lambda: self._journal.start(name, given, binding, total, number))
                return await self._run(request, checked, caller, upload, owner, 0)

            if job is None:
                return await self._guard.submit(
                    ADD_CUSTOM_AUDIENCE_USER, write, caller, token=token, answered=answered, send=first_run
                )
            return await self._resume(job, request, checked, write, caller, token=token, answered=answered)

    async def _resume(
        self,
        job: Job,
        request: UploadAudienceFileRequest,
        checked: Checked,
        write: FileWrite,
        caller: Caller,
        *,
        token: str | None,
        answered: Answered | None,
    ) -> Answer:
        """Send the people not known to be applied, under the upload's existing approval if that is still valid."""
        sent, doubtful = job.position
        standing = Standing(job.binding, job.write, job.approved, doubtful)
        await self._guard.check_same(ADD_CUSTOM_AUDIENCE_USER, write, caller, standing)
        digest = await anyio.to_thread.run_sync(checked.spool.digest_from, sent)
        rest = RestOfUpload(write, job, digest)

        async def further_run(binding: str, number: int, channel: Channel) -> Result:
            approved = channel != "resumed"
            owner = await in_thread(lambda: self._journal.take(job.id, job.position, number, approved=approved))
            return await self._run(request, checked, caller, job.id, owner, sent, sent + doubtful)

        return await self._guard.submit(
            ADD_CUSTOM_AUDIENCE_USER,
            rest,
            caller,
            token=token,
            answered=answered,
            send=further_run,
            standing=standing,
        )

    async def _run(
        self,
        request: UploadAudienceFileRequest,
        checked: Checked,
        caller: Caller,
        upload: str,
        owner: str,
        first: int,
        doubted: int = 0,
    ) -> UploadAudienceFileResponse:
        more = (self._limits, caller, self._sleep)
        run = UploadRun(self._service, self._journal, request, checked, upload, owner, first, *more, doubted=doubted)
        return await run.send_all()

    async def _job(self, upload: str) -> Job:
        job = await in_thread(lambda: self._journal.job(upload))
        if job is None:
            raise NotConfirmed("Nothing was sent: no upload has this id.", hint="Run `cams-mcp uploads` to list them.")
        if job.state == "done":
            raise NotConfirmed(
                "Nothing was sent: this upload is complete.", hint="Start a new upload for another file."
            )
        return job

    async def _calls(self, checked: Checked) -> int:
        return await anyio.to_thread.run_sync(checked.calls, self._limits.users, self._limits.encoded_bytes)

    async def _check(
        self, path: str, suppression_path: str | None, how: HowToRead, caller: Caller
    ) -> tuple[Path, Checked]:
        async def report(rows: int) -> None:
            if caller.report is not None:
                await caller.report(0, 0, f"{rows:,} rows checked")

        def look(rows: int) -> None:
            anyio.from_thread.check_cancelled()
            anyio.from_thread.run(report, rows)

        def work() -> tuple[Path, Checked]:
            with ExitStack() as files:
                found, file = self._open(path)
                files.enter_context(file)
                suppression = None
                if suppression_path is not None:
                    suppression = self._open(suppression_path)
                    files.enter_context(suppression[1])
                opted_out = (suppression[0].name, suppression[1]) if suppression else None
                return found, check_file(
                    found.name, file, how, opted_out, self._directory, look=look, on_invalid=self._on_invalid
                )

        return await anyio.to_thread.run_sync(work)
