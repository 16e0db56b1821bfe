"""Lists read for completion and resources: page by page through the tools, so that every limit holds for them too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from cams_mcp.operation import AnyOperation

Row = dict[str, Any]
CallTool = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Calls a tool, given its name and arguments, and gives the result's structured content."""

PAGE_SIZE = 100


async def read_rows(
    call: CallTool, operation: AnyOperation, arguments: dict[str, Any], *, most_pages: int
) -> tuple[list[Row], int | None]:
    """The rows of the first pages of a list, and the number of all rows; None if it is not known.

    Args:
        operation: one that lists in pages.
        most_pages: where to stop, in calls.

    Raises:
        CamsMcpError: as `cams_mcp.errors` says.
    """
    rows: list[Row] = []
    total: int | None = None
    size, index = PAGE_SIZE, 1
    assert operation.pages is not None
    for _ in range(most_pages):
        content = await call(operation.name, arguments | operation.pages.arguments(size, index))
        rows += cast("list[Row]", content["data"])
        total = content.get("total")
        if not content["has_more"]:
            return rows, len(rows)
        size, index = content.get("next_size", size), content["next_index"]
    return rows, total
