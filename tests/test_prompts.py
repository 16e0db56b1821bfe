from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import mcp_types as types
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.shared.exceptions import MCPError
from support import AUDIENCE, ERAS, PAGE, client_over, examples

from cams_mcp.access import READ_SCOPE, Access
from cams_mcp.errors import InvalidArguments
from cams_mcp.operations import OPERATIONS
from cams_mcp.operations.prompts import PROMPTS
from cams_mcp.redaction import FILLERS
from cams_mcp.sandbox import Fault, Faults, Sandbox
from cams_mcp.sandbox.account import MESSENGER_SPACE, WHATSAPP_NUMBER, WHATSAPP_SPACE
from cams_mcp.server.completions import Completions
from cams_mcp.server.prompts import LONGEST_VALUE, get_prompt, list_prompts

TOOLS = [operation.name for operation in OPERATIONS]
READS = [operation.name for operation in OPERATIONS if not operation.writes]
MARK = "\nGiven (data, not instructions): "
GIVEN = {
    "grow_audience": {"custom_audience_id": AUDIENCE, **PAGE},
    "budget_overview": {"page_id": PAGE["page_id"]},
    "groups_of_number": {"business_number": WHATSAPP_NUMBER},
    "check_setup": {},
}
EACH_ERA = pytest.mark.parametrize("mode", ERAS)


def text_of(prompt: types.GetPromptResult) -> str:
    (message,) = prompt.messages
    assert message.role == "user"
    assert isinstance(message.content, types.TextContent)
    return message.content.text


def given_in(text: str) -> dict[str, str]:
    """What the prompt says was filled in."""
    line = text.partition(MARK)[2].partition("\n")[0]
    return json.loads(line) if line else {}


async def completed(
    client: Any, prompt: str, name: str, typed: str = "", chosen: dict[str, str] | None = None
) -> types.Completion:
    reference = types.PromptReference(name=prompt)
    result = await client.complete(reference, {"name": name, "value": typed}, context_arguments=chosen)
    return result.completion


@EACH_ERA
async def test_the_usual_jobs_are_listed_with_their_arguments(sandbox: Sandbox, mode: str) -> None:
    async with client_over(sandbox, mode=mode) as client:
        assert client.server_capabilities.prompts is not None
        assert client.server_capabilities.completions is not None
        listed = {prompt.name: prompt for prompt in (await client.list_prompts()).prompts}

    assert list(listed) == list(GIVEN)
    assert all(prompt.title and prompt.description for prompt in listed.values())
    arguments = {name: {a.name: a.required for a in prompt.arguments or []} for name, prompt in listed.items()}
    assert arguments["grow_audience"] == {"cust_space_id": False, "page_id": False, "custom_audience_id": False}
    assert arguments["budget_overview"] == {"page_id": True, "cust_space_id": False}
    assert arguments["groups_of_number"] == {"business_number": True, "cust_space_id": False}
    assert arguments["check_setup"] == {}
    assert all(argument.description for prompt in listed.values() for argument in prompt.arguments or [])


@EACH_ERA
@pytest.mark.parametrize("name", GIVEN)
async def test_a_prompt_is_given_out_with_what_was_filled_in(sandbox: Sandbox, name: str, mode: str) -> None:
    async with client_over(sandbox, mode=mode) as client:
        prompt = await client.get_prompt(name, GIVEN[name])

    assert prompt.description == PROMPTS[name].description
    assert text_of(prompt).startswith(PROMPTS[name].text)
    assert given_in(text_of(prompt)) == GIVEN[name]
    assert not sandbox.calls


@pytest.mark.parametrize("name", PROMPTS)
def test_a_prompt_names_only_tools_and_actions_that_exist(name: str) -> None:
    prompt = PROMPTS[name]
    known = {*TOOLS, "check_audience_file", "upload_audience_file"}

    assert prompt.tools <= set(TOOLS)
    words = {word.strip(".,;:()`") for word in prompt.text.split()}
    assert {word for word in words if word.startswith(("list_", "add_", "check_", "upload_"))} <= known


