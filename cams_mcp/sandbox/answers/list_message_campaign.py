"""ListMessageCampaign, answered from the made-up account."""

from __future__ import annotations

from typing import Any

from cams_mcp.sandbox.rows import check_target, contains, equals, nested_page, of_page
from cams_mcp.sandbox.state import State


def answer(state: State, given: dict[str, str]) -> dict[str, Any]:
    check_target(state, given, "CustSpaceId", "PageId", "Page")
    rows = [
        row
        for row in state.account.campaigns
        if of_page(row, given)
        and equals(row, "Status", given.get("Status"))
        and contains(row, "CampaignName", given.get("CampaignName"))
        and equals(row, "CampaignId", given.get("CampaignId"))
    ]
    total, shown = nested_page(rows, given)
    # The documentation's sample of a success has this code: `Success` decides.
    answer = {"AccessDeniedDetail": "None", "Message": "OK", "Code": "Example", "Success": True}
    return answer | {"Total": total, "Data": shown}
