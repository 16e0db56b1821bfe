"""mcp-remote (npm): a client that only knows stdio reaches our HTTP server through it."""

from __future__ import annotations

import mcp_types as types
import pytest
from mcp import Client, StdioServerParameters
from support import ERAS, VALID_ARGUMENTS, Person, text_of, writes_that_arrived
from support_cli import environment
from support_peers import CONFIRMED, JOB, REFUSED, WRITE, Server, check_what_arrived, node_package

from cams_mcp.sandbox import Sandbox

PROTOCOLS = {"auto": "2026-07-28", "legacy": "2025-11-25"}
"""The bridge passes either era through."""


class OfTwoMinds(Person):
    """Refuses the first question and confirms the next."""

    async def __call__(self, context: object, params: types.ElicitRequestFormParams) -> types.ElicitResult:
        await super().__call__(context, params)
        if len(self.asked) == 1:
            return types.ElicitResult(action="decline")
        return types.ElicitResult(action="accept", content={"confirm": True})


@pytest.fixture
def program() -> list[str]:
    return node_package("mcp-remote", "dist/proxy.js")


def bridge(program: list[str], server: Server, url: str) -> StdioServerParameters:
    command, *arguments = [*program, url, "--transport", "http-only", "--silent"]
    return StdioServerParameters(command=command, args=arguments, env=environment(server.folder))


@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_behind_the_bridge_lists_reads_refuses_and_confirms(
    program: list[str], sandbox: Sandbox, server: Server, mode: str
) -> None:
    person = OfTwoMinds()
    with server.listening() as url:
        async with Client(bridge(program, server, url), mode=mode, elicitation_callback=person) as client:
            assert client.protocol_version == PROTOCOLS[mode]
            assert [tool.name for tool in (await client.list_tools()).tools] == list(VALID_ARGUMENTS)
            read = await client.call_tool(JOB["read"]["name"], JOB["read"]["arguments"])
            refused = await client.call_tool(WRITE, REFUSED)
            confirmed = await client.call_tool(WRITE, CONFIRMED)

    assert len(read.structured_content["data"]) == 3
    assert len(person.asked) == 2
    assert text_of(refused).startswith("Nothing was sent: the user declined.")
    assert confirmed.structured_content["status"] == "sent"
    check_what_arrived(sandbox)


@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_behind_the_bridge_that_cannot_ask_gets_a_preview(
    program: list[str], sandbox: Sandbox, server: Server, mode: str
) -> None:
    with server.listening() as url:
        async with Client(bridge(program, server, url), mode=mode) as client:
            preview = await client.call_tool(WRITE, CONFIRMED)
            assert not writes_that_arrived(sandbox)
            token = preview.structured_content["confirmation_token"]
            await client.call_tool(WRITE, CONFIRMED | {"confirmation_token": token})

    check_what_arrived(sandbox)
