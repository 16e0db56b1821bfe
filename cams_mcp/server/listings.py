"""Reads lists for completions and resources page by page, through the tools, so that every limit applies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from cams_mcp.operation import AnyOperation

Row = dict[str, Any]
CallTool = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Calls a tool, given its name and arguments, and returns the result's structured content."""

PAGE_SIZE = 100


async def read_rows(
    call: CallTool, operation: AnyOperation, arguments: dict[str, Any], *, most_pages: int
) -> tuple[list[Row], int | None]:
    """Read the first pages of a list. Returns the rows, and the total number of rows or None if it is unknown.

    Args:
        operation: an operation that lists in pages.
        most_pages: the maximum number of calls.

    Raises:
        CamsMcpError: a call failed; see `cams_mcp.errors`.
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
