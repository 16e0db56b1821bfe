"""The tools as clients list them, made beforehand.

Making five tools from their models costs a twentieth of the server's start, and nothing else at start needs the models.
So `tools.json` beside this file holds the definitions; it is also where a change of a model shows in review. After
changing a model run `python -m cams_mcp.tools.definitions`; a test fails until then.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mcp_types as types

SNAPSHOT = Path(__file__).with_name("tools.json")


def list_tools(*, read_only: bool = False, uploads: bool = False) -> list[types.Tool]:
    """The definitions, in the order of listing.

    Args:
        read_only: leave out the tools that write.
        uploads: add the file tools, unless `read_only`.
    """
    stored: dict[str, list[dict[str, Any]]] = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    tools = [*stored["operations"], *(stored["files"] if uploads and not read_only else [])]
    return [types.Tool.model_validate(tool) for tool in tools if not read_only or tool["annotations"]["readOnlyHint"]]


def render() -> str:
    """The text of `tools.json` for the operations as they are."""
    from cams_mcp.operations import OPERATIONS  # only to make the snapshot
    from cams_mcp.tools.schemas import make_tool
    from cams_mcp.upload.service import FILE_TOOLS

    made = {
        kind: [make_tool(tool).model_dump(by_alias=True, exclude_none=True, mode="json") for tool in tools]
        for kind, tools in (("operations", OPERATIONS), ("files", FILE_TOOLS))
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SNAPSHOT.write_text(render(), encoding="utf-8")
