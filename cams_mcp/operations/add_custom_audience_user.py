"""AddCustomAudienceUser, as documented on its page of the CAMS API reference: the only write."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, ValidationInfo

from cams_mcp.facts import Fact
from cams_mcp.fields import BOUNDED, NESTED, Id, wrong
from cams_mcp.models import Request, Response
from cams_mcp.operation import Chinese, Effect, Evidence, LookUp, Operation
from cams_mcp.operations.audience.description import describe
from cams_mcp.operations.audience.question import LOOK_UPS, facts_of
from cams_mcp.operations.audience.users import AudienceUser, list_digest, person, person_hash
from cams_mcp.operations.list_custom_audience import LIST_CUSTOM_AUDIENCE

MAX_USERS = 10_000
"""Users per call ("You can include up to 10,000 user records in each API call")."""


def _check_users(users: list[AudienceUser] | None, info: ValidationInfo) -> list[AudienceUser] | None:
    # An invalid flag is missing from the data and reported separately.
    if users is None and info.data.get("batch_last_flag", True) is not True:
        raise wrong("is required (may be omitted only if batch_last_flag is true)")
    return users


class AddCustomAudienceUserRequest(Request):
    """Add people to a custom audience: sends their e-mails and phones to Meta for matching. Cannot be undone. Call \
only at the user's request, with the user's own list. Nothing is sent until the user approves: a dialog, page or card \
asks them, or you get a preview to show them. Follow the result's `next`, and never decide for them. Meta discards \
uploads with under 100 matches; matching takes up to a day."""

    in_body: ClassVar[frozenset[str]] = frozenset({"Users"})

    cust_space_id: Annotated[Id, Field(description="From list_instance.")]
    page_id: Annotated[Id, Field(description="From list_custom_audience.")]
    ad_account_id: Annotated[Id, Field(description="From list_custom_audience.")]
    custom_audience_id: Annotated[Id, Field(description="From list_custom_audience.")]
    estimated_num_total: Annotated[int | None, Field(ge=0, description="Users in all batches."), BOUNDED] = None
    batch_last_flag: Annotated[bool | None, Field(description="True on the last batch.")] = None
    users: Annotated[
        Annotated[list[AudienceUser], Field(min_length=1, max_length=MAX_USERS)] | None,
        NESTED,
        AfterValidator(_check_users),
        Field(
            description="People; phones as digits with country code. Omit only with batch_last_flag.",
            validate_default=True,
        ),
    ] = None

    def target(self) -> dict[str, str]:
        names = ("cust_space_id", "page_id", "ad_account_id", "custom_audience_id")
        return {name: getattr(self, name) for name in names}

    def counts(self) -> dict[str, int]:
        users = self.users or []
        return {
            "users": len(users),
            "emails": sum(user.email is not None for user in users),
            "phones": sum(user.phone is not None for user in users),
            "duplicates": len(users) - len({person(user) for user in users}),
        }

    def contents(self) -> int:
        return list_digest({person_hash(*person(user)) for user in self.users or []})

    def part_of(self) -> int:
        return 0

    async def facts(self, look_up: LookUp) -> tuple[Fact, ...]:
        return await facts_of(self, look_up)


class AddCustomAudienceUserResponse(Response):
    """CAMS reports only that it accepted the call, never how many people matched."""


ADD_CUSTOM_AUDIENCE_USER = Operation(
    action="AddCustomAudienceUser",
    title="Add people to a custom audience",
    request=AddCustomAudienceUserRequest,
    response=AddCustomAudienceUserResponse,
    effect=Effect(
        describe=describe,
        unit="user",
        target="audience",
        target_argument="custom_audience_id",
        contents="list",
        chinese=Chinese(target="受众", contents="名单", note="Meta 最长可能需要一天才能更新该值"),
        evidence=Evidence(
            operation=LIST_CUSTOM_AUDIENCE, element="token_total", note="Meta may take up to a day to count"
        ),
        look_ups=LOOK_UPS,
    ),
    example={
        "cust_space_id": "cams-msgr0001",
        "page_id": "102938475600001",
        "ad_account_id": "238400000000001",
        "custom_audience_id": "6000019000000",
        "users": [{"email": f"customer{number:03}@example.com"} for number in range(150)],
    },
)
