"""The SDK's client over a toolbox made as a test wants it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from mcp import Client
from support import client_of

from cams_mcp.access import LOCAL, Access
from cams_mcp.guard.guard import Guard
from cams_mcp.guard.policy import Policy
from cams_mcp.operations import OPERATIONS
from cams_mcp.sandbox import Sandbox
from cams_mcp.server.server import create_server
from cams_mcp.store import Store
from cams_mcp.tools.definitions import Catalog
from cams_mcp.tools.schemas import make_tool
from cams_mcp.tools.toolbox import Toolbox
from cams_mcp.upload.service import FILE_TOOLS


@asynccontextmanager
async def client_over(
    sandbox: Sandbox,
    *,
    mode: str = "auto",
    read_only: bool = False,
    uploads: bool = False,
    access: Callable[[], Access] = lambda: LOCAL,
    service: dict[str, Any] | None = None,
    **toolbox: Any,
) -> AsyncGenerator[Client]:
    """A client of a server over `sandbox`.

    Args:
        uploads: list the file tools too; they cannot be called.
        access: what the caller may do.
        service: collaborators of the client of CAMS.
        toolbox: more arguments of `Toolbox`.
    """
    async with client_of(sandbox, **(service or {})) as cams:
        tools = Toolbox(OPERATIONS, cams, Guard(cams, Store(None), Policy()), **toolbox)
        listed = [tool for tool in OPERATIONS if not (read_only and tool.writes)]
        catalog = Catalog(make_tool(tool) for tool in [*listed, *(FILE_TOOLS if uploads else ())])
        async with Client(create_server(catalog, tools, access), mode=mode) as client:
            yield client
