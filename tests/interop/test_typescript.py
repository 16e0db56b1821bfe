"""The TypeScript SDK's clients: v1 (npm @modelcontextprotocol/sdk) and v2 (npm @modelcontextprotocol/client)."""

from __future__ import annotations

from typing import Any

import pytest
from support_peers import (
    Server,
    check_previews,
    check_questions,
    check_tools_and_read,
    check_what_arrived,
    do_job,
    node_program,
)

from cams_mcp.sandbox import Sandbox

CLIENTS = pytest.mark.parametrize(
    ("program", "package", "mode", "protocol"),
    [
        ("old.mjs", "@modelcontextprotocol/sdk", None, "2025-11-25"),
        ("new.mjs", "@modelcontextprotocol/client", "legacy", "2025-11-25"),
        ("new.mjs", "@modelcontextprotocol/client", "auto", "2026-07-28"),
        ("new.mjs", "@modelcontextprotocol/client", {"pin": "2026-07-28"}, "2026-07-28"),
    ],
    ids=["v1", "v2-legacy", "v2-auto", "v2-pinned"],
)
ASKS = pytest.mark.parametrize("asks", [True, False], ids=["asks", "cannot-ask"])


@pytest.fixture
def command(program: str, package: str) -> list[str]:
    return node_program(program, package)


@CLIENTS
@ASKS
def test_the_client_lists_reads_refuses_and_confirms(
    command: list[str],
    sandbox: Sandbox,
    server: Server,
    reached: dict[str, Any],
    mode: Any,
    protocol: str,
    *,
    asks: bool,
) -> None:
    report = do_job(command, server.folder, server=reached, mode=mode, asks=asks)

    assert report["protocol"] == protocol
    check_tools_and_read(report)
    (check_questions if asks else check_previews)(report)
    check_what_arrived(sandbox)
