"""ListPageAdAccount, as the official SDK declares it. Not a tool: the question looks up the ad account's name."""

from typing import Annotated

from pydantic import Field

from cams_mcp.fields import Id
from cams_mcp.models import Request, Response, Rows, Tolerant
from cams_mcp.operation import Operation


class ListPageAdAccountRequest(Request):
    """List the ad accounts of a Messenger page."""

    cust_space_id: Annotated[Id, Field(description="From list_instance.")]
    page_id: Annotated[Id, Field(description="Messenger Page ID.")]


class PageAdAccount(Tolerant):
    """One ad account."""

    ad_account_id: Annotated[str | None, Field(description="Its id.")] = None
    ad_account_name: Annotated[str | None, Field(description="Its name.")] = None
    currency: Annotated[str | None, Field(description="Its currency.")] = None
    page_id: Annotated[str | None, Field(description="Its page.")] = None


class ListPageAdAccountResponse(Response):
    data: Annotated[list[PageAdAccount], Rows, Field(description="The ad accounts.")] = Field(
        default_factory=list[PageAdAccount]
    )


LIST_PAGE_AD_ACCOUNT = Operation(
    action="ListPageAdAccount",
    title="List ad accounts of a page",
    request=ListPageAdAccountRequest,
    response=ListPageAdAccountResponse,
    example={"cust_space_id": "cams-msgr0001", "page_id": "102938475600001"},
)
