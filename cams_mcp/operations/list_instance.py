"""ListInstance, as documented on its page of the CAMS API reference. Only the official SDK has BindId and IsBind."""

import re
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AliasChoices, Field

from cams_mcp.fields import BOUNDED, Id, Text, one_of, wrong
from cams_mcp.models import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Listing, Request, Rows, Tolerant
from cams_mcp.operation import PAGE_ARGUMENTS, Operation

_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", re.ASCII)


def _check_time(value: str) -> str:
    try:
        # strptime alone accepts digits of any script and any whitespace.
        datetime.strptime(value if _TIME.fullmatch(value) else "", "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - format only
    except ValueError:
        raise wrong("must look like 2026-01-31 00:00:00") from None
    return value


class ListInstanceRequest(Request):
    """List this account's channel instances. Call it first to get the cust_space_id for the other tools \
(direct customers: the instance_id)."""

    channel_type: Annotated[
        str | None,
        one_of("whatsapp", "messenger", "instagram", "viber"),
        Field(description="whatsapp, messenger, instagram or viber."),
    ] = None
    instance_name: Annotated[Text | None, Field(description="Filter by name.")] = None
    instance_id: Annotated[Id | None, Field(description="Filter by id.")] = None
    submit_time: Annotated[
        Annotated[str, AfterValidator(_check_time)] | None,
        Field(description="YYYY-MM-DD HH:MM:SS."),
    ] = None
    resource_group_id: Annotated[Id | None, Field(description="Filter by group.")] = None
    filter_str: Annotated[Text | None, Field(description="Free text filter.")] = None
    bind_id: Annotated[Id | None, Field(description="Filter by bound id.")] = None
    is_bind: Annotated[bool | None, Field(description="Only bound, or only unbound.")] = None
    page_size: Annotated[int, Field(ge=1, le=MAX_PAGE_SIZE, description="Rows per page."), BOUNDED] = DEFAULT_PAGE_SIZE
    page_index: Annotated[int, Field(ge=1, description="Page number."), BOUNDED] = 1


class Instance(Tolerant):
    """One channel instance."""

    cust_space_id: Annotated[str | None, Field(description="cust_space_id for the other tools.")] = None
    instance_id: Annotated[str | None, Field(description="Its id.")] = None
    instance_name: Annotated[str | None, Field(description="Its name.")] = None
    instance_description: Annotated[str | None, Field(description="Free text.")] = None
    channel_type: Annotated[str | None, Field(description="Its channel.")] = None
    state: Annotated[str | None, Field(description="E.g. published.")] = None
    submit_time: Annotated[str | None, Field(description="When submitted.")] = None
    country_id: Annotated[str | None, Field(description="Country.")] = None
    contact_mail: Annotated[str | None, Field(description="Contact.")] = None
    office_address: Annotated[str | None, Field(description="Office.")] = None
    isv_terms: Annotated[str | None, Field(description="ISV terms.")] = None
    facebook_bm_id: Annotated[str | None, Field(description="Meta Business Manager id.")] = None
    resource_group_id: Annotated[str | None, Field(description="Resource group.")] = None
    resource_region_id: Annotated[str | None, Field(description="Region.")] = None


class ListInstanceResponse(Listing):
    total: Annotated[
        int | None,
        Field(description="Rows on all pages.", validation_alias=AliasChoices("TotalCount", "total")),
    ] = None
    data: Annotated[list[Instance], Rows, Field(description="The instances.")] = Field(default_factory=list[Instance])


LIST_INSTANCE = Operation(
    action="ListInstance",
    title="List channel instances",
    request=ListInstanceRequest,
    response=ListInstanceResponse,
    pages=PAGE_ARGUMENTS,
    example={"channel_type": "messenger"},
    resource="acs:cams:*:*:instance/*",
)
