"""The arguments and results of the two file tools, and an upload as the guard and the CAMS client see it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr

from cams_mcp.api.signing import Encoded
from cams_mcp.facts import Fact
from cams_mcp.fields import FilePath, Id, Text
from cams_mcp.models import Outcome, Request, Result
from cams_mcp.operation import LookUp
from cams_mcp.operations.add_custom_audience_user import AddCustomAudienceUserRequest
from cams_mcp.operations.audience.question import count, name, samples, target_facts
from cams_mcp.redaction import readable
from cams_mcp.store import Job
from cams_mcp.upload.checks import Checked, HowToRead
from cams_mcp.upload.spool import encode_batch


class _FileRequest(Request):
    """The arguments that both tools use to read a file."""

    path: Annotated[FilePath, Field(description="In an upload folder: CSV, TSV, JSON Lines or XLSX.")]
    email_column: Annotated[Text | None, Field(description="Header or number.")] = None
    phone_column: Annotated[Text | None, Field(description="Header or number.")] = None
    default_region: Annotated[Text | None, Field(description="Region of national numbers, e.g. CN.")] = None
    suppression_path: Annotated[FilePath | None, Field(description="People who opted out.")] = None

    def how(self, *, refuse_invalid: bool = False) -> HowToRead:
        return HowToRead(self.email_column, self.phone_column, self.default_region, refuse_invalid)


class CheckAudienceFileRequest(_FileRequest):
    """Check a file of customers before an upload, without sending or revealing them: returns columns, valid and \
invalid rows, duplicates, a masked sample and the calls needed. The server reads the file; you never do."""


class CheckAudienceFileResponse(Result):
    """The contents of the file."""

    path: Annotated[
        # A file name may contain bytes that are not text.
        Annotated[str, AfterValidator(readable)] | None, Field(description="The file.")
    ] = None
    format: Annotated[str | None, Field(description="csv, tsv, jsonl or xlsx.")] = None
    encoding: Annotated[str | None, Field(description="Text encoding.")] = None
    columns: Annotated[dict[str, str] | None, Field(description="Columns used.")] = None
    rows: Annotated[int | None, Field(description="Rows in the file.")] = None
    valid: Annotated[int | None, Field(description="Valid rows.")] = None
    invalid: Annotated[list[dict[str, Any]] | None, Field(description="Invalid rows, by reason.")] = None
    duplicates: Annotated[int | None, Field(description="People already listed.")] = None
    suppressed: Annotated[int | None, Field(description="People who opted out.")] = None
    people: Annotated[int | None, Field(description="People to send.")] = None
    phones_by_country_code: Annotated[dict[str, int] | None, Field(description="Phones per country code.")] = None
    sample: Annotated[list[str] | None, Field(description="Masked sample.")] = None
    calls: Annotated[int | None, Field(description="CAMS calls needed.")] = None
    under_100: Annotated[bool | None, Field(description="Too few people: Meta discards them.")] = None


class UploadAudienceFileRequest(_FileRequest):
    """Upload a file of customers to a custom audience: hands them to Meta, cannot be undone. One confirmation covers \
