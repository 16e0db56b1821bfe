"""ListPageAdAccount, answered from the made-up account."""

from __future__ import annotations

from typing import Any

from cams_mcp.sandbox.rows import check_target
from cams_mcp.sandbox.state import State


def answer(state: State, given: dict[str, str]) -> dict[str, Any]:
    check_target(state, given, "CustSpaceId", "PageId")
    pages = {(row["CustSpaceId"], row["PageId"], row["AdAccountId"]) for row in state.account.audiences}
    shown = [
        {"AdAccountId": account, "AdAccountName": f"Ads {account[-3:]}", "Currency": "USD", "PageId": page}
        for space, page, account in sorted(pages)
        if (space, page) == (given["CustSpaceId"], given["PageId"])
    ]
    return {"AccessDeniedDetail": "None", "Message": "OK", "Code": "OK", "Success": True, "Data": shown}
