"""AddCustomAudienceUser, as documented on its page of the CAMS API reference: the one write."""

import re
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from cams_mcp.models import NESTED, Operation, Required, Response, Strict, WriteRequest
from cams_mcp.redaction import mask_email, mask_phone

MAX_USERS = 10_000
"""Users per call ("You can include up to 10,000 user records in each API call")."""

MIN_MATCHED = 100
"""Below this many matched users Meta discards the data ("If fewer than 100 users are matched, Meta discards")."""

_EMAIL = re.compile(r"[^\s@,;<>()]+@[^\s@,;<>()]+\.[^\s@,;<>().]+")
_PHONE_SEPARATORS = re.compile(r"[\s().\-/]")
_PHONE_DIGITS = re.compile(r"\+?[0-9]{7,15}")


def _check_email(value: str) -> str:
    if len(value) > 254 or not _EMAIL.fullmatch(value.strip()):  # noqa: PLR2004 - RFC 5321's limit of a path
        raise PydanticCustomError("email", "must be an e-mail address like name@example.com (or leave it out)")
    return value


def _check_phone(value: str) -> str:
    if not _PHONE_DIGITS.fullmatch(_PHONE_SEPARATORS.sub("", value)):
        raise PydanticCustomError("phone", "must be 7 to 15 digits with the country code (or leave it out)")
    return value


class AudienceUser(Strict):
    """One person: an e-mail address, a phone number, or both."""

    email: Annotated[str | None, AfterValidator(_check_email), Field(description="E-mail address.")] = None
    phone: Annotated[str | None, AfterValidator(_check_phone), Field(description="Digits with country code.")] = None

    @model_validator(mode="after")
    def _has_either(self) -> Self:
        if self.email is None and self.phone is None:
            raise PydanticCustomError("user", "needs an email, a phone, or both")
        return self


class AddCustomAudienceUserRequest(WriteRequest):
    """Add people to a custom audience: hands their e-mails and phones to Meta for matching. Cannot be undone. Call \
only when the user asked for it, with the user's own list. Nothing is sent until the user confirms: a dialog appears, \
or you get a preview and a confirmation_token: show the preview, and call again only after their yes. Meta discards \
uploads with under 100 matches; matching takes up to a day."""

    in_body: ClassVar[frozenset[str]] = frozenset({"Users"})

    cust_space_id: Annotated[Required, Field(description="From list_instance.")]
    page_id: Annotated[Required, Field(description="From list_custom_audience.")]
    ad_account_id: Annotated[Required, Field(description="From list_custom_audience.")]
    custom_audience_id: Annotated[Required, Field(description="From list_custom_audience.")]
    users: Annotated[
        Annotated[list[AudienceUser], Field(min_length=1, max_length=MAX_USERS)] | None,
        NESTED,
        Field(description="People; phones as digits with country code. Left out only with batch_last_flag."),
    ] = None
    estimated_num_total: Annotated[int | None, Field(ge=0, description="Users over all batches of this upload.")] = None
    batch_last_flag: Annotated[bool | None, Field(description="True on the last batch of an upload.")] = None

    @model_validator(mode="after")
    def _has_users(self) -> Self:
        if self.users is None and self.batch_last_flag is not True:
            raise PydanticCustomError("users", "users is required (it may be left out only with batch_last_flag true)")
        return self

    def described(self) -> list[str]:
        users = self.users or []
        emails = [user.email for user in users if user.email is not None]
        phones = [user.phone for user in users if user.phone is not None]
        lines = [
            f"Add {_count(len(users), 'person', 'people')} to a Meta custom audience?",
            (
                f"Audience {self.custom_audience_id}, ad account {self.ad_account_id}, page {self.page_id}, "
                f"instance {self.cust_space_id}."
            ),
            f"{len(emails):,} with e-mail, {len(phones):,} with phone.",
        ]
        samples = [*map(mask_email, emails[:2]), *map(mask_phone, phones[:2])]
        if samples:
            lines.append(f"For example {', '.join(samples)}.")
        if self.estimated_num_total is not None:
            lines.append(f"The whole upload is said to have {_count(self.estimated_num_total, 'person', 'people')}.")
        if self.batch_last_flag:
            lines.append("This is the last batch of the upload.")
        lines.append("Their addresses go to Meta. This cannot be undone.")
        if (self.estimated_num_total or len(users)) < MIN_MATCHED:
            lines.append(f"Meta discards uploads with under {MIN_MATCHED} matches: so few people will have no effect.")
        else:
            lines.append(f"If Meta matches fewer than {MIN_MATCHED} of them, it discards the data.")
        return lines


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


class AddCustomAudienceUserResponse(Response):
    """CAMS says only that it accepted the call, never how many people matched."""


ADD_CUSTOM_AUDIENCE_USER = Operation(
    action="AddCustomAudienceUser",
    title="Add people to a custom audience",
    request=AddCustomAudienceUserRequest,
    response=AddCustomAudienceUserResponse,
    writes=True,
)
