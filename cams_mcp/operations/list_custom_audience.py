"""ListCustomAudience, as documented on its page of the CAMS API reference."""

from typing import Annotated

from pydantic import Field

from cams_mcp.fields import Id, Text
from cams_mcp.models import Listing, Page, PageArgument, Request, Rows, Tolerant
from cams_mcp.operation import PAGE_OBJECT, Operation


class ListCustomAudienceRequest(Request):
    """List the Meta custom audiences of a Messenger page, with ids and sizes. token_total counts tokens, not people; \
times are as CAMS returns them."""

    cust_space_id: Annotated[Id, Field(description="From list_instance.")]
    page_id: Annotated[Id, Field(description="Messenger Page ID; ask if unknown.")]
    ad_account_id: Annotated[Id | None, Field(description="Filter by ad account.")] = None
    token_type: Annotated[Text | None, Field(description="Filter, e.g. custom.")] = None
    custom_audience_name: Annotated[Text | None, Field(description="Filter by name.")] = None
    custom_audience_id: Annotated[Id | None, Field(description="Filter by id.")] = None
    page: PageArgument = Page()


class CustomAudience(Tolerant):
    """One custom audience."""

    custom_audience_id: Annotated[str | None, Field(description="For add_custom_audience_user.")] = None
    custom_audience_name: Annotated[str | None, Field(description="Its name.")] = None
    description: Annotated[str | None, Field(description="Free text.")] = None
    status: Annotated[str | None, Field(description="Its status.")] = None
    token_total: Annotated[int | None, Field(description="Its size, in tokens.")] = None
    token_type: Annotated[str | None, Field(description="E.g. custom.")] = None
    upload_type: Annotated[str | None, Field(description="excel or intf (API).")] = None
    page_id: Annotated[str | None, Field(description="Its page.")] = None
    ad_account_id: Annotated[str | None, Field(description="For add_custom_audience_user.")] = None
    create_time: Annotated[int | None, Field(description="As CAMS returns it.")] = None
    update_time: Annotated[int | None, Field(description="As CAMS returns it.")] = None


class ListCustomAudienceResponse(Listing):
    data: Annotated[list[CustomAudience], Rows, Field(description="The audiences.")] = Field(
        default_factory=list[CustomAudience]
    )


LIST_CUSTOM_AUDIENCE = Operation(
    action="ListCustomAudience",
    title="List custom audiences",
    request=ListCustomAudienceRequest,
    response=ListCustomAudienceResponse,
    pages=PAGE_OBJECT,
    example={"cust_space_id": "cams-msgr0001", "page_id": "102938475600001"},
)
