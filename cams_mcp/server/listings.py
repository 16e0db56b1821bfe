"""Lists read for completion and resources: page by page through the tools, so that every limit holds for them too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

Row = dict[str, Any]
Call = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Calls a tool, given its name and arguments, and gives the result's structured content."""

PAGE_SIZE = 100


async def read_rows(call: Call, tool: str, arguments: dict[str, Any], *, pages: int) -> tuple[list[Row], int | None]:
    """The rows of the first pages of a list, and the number of all rows; None if it is not known.

    Args:
        pages: the most calls.

    Raises:
        CamsMcpError: as `cams_mcp.errors` says.
    """
    rows: list[Row] = []
    total: int | None = None
    size, index = PAGE_SIZE, 1
    for _ in range(pages):
        page: dict[str, Any] = {"page_size": size, "page_index": index}
        content = await call(tool, arguments | (page if tool == "list_instance" else {"page": _nested(page)}))
        rows += cast("list[Row]", content["data"])
        total = content.get("total")
        if not content["has_more"]:
            return rows, len(rows)
        size, index = content.get("next_size", size), content["next_index"]
    return rows, total


def _nested(page: dict[str, Any]) -> dict[str, Any]:
    return {"size": page["page_size"], "index": page["page_index"]}
