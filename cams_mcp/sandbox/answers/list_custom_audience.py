"""ListCustomAudience, answered from the made-up account."""

from __future__ import annotations

from typing import Any

from cams_mcp.sandbox.rows import check_target, contains, equals, nested_page, of_page
from cams_mcp.sandbox.state import State


def answer(state: State, given: dict[str, str]) -> dict[str, Any]:
    check_target(state, given, "CustSpaceId", "PageId", "Page")
    rows = [
        row | {"TokenTotal": row["TokenTotal"] + len(state.people.get(row["CustomAudienceId"], ()))}
        for row in state.account.audiences
        if of_page(row, given)
        and equals(row, "TokenType", given.get("TokenType"))
        and contains(row, "CustomAudienceName", given.get("CustomAudienceName"))
        and equals(row, "CustomAudienceId", given.get("CustomAudienceId"))
    ]
    total, shown = nested_page(rows, given)
    return {
        "AccessDeniedDetail": "None",
        "Message": "OK",
        "Code": "OK",
        "Success": True,
        "Total": total,
        "Data": shown,
    }
