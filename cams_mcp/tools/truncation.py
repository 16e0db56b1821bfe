"""Truncates a list that would fill an assistant's context, and tells the assistant how to get the rest.

CAMS pages by size and number. The next page can start at the first omitted row only if that row's offset in the whole
list is a multiple of the page size. The cut is made where such a size is nearly as large as the part shown.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from cams_mcp.models import Request
from cams_mcp.operation import Pages
from cams_mcp.tools.result import as_text

CHARACTERS_PER_TOKEN = 4
"""For Latin text and JSON. Other scripts, such as Chinese, take closer to one token per character."""


def tokens(text: str) -> int:
    """Estimate the number of tokens in `text`, erring on the high side."""
    beyond = 0 if text.isascii() else sum(character > "\x7f" for character in text)
    return -(-(len(text) - beyond) // CHARACTERS_PER_TOKEN) + beyond


def fit(content: dict[str, Any], pages: Pages, request: Request, budget: int) -> dict[str, Any]:
    """Return `content`, the result of a list, cut to `budget` tokens.

    Keeps at least one row, whatever its size: after a page without rows, the caller could not continue.
    """
    rows: list[Any] = content.get("data", [])
    size, index = pages.window(request)
    if len(rows) < 2 or tokens(as_text(content)) <= budget:  # noqa: PLR2004
        return content
    if not _is_as_asked(content.get("total"), len(rows), size, index):
        return content
    # Leave room for the note, with numbers of maximum length.
    shell: dict[str, Any] = content | {"data": ()} | _rest(pages, size * index, size * index, size)
    left = budget - tokens(as_text(shell))
    sums = accumulate(tokens(as_text(row)) + 1 for row in rows)
    fitting = min(max(1, sum(used <= left for used in sums)), len(rows) - 1)
    shown, next_size = _cut((index - 1) * size, fitting)
    next_index = ((index - 1) * size + shown) // next_size + 1
    return content | {"data": rows[:shown]} | _rest(pages, next_size, next_index, shown)


def _is_as_asked(total: int | None, rows: int, size: int, index: int) -> bool:
    """Whether the offset of these rows in the whole list is known. It is not if the service changed the page size."""
    if rows > size:
        return False
    return index == 1 or total is None or rows == min(size, total - (index - 1) * size)


def _cut(before: int, fitting: int) -> tuple[int, int]:
    """How many of the fitting rows to show, and the next page's size, given the number of rows on earlier pages.

    Picks the pair whose smaller number is largest.
    """
    best = (1, 1)
    for shown in range(fitting, 0, -1):
        if shown <= min(best):
            break
        offset = before + shown
        next_size = next(size for size in range(fitting, 0, -1) if offset % size == 0)
        best = max(best, (shown, next_size), key=lambda pair: (min(pair), pair))
    return best


def _rest(pages: Pages, next_size: int, next_index: int, shown: int) -> dict[str, Any]:
    page = pages.arguments(next_size, next_index)
    note = (
        f"Only the first {shown} rows of this page are shown, to fit your context. "
        f"For the rest, call again with {as_text(page)} and otherwise the same arguments."
    )
    return {"has_more": True, "next_index": next_index, "next_size": next_size, "note": note}
