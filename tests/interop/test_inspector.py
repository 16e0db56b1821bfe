"""The MCP Inspector's command line (npm @modelcontextprotocol/inspector). It declares no elicitation to a server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support import VALID_ARGUMENTS, writes_that_arrived
from support_peers import CONFIRMED, JOB, REFUSED, WRITE, Server, check_what_arrived, node_package, run

from cams_mcp.sandbox import Sandbox

ERAS = pytest.mark.parametrize("era", ["legacy", "modern"])


class Inspector:
    """Its command line, with our server to look at."""

    def __init__(self, program: list[str], server: Server, reached: dict[str, Any]) -> None:
        self._program, self._server, self._reached = program, server, reached

    def run(self, era: str, *arguments: str) -> Any:
        """Run it once; gives the result it prints."""
        options = ["--cli", "--format", "json", "--protocol-era", era, *arguments]
        if "url" in self._reached:
            options += ["--transport", "http", "--server-url", self._reached["url"]]
        else:
            options += ["--", self._reached["command"], *self._reached["args"]]
        done = run([*self._program, *options], self._server.folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)["result"]

    def call(self, era: str, tool: str, arguments: dict[str, Any]) -> Any:
        options = ("--method", "tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments))
        return self.run(era, *options)["structuredContent"]


@pytest.fixture
def program() -> list[str]:
    return node_package("@modelcontextprotocol/inspector", "clients/launcher/build/index.js")


@pytest.fixture
def inspector(program: list[str], server: Server, reached: dict[str, Any]) -> Inspector:
    return Inspector(program, server, reached)


@ERAS
def test_the_inspector_finds_the_tools_and_nothing_wrong_with_their_schemas(inspector: Inspector, era: str) -> None:
    # With --strict it fails on a schema that it finds unportable.
    listed = inspector.run(era, "--method", "tools/list", "--strict")

    assert [tool["name"] for tool in listed["tools"]] == list(VALID_ARGUMENTS)


@ERAS
def test_the_inspector_reads(inspector: Inspector, era: str) -> None:
    read = inspector.call(era, JOB["read"]["name"], JOB["read"]["arguments"])

    assert len(read["data"]) == 3
    assert read["next_index"] == 2


@ERAS
def test_the_inspector_gets_a_preview_and_sends_with_its_token_from_another_process(
    inspector: Inspector, sandbox: Sandbox, era: str
) -> None:
    left_alone = inspector.call(era, WRITE, REFUSED)
    preview = inspector.call(era, WRITE, CONFIRMED)
    assert left_alone["status"] == preview["status"] == "confirmation_required"
    assert not writes_that_arrived(sandbox)

    sent = inspector.call(era, WRITE, CONFIRMED | {"confirmation_token": preview["confirmation_token"]})

    assert sent["status"] == "sent"
    check_what_arrived(sandbox)
