from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import serving
from support_peers import Server

from cams_mcp.sandbox import Sandbox, sandbox_app


@pytest.fixture
def server(sandbox: Sandbox, tmp_path: Path) -> Iterator[Server]:
    """Our server as a program that calls the sandbox of this test."""
    with serving(sandbox_app(sandbox)) as endpoint:
        yield Server(endpoint, tmp_path)


@pytest.fixture(params=["stdio", "http"])
def reached(request: pytest.FixtureRequest, server: Server) -> Iterator[dict[str, Any]]:
    """How a peer reaches our server: the program to start, or the URL where it listens."""
    if request.param == "stdio":
        yield {"command": server.command[0], "args": server.command[1:]}
    else:
        with server.listening() as url:
            yield {"url": url}
