"""ListChatGroup, answered from the made-up account."""

from __future__ import annotations

from typing import Any

from cams_mcp.sandbox.gateway import Refused
from cams_mcp.sandbox.rows import check_target, contains, equals, nested_page
from cams_mcp.sandbox.state import State


def answer(state: State, given: dict[str, str]) -> dict[str, Any]:
    check_target(state, given, "CustSpaceId", "BusinessNumber", "Page")
    if given.get("ChannelType", "WHATSAPP").upper() not in ("", "WHATSAPP"):
        raise Refused(200, "InvalidParameter.ChannelTypeNotSupport", "The channel type is not supported.")
    number = given["BusinessNumber"].lstrip("+")
    if not (number.isascii() and number.isdigit()):
        raise Refused(200, "InvalidParameter.PhoneNumberError", "The phone number is wrong.")
    rows = [
        row
        for row in state.account.groups
        if row["CustSpaceId"] == given["CustSpaceId"]
        and row["BusinessNumber"] == number
        and equals(row, "GroupStatus", given.get("GroupStatus"))
        and contains(row, "Subject", given.get("Subject"))
        and equals(row, "GroupLink", given.get("GroupLink"))
        and equals(row, "GroupType", given.get("GroupType"))
    ]
    total, shown = nested_page(rows, given)
    answer = {"AccessDeniedDetail": "None", "Message": "None", "Code": "OK", "Success": True}
    return answer | {"Data": {"Total": total, "List": shown}}
