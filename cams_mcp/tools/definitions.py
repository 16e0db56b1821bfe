"""The tool definitions that clients list, and which of them each caller sees.

Building the definitions from the models would add about 5% to startup, which needs the models for nothing else. So
`tools.json`, next to this file, holds prebuilt definitions. It also makes changes to the models visible in review.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import mcp_types as types

from cams_mcp.access import READ_SCOPE, WRITE_SCOPE, Access
from cams_mcp.approval.card import CARD_TOOLS, card_tools, tool_meta

SNAPSHOT = Path(__file__).with_name("tools.json")


class Catalog:
    """The tools of one server. Only this class decides which of them a caller sees and may call.

    Args:
        cards: whether clients that show cards get the tools of the approval card.

    Attributes:
        instructions: sent to the assistant when a client connects.
        writing: names of the tools that write or may write: every tool not declared read-only, and those of the card.
        has_cards: whether there are approval cards.
    """

    def __init__(self, tools: Iterable[types.Tool], instructions: str = "", *, cards: bool = False) -> None:
        self.instructions = instructions
        self._tools = {tool.name: tool for tool in tools}
        writing = {
            name
            for name, tool in self._tools.items()
            if tool.annotations is None or not tool.annotations.read_only_hint
        }
        self.has_cards = cards and bool(writing)
        self.writing = frozenset(writing | CARD_TOOLS if self.has_cards else writing)

    def __iter__(self) -> Iterator[types.Tool]:
        return iter(self._tools.values())

    @property
    def names(self) -> list[str]:
        return list(self._tools)

    def find(self, name: str, *, cards: bool = False) -> types.Tool | None:
        """A tool by its name. `cards`: whether the client shows cards."""
        if cards and self.has_cards and name in CARD_TOOLS:
            return next(tool for tool in card_tools() if tool.name == name)
        return self._tools.get(name)

    def visible(self, access: Access, *, cards: bool = False) -> list[types.Tool]:
        """The tools that a caller sees, in listing order. `cards`: whether the client shows cards."""
        tools = [tool for tool in self if self.missing_scope(tool.name, access) is None]
        if not (cards and self.has_cards and access.may_write):
            return tools
        meta = tool_meta()
        shown = [tool.model_copy(update={"meta": meta}) if tool.name in self.writing else tool for tool in tools]
        return [*shown, *card_tools()]

    def missing_scope(self, name: object, access: Access) -> str | None:
        """The scope that a caller lacks for a tool; None if the caller may call it."""
        if not access.may_read:
            return READ_SCOPE
        is_write = isinstance(name, str) and name in self.writing  # a client may send any JSON value
        return WRITE_SCOPE if is_write and not access.may_write else None


def load_catalog(
    *, read_only: bool = False, uploads: bool = False, tokens: bool = True, cards: bool = False
) -> Catalog:
    """The tools that an operator offers.

    Args:
        read_only: leave out the tools that write.
        uploads: add the file tools, unless `read_only`.
        tokens: whether the tools that write take a confirmation token.
        cards: whether clients that show cards get the tools of the approval card.
    """
    stored: dict[str, Any] = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    tools: list[dict[str, Any]] = [*stored["operations"], *(stored["files"] if uploads and not read_only else [])]
    offered = [tool for tool in tools if not read_only or tool["annotations"]["readOnlyHint"]]
    if not tokens:
        for tool in offered:
            for schema in ("inputSchema", "outputSchema"):
                tool[schema]["properties"].pop("confirmation_token", None)
    return Catalog(map(types.Tool.model_validate, offered), stored["instructions"], cards=cards)


def render_snapshot() -> str:
    """The text of `tools.json` for the current operations."""
    from cams_mcp.operations import INSTRUCTIONS, OPERATIONS  # needed only to build the snapshot
    from cams_mcp.tools.schemas import make_tool
    from cams_mcp.upload.service import FILE_TOOLS

    made = {
        kind: [make_tool(tool).model_dump(by_alias=True, exclude_none=True, mode="json") for tool in tools]
        for kind, tools in (("operations", OPERATIONS), ("files", FILE_TOOLS))
    }
    return json.dumps({"instructions": INSTRUCTIONS, **made}, indent=1, ensure_ascii=False) + "\n"