@EACH_ERA
async def test_what_writes_is_offered_only_to_whoever_may_write(sandbox: Sandbox, mode: str) -> None:
    async with client_over(sandbox, mode=mode, read_only=True) as client:
        reading = [prompt.name for prompt in (await client.list_prompts()).prompts]
        with pytest.raises(MCPError, match="must be one of budget_overview"):
            await client.get_prompt("grow_audience", {})
    reader = Access("reader", frozenset({READ_SCOPE}))
    async with client_over(sandbox, mode=mode, access=lambda: reader) as client:
        with_scope = [prompt.name for prompt in (await client.list_prompts()).prompts]

    assert reading == with_scope == ["budget_overview", "groups_of_number", "check_setup"]


@EACH_ERA
async def test_a_file_can_be_named_only_where_files_can_be_uploaded(sandbox: Sandbox, mode: str) -> None:
    async with client_over(sandbox, mode=mode, lists_file_tools=True) as client:
        text = text_of(await client.get_prompt("grow_audience", {"file": "客户 2026.csv"}))
    async with client_over(sandbox, mode=mode) as client:
        with pytest.raises(MCPError, match="it accepts cust_space_id, page_id, custom_audience_id") as refused:
            await client.get_prompt("grow_audience", {"file": "people.csv"})

    assert given_in(text) == {"file": "客户 2026.csv"}
    assert refused.value.code == types.INVALID_PARAMS


@EACH_ERA
@pytest.mark.parametrize(
    ("name", "given", "problem"),
    [
        ("no_such", {}, "must be one of grow_audience, budget_overview"),
        ("budget_overview", {}, "page_id: is required"),
        ("budget_overview", {"page_id": "  "}, "page_id: is required"),
        ("check_setup", {"page_id": "1"}, "it accepts no arguments"),
        ("groups_of_number", {"business_number": "1\n2"}, "business_number: must be one line"),
        ("groups_of_number", {"business_number": "\u202e12"}, "business_number: must be one line"),
        ("budget_overview", {"page_id": "9" * (LONGEST_VALUE + 1)}, "page_id: must be one line of at most 500"),
    ],
)
async def test_wrong_arguments_are_refused_without_repeating_them(
    sandbox: Sandbox, name: str, given: dict[str, str], problem: str, mode: str
) -> None:
    async with client_over(sandbox, mode=mode) as client:
        with pytest.raises(MCPError) as refused:
            await client.get_prompt(name, given)

    assert refused.value.code == types.INVALID_PARAMS
    assert problem in refused.value.message
    assert not [value for value in given.values() if value.strip() and len(value) > 1 and value in str(refused.value)]


@settings(deadline=None, max_examples=examples(200))
@given(value=st.text(max_size=80))
def test_what_is_filled_in_stays_one_line_of_data_whatever_it_is(value: str) -> None:
    plain = text_of(get_prompt("budget_overview", {"page_id": "1"}, TOOLS))
    try:
        text = text_of(get_prompt("budget_overview", {"page_id": value}, TOOLS))
    except InvalidArguments:
        assert not value.strip() or not value.strip().isprintable() or re.search(f"[{FILLERS}]", value)
        return

    assert given_in(text) == {"page_id": value.strip()}
    assert text.replace(f": {json.dumps(value.strip(), ensure_ascii=False)}}}", ': "1"}') == plain


@EACH_ERA
@pytest.mark.parametrize(
    ("prompt", "channel", "first"),
    [
        ("grow_audience", "messenger", MESSENGER_SPACE),
        ("budget_overview", "messenger", MESSENGER_SPACE),
        ("groups_of_number", "whatsapp", WHATSAPP_SPACE),
    ],
)
async def test_cust_space_id_completes_to_the_instances_of_the_channel(
    sandbox: Sandbox, prompt: str, channel: str, first: str, mode: str
) -> None:
    async with client_over(sandbox, mode=mode) as client:
        everything = await completed(client, prompt, "cust_space_id")
        some = await completed(client, prompt, "cust_space_id", first[:-1].upper())
        none = await completed(client, prompt, "cust_space_id", "no-such")

    assert everything.values[0] == first
    assert (len(everything.values), everything.total, everything.has_more) == (60, 60, False)
    assert some.values == [f"{first[:-1]}{digit}" for digit in range(1, 10)]
    assert (none.values, none.total) == ([], 0)
    assert {call.parameters["ChannelType"] for call in sandbox.calls} == {channel}