the whole file. Check the file first."""

    cust_space_id: Annotated[Id, Field(description="From list_instance.")]
    page_id: Annotated[Id, Field(description="From list_custom_audience.")]
    ad_account_id: Annotated[Id, Field(description="From list_custom_audience.")]
    custom_audience_id: Annotated[Id, Field(description="From list_custom_audience.")]
    on_invalid: Annotated[Literal["skip", "refuse"], Field(description="Invalid rows: skip, or refuse.")] = "skip"
    resume: Annotated[Id | None, Field(description="Id of a stopped upload.")] = None

    TARGET: ClassVar[tuple[str, ...]] = ("cust_space_id", "page_id", "ad_account_id", "custom_audience_id")

    def target(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in self.TARGET}


class UploadAudienceFileResponse(Result):
    """How far the upload got."""

    upload_id: Annotated[str | None, Field(description="Id to resume the upload with.")] = None
    state: Annotated[str | None, Field(description="done or stopped.")] = None
    people: Annotated[int | None, Field(description="Total people to send.")] = None
    sent: Annotated[int | None, Field(description="People CAMS accepted.")] = None
    not_sent: Annotated[int | None, Field(description="People certainly not sent.")] = None
    may_have_been_sent: Annotated[int | None, Field(description="People whose outcome is unknown.")] = None
    calls: Annotated[int | None, Field(description="Calls made by this run.")] = None
    skipped_rows: Annotated[int | None, Field(description="Invalid rows skipped.")] = None
    reason: Annotated[str | None, Field(description="Why it stopped.")] = None
    next: Annotated[str | None, Field(description="What to do next.")] = None
    _written: int | None = PrivateAttr(None)

    def counting(self, users: int) -> Self:
        """Set how many people this run sent or may have sent. `sent` also includes earlier runs."""
        self._written = users
        return self

    @property
    def units_written(self) -> int | None:
        return self._written

    @property
    def tool_status(self) -> str:
        return "sent" if self.state == "done" else "stopped"

    @property
    def ledger_outcome(self) -> Outcome:
        if self.may_have_been_sent:
            return "unknown"
        return "sent" if self.units_written or self.state == "done" else "refused"


class EncodedBatch(AddCustomAudienceUserRequest):
    """One call of an upload. Its people are already encoded."""

    encoded_users: str = ""

    def parameters(self) -> dict[str, str]:
        given = super().parameters()
        del given["EncodedUsers"]
        return given | {"Users": Encoded(self.encoded_users)}


def batch_of(request: UploadAudienceFileRequest, people: list[bytes], *, total: int, last: bool) -> EncodedBatch:
    """The call for these people. Skips validation, because each person was validated when the file was read."""
    rest = {"encoded_users": encode_batch(people), "estimated_num_total": total, "batch_last_flag": last}
    return EncodedBatch.model_construct(None, **request.target(), **rest)


class FileWrite:
    """An upload as the guard sees it."""

    def __init__(self, name: str, request: UploadAudienceFileRequest, checked: Checked, calls: int) -> None:
        self.name = name
        self.request = request
        self._checked = checked
        self._calls = calls

    def target(self) -> dict[str, str]:
        return self.request.target()

    def counts(self) -> dict[str, int]:
        checked = self._checked
        return {
            "users": checked.spool.kept,
            "emails": checked.emails,
            "phones": checked.phones,
            "duplicates": checked.spool.duplicates,
            "suppressed": checked.spool.suppressed,
            "invalid": checked.invalid.total(),
        }

    def contents(self) -> int:
        return self._checked.spool.digest

    def part_of(self) -> int:
        return 0

    def parameters(self) -> dict[str, str]:
        """What an approval is bound to: the target, the files' contents, and the people read from them."""
        checked = self._checked
        return {
            **self.target(),
            "file": checked.sha256,
            "suppression": checked.suppression_sha256,
            "people": f"{checked.spool.kept} {checked.spool.digest:x}",
            # Different columns could produce the same people in another order.
            "columns": checked.places,
        }

    async def facts(self, look_up: LookUp, /) -> tuple[Fact, ...]:
        checked, spool = self._checked, self._checked.spool
        return (
            *await target_facts(self.request, spool.kept, look_up),
            name("file", self.name),
            count("rows", checked.rows),
            count("emails", checked.emails),
            count("phones", checked.phones),
            count("duplicates", spool.duplicates),
            count("suppressed", spool.suppressed),
            count("invalid", checked.invalid.total()),
            samples(checked.sample),
            count("calls", self._calls),
        )


class RestOfUpload:
    """The rest of a stopped upload, as the guard sees it: the people not known to be applied.

    Args:
        digest: of these people.
    """

    def __init__(self, write: FileWrite, job: Job, digest: int) -> None:
        self._write = write
        self._job = job
        self._digest = digest
        self._sent, self._doubtful = job.position

    def target(self) -> dict[str, str]:
        return self._write.target()

    def counts(self) -> dict[str, int]:
        return {"users": self._job.total - self._sent}

    def contents(self) -> int:
        return self._digest

    def part_of(self) -> int:
        return self._write.contents()

    def parameters(self) -> dict[str, str]:
        # Each run makes a new rest, even if it got no further: what became of an earlier resume is not its outcome.
        position = f"{self._sent} {self._doubtful} after {self._job.write}"
        return self._write.parameters() | {"upload": self._job.id, "from": position}

    async def facts(self, look_up: LookUp, /) -> tuple[Fact, ...]:
        job = self._job
        facts = [
            *await target_facts(self._write.request, job.total - self._sent, look_up),
            name("file", self._write.name),
            Fact("resumes", "note", {"upload": job.id, "sent": self._sent, "total": job.total}),
        ]
        if job.state == "running":
            facts.append(Fact("running", "warning", value=True))
        if self._doubtful:
            facts.append(Fact("doubtful", "warning", self._doubtful))
        return tuple(facts)
