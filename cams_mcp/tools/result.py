"""The result of a tool call, and the interface that runs tools. Lets the server start without importing the toolbox."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from cams_mcp.confirmation import Answered, Caller, Question


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The structured content of a tool result."""

    content: dict[str, Any]

    @property
    def text(self) -> str:
        """The content as compact JSON."""
        return as_text(self.content)


class Tools(Protocol):
    """Runs tools. `cams_mcp.tools.toolbox.Toolbox` implements it."""

    async def call(
        self, name: str, arguments: Mapping[str, Any], caller: Caller, *, answered: Answered | None = None
    ) -> ToolResult | Question: ...

    async def card_key(self, caller: Caller) -> str: ...

    def stop_waiting(self) -> bool: ...


def as_text(content: object) -> str:
    """Compact JSON, the form in which clients receive results."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))
