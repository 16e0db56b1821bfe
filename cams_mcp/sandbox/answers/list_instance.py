"""ListInstance, answered from the made-up account."""

from __future__ import annotations

from typing import Any

from cams_mcp.sandbox.gateway import Refused
from cams_mcp.sandbox.rows import contains, equals, is_bound, page_of
from cams_mcp.sandbox.state import State


def answer(state: State, given: dict[str, str]) -> dict[str, Any]:
    channel = given.get("ChannelType", "")
    if channel and channel.lower() not in ("whatsapp", "messenger", "instagram", "viber"):
        raise Refused(200, "InvalidParameter.ChannelTypeNotSupport", "The channel type is not supported.")
    filtered = bool(given.keys() - {"PageSize", "PageIndex"})
    rows = [
        row
        for row in state.account.instances
        if not filtered
        or (
            equals(row, "ChannelType", channel.upper())
            and contains(row, "InstanceName", given.get("InstanceName"))
            and equals(row, "InstanceId", given.get("InstanceId"))
            and equals(row, "SubmitTime", given.get("SubmitTime"))
            and equals(row, "ResourceGroupId", given.get("ResourceGroupId"))
            and is_bound(state.account.bindings.get(row["InstanceId"]), given)
            and (
                contains(row, "InstanceName", wanted := given.get("FilterStr"))
                or contains(row, "InstanceDescription", wanted)
            )
        )
    ]
    total, shown = page_of(rows, given.get("PageSize", "10"), given.get("PageIndex", "1"))
    return {
        "AccessDeniedDetail": "{}",
        "Message": "NULL",
        "Code": "OK",
        "Success": True,
        "TotalCount": total,
        "Data": shown,
    }
