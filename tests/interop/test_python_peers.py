"""Python peers, each in a venv of its own: FastMCP's client, and agents whose model is a script.

The agents are those of Pydantic AI, the OpenAI Agents SDK and LangChain (langchain-mcp-adapters). The OpenAI Agents
SDK cannot be asked: its MCP servers take no elicitation callback (0.24). Pydantic AI (2.68) warns that with a
2026-07-28 server its elicitation handler is never called; with ours it is.
"""

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
    python_program,
)

from cams_mcp.sandbox import Sandbox

PEERS = [
    pytest.param("fastmcp_client.py", "fastmcp", {"asks": True, "mode": "auto"}, id="fastmcp-asks"),
    pytest.param("fastmcp_client.py", "fastmcp", {"asks": True, "mode": "legacy"}, id="fastmcp-asks-legacy"),
    pytest.param("fastmcp_client.py", "fastmcp", {"asks": False, "mode": "auto"}, id="fastmcp-cannot-ask"),
    pytest.param("pydantic_ai_agent.py", "pydantic_ai", {"asks": True}, id="pydantic-ai-asks"),
    pytest.param("pydantic_ai_agent.py", "pydantic_ai", {"asks": False}, id="pydantic-ai-cannot-ask"),
    pytest.param("openai_agent.py", "openai_agents", {"asks": False}, id="openai-agents"),
    pytest.param("langchain_agent.py", "langchain", {"asks": True}, id="langchain-asks"),
    pytest.param("langchain_agent.py", "langchain", {"asks": False}, id="langchain-cannot-ask"),
]


@pytest.fixture
def command(program: str, venv: str) -> list[str]:
    return python_program(program, venv)


@pytest.mark.parametrize(("program", "venv", "options"), PEERS)
def test_the_peer_lists_reads_refuses_and_confirms(
    command: list[str], sandbox: Sandbox, server: Server, reached: dict[str, Any], options: dict[str, Any]
) -> None:
    report = do_job(command, server.folder, server=reached, **options)

    check_tools_and_read(report)
    (check_questions if options["asks"] else check_previews)(report)
    check_what_arrived(sandbox)
