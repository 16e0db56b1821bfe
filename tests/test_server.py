from __future__ import annotations

import json

import pytest
from support import AUDIENCE, ERAS, TARGET, VALID_ARGUMENTS, mcp_client, people, text_of, yes

from cams_mcp.sandbox import Sandbox


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("tool", [name for name in VALID_ARGUMENTS if name.startswith("list_")])
async def test_a_list_tool_answers_with_rows_and_the_same_as_text(sandbox: Sandbox, tool: str, mode: str) -> None:
    async with mcp_client(sandbox, mode=mode) as client:
        result = await client.call_tool(tool, VALID_ARGUMENTS[tool])

    assert not result.is_error
    assert result.structured_content["data"]
    assert json.loads(text_of(result)) == result.structured_content


@pytest.mark.parametrize("mode", ERAS)
async def test_a_confirmed_write_reaches_the_audience(sandbox: Sandbox, mode: str) -> None:
    person = yes()
    async with mcp_client(sandbox, mode=mode, elicitation_callback=person) as client:
        result = await client.call_tool("add_custom_audience_user", TARGET | {"users": people(120)})

    assert result.structured_content["status"] == "sent"
    assert len(person.asked) == 1
    assert len(sandbox.people(AUDIENCE)) == 120