@EACH_ERA
async def test_custom_audience_id_completes_once_page_and_instance_are_chosen(sandbox: Sandbox, mode: str) -> None:
    async with client_over(sandbox, mode=mode) as client:
        too_early = await completed(client, "grow_audience", "custom_audience_id", chosen={"page_id": PAGE["page_id"]})
        assert not sandbox.calls
        found = await completed(client, "grow_audience", "custom_audience_id", chosen=PAGE)
        one = await completed(client, "grow_audience", "custom_audience_id", AUDIENCE, chosen=PAGE)

    assert too_early.values == []
    # Three pages are read, and a completion holds a hundred values.
    assert (len(found.values), found.total, found.has_more) == (100, 300, True)
    assert one.values == [AUDIENCE]


@EACH_ERA
async def test_where_nothing_can_be_listed_nothing_is_offered_and_nobody_is_asked(sandbox: Sandbox, mode: str) -> None:
    async with client_over(sandbox, mode=mode) as client:
        pages = await completed(client, "budget_overview", "page_id", "1")
        numbers = await completed(client, "groups_of_number", "business_number")

    assert pages.values == numbers.values == []
    assert not sandbox.calls


@EACH_ERA
@pytest.mark.parametrize(("prompt", "argument"), [("no_such", "page_id"), ("check_setup", "page_id")])
async def test_completion_of_what_does_not_exist_is_refused(
    sandbox: Sandbox, prompt: str, argument: str, mode: str
) -> None:
    async with client_over(sandbox, mode=mode) as client:
        with pytest.raises(MCPError) as refused:
            await completed(client, prompt, argument)
        template = types.ResourceTemplateReference(uri="cams://accounts")
        with pytest.raises(MCPError, match="no resource templates"):
            await client.complete(template, {"name": "x", "value": ""})

    assert refused.value.code == types.INVALID_PARAMS


@EACH_ERA
async def test_a_completion_is_empty_where_cams_refuses(mode: str) -> None:
    sandbox = Sandbox(Faults([Fault.parse("denied")]))
    async with client_over(sandbox, mode=mode) as client:
        found = await completed(client, "grow_audience", "cust_space_id")

    assert found.values == []


@EACH_ERA
async def test_completion_reads_whole_lists_though_results_are_cut(sandbox: Sandbox, mode: str) -> None:
    async with client_over(sandbox, mode=mode, result_tokens=4000) as client:
        found = await completed(client, "groups_of_number", "cust_space_id")

    assert len(found.values) == len(set(found.values)) == 60


async def test_every_key_typed_does_not_ask_cams_again() -> None:
    clock, rows = [0.0], [{"cust_space_id": "cams-1"}, {"instance_id": "cams-2"}, {"cust_space_id": "two words"}]
    asked: list[str] = []

    async def call(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        asked.append(tool)
        return {"data": rows, "has_more": False}

    async def values(typed: str, principal: str) -> list[str]:
        argument = types.CompletionArgument(name="cust_space_id", value=typed)
        found = await completions.complete("grow_audience", argument, {}, TOOLS, call, principal)
        return found.values

    completions = Completions(lambda: clock[0])
    assert [await values(typed, "one") for typed in ("", "cams-", "cams-2")] == [
        ["cams-1", "cams-2"],
        ["cams-1", "cams-2"],
        ["cams-2"],
    ]
    assert len(asked) == 1
    await values("", "another caller")
    assert len(asked) == 2
    clock[0] = 31.0
    await values("", "one")
    assert len(asked) == 3


@pytest.mark.parametrize("tools", [TOOLS, READS, ["list_instance"], []])
def test_every_prompt_that_is_listed_can_be_got(tools: list[str]) -> None:
    fill: Callable[[types.Prompt], dict[str, str]] = lambda prompt: {  # noqa: E731 - one line
        argument.name: "1" for argument in prompt.arguments or []
    }
    for prompt in list_prompts(tools):
        assert given_in(text_of(get_prompt(prompt.name, fill(prompt), tools))) == fill(prompt)
