"""ListMessageCampaign, as documented on its page of the CAMS API reference (which calls a campaign a budget)."""

from typing import Annotated

from pydantic import Field

from cams_mcp.fields import Id, Text
from cams_mcp.models import Listing, Page, PageArgument, Request, Rows, Tolerant
from cams_mcp.operation import PAGE_OBJECT, Operation


class ListMessageCampaignRequest(Request):
    """List the marketing message campaigns of a Messenger page with status and budget \
(daily or lifetime; CAMS omits the currency unit)."""

    cust_space_id: Annotated[Id, Field(description="From list_instance.")]
    page_id: Annotated[Id, Field(description="Messenger Page ID; ask if unknown.")]
    ad_account_id: Annotated[Id | None, Field(description="Filter by ad account.")] = None
    status: Annotated[Text | None, Field(description="Status, e.g. AVAILABLE.")] = None
    campaign_name: Annotated[Text | None, Field(description="Filter by name.")] = None
    campaign_id: Annotated[Id | None, Field(description="Filter by id.")] = None
    page: PageArgument = Page()


class MessageCampaign(Tolerant):
    """One campaign."""

    campaign_id: Annotated[str | None, Field(description="Its id.")] = None
    campaign_name: Annotated[str | None, Field(description="Its name.")] = None
    status: Annotated[str | None, Field(description="E.g. AVAILABLE.")] = None
    budget: Annotated[int | None, Field(description="Amount; unit not documented.")] = None
    budget_type: Annotated[str | None, Field(description="daily or lifetime.")] = None
    page_id: Annotated[str | None, Field(description="Its page.")] = None
    ad_account_id: Annotated[str | None, Field(description="Its ad account.")] = None
    create_time: Annotated[int | None, Field(description="As CAMS returns it.")] = None


class ListMessageCampaignResponse(Listing):
    data: Annotated[list[MessageCampaign], Rows, Field(description="The campaigns.")] = Field(
        default_factory=list[MessageCampaign]
    )


LIST_MESSAGE_CAMPAIGN = Operation(
    action="ListMessageCampaign",
    title="List message campaigns",
    request=ListMessageCampaignRequest,
    response=ListMessageCampaignResponse,
    pages=PAGE_OBJECT,
    example={"cust_space_id": "cams-msgr0001", "page_id": "102938475600001", "status": "AVAILABLE"},
)
