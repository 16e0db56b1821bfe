from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import mcp_types as types
import pytest
from mcp import Client, StdioServerParameters
from support import ERAS, TARGET, VALID_ARGUMENTS, people, text_of
from support_process import ENVELOPE, Program

EACH_ERA = pytest.mark.parametrize("mode", ERAS)
TOOLS = list(VALID_ARGUMENTS)
WRITE = "add_custom_audience_user"
READS = [name for name in TOOLS if name.startswith("list_")]


def server(*arguments: str, **env: str) -> StdioServerParameters:
    return StdioServerParameters(command=sys.executable, args=["-m", "cams_mcp", *arguments], env=env or None)


@pytest.mark.parametrize(
    ("mode", "arguments"),
    [("auto", ("serve", "--sandbox")), ("legacy", ("--sandbox",))],
    ids=["auto-serve", "legacy-default command"],
)
async def test_the_sdk_lists_and_calls_every_read_tool(mode: str, arguments: tuple[str, ...]) -> None:
    async with Client(server(*arguments), mode=mode) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == TOOLS
        for tool in READS:
            result = await client.call_tool(tool, VALID_ARGUMENTS[tool])
            assert not result.is_error
            assert result.structured_content["data"]
            assert json.loads(text_of(result)) == result.structured_content


@EACH_ERA
async def test_the_server_starts_lists_and_explains_itself_without_network_and_credentials(
    mode: str, tmp_path: Path
) -> None:
    # The environment of the server is that of the SDK: a few names, and these.
    bare = server("serve", HOME=str(tmp_path), ALIBABA_CLOUD_ECS_METADATA_DISABLED="true")
    async with Client(bare, mode=mode) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == TOOLS
        result = await client.call_tool("list_instance", {})

    assert result.is_error
    text = text_of(result)
    assert "No access key was found. Tried: " in text
    assert "ALIBABA_CLOUD_ACCESS_KEY_ID" in text
    assert "--sandbox" in text


@EACH_ERA
def test_nothing_but_protocol_is_on_standard_output(mode: str) -> None:
    with Program("serve", "--sandbox", "--log-level", "debug", "--fault", "error:0.3") as program:
        program.connect(mode)
        program.ask("tools/list")
        for tool, arguments in VALID_ARGUMENTS.items():
            program.ask("tools/call", {"name": tool, "arguments": arguments})
        program.ask("tools/call", {"name": "no_such_tool", "arguments": {}})
        program.write(b"this is no message")
        assert json.loads(program.line())["error"]["code"] == types.PARSE_ERROR
        program.start("tools/list")
        last = program.line()
        program.end_input()
        lines = [last, *program.rest().splitlines()]

        assert program.status() == 0
    assert json.loads(last)["result"]["tools"]
    for line in lines:
        types.jsonrpc_message_adapter.validate_json(line)


def test_the_process_ends_cleanly_at_the_end_of_input() -> None:
    with Program("serve", "--sandbox") as program:
        program.connect("legacy")
        program.ask("tools/call", {"name": "list_instance", "arguments": {}})
        program.end_input()

        assert program.status() == 0
        assert program.rest() == b""
        assert "Traceback" not in program.errors


def test_the_process_ends_cleanly_when_input_ends_before_anything_came() -> None:
    with Program("serve") as program:
        program.end_input()

        assert program.status() == 0
        assert program.errors == ""


@pytest.mark.parametrize(("mode", "number"), [("auto", signal.SIGINT), ("legacy", signal.SIGTERM)])
def test_a_signal_ends_an_idle_server_cleanly(mode: str, number: signal.Signals) -> None:
    with Program("serve", "--sandbox") as program:
        program.connect(mode)
        program.signal(number)

        assert program.status() == 0
        assert program.rest() == b""
        assert "Traceback" not in program.errors


def start_slow_call(program: Program, mode: str) -> None:
    program.connect(mode)
    program.start("tools/call", {"name": "list_instance", "arguments": {}})
    # Frames are taken in order: after this answer the call has begun.
    program.ask("tools/list")


SLOW = ("serve", "--sandbox", "--timeout", "600", "--fault", "latency:1:300")


@pytest.mark.parametrize(("mode", "number"), [("auto", signal.SIGTERM), ("legacy", signal.SIGINT)])
def test_a_signal_ends_a_server_cleanly_while_a_call_runs(mode: str, number: signal.Signals) -> None:
    with Program(*SLOW) as program:
        start_slow_call(program, mode)
        program.signal(number)

        assert program.status() == 0
        assert "Traceback" not in program.errors


@EACH_ERA
def test_the_end_of_input_ends_a_server_cleanly_while_a_call_runs(mode: str) -> None:
    with Program(*SLOW) as program:
        start_slow_call(program, mode)
        program.end_input()

        assert program.status() == 0
        assert "Traceback" not in program.errors


SECRET = "jane.doe@private.example.com"
PHONE = "+12025550123"
NOT_MESSAGES = [
    f'{{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{{"users":[{{"email":"{SECRET}"',
    SECRET,
    f'{{"email":"{SECRET}","phone":"{PHONE}"}}',
    f'{{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{{"name":"list_instance","arguments":"{SECRET}"}}}}',
    f'{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":{{"email":"{SECRET}"}}}}}}',
    f'{{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{{"name":"{SECRET}","arguments":{{}}}}}}',
    f'{{"jsonrpc":"2.0","id":9,"method":"{SECRET}","params":{{"phone":"{PHONE}"}}}}',
    f'{{"jsonrpc":"2.0","method":"{SECRET}"}}',
    f'{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":["{SECRET}"]}}}}',
    f'{{"jsonrpc":"2.0","id":"{SECRET}","result":{{}}}}',
    f'{{"jsonrpc":"2.0","id":"{SECRET}","error":{{"code":1,"message":"{PHONE}"}}}}',
    f'["{SECRET}"]',
]


@EACH_ERA
def test_malformed_messages_do_not_reach_the_log_and_the_server_goes_on(mode: str) -> None:
    with Program("serve", "--sandbox", "--log-level", "debug") as program:
        # Also before the first request.
        program.write(NOT_MESSAGES[0].encode())
        program.connect(mode)
        for line in NOT_MESSAGES:
            program.write(line.encode())
        program.write(b"\xff\xfe " + SECRET.encode())
        answer = program.ask("tools/call", {"name": "list_instance", "arguments": {}})
        program.end_input()

        assert program.status() == 0
    assert answer["result"]["structuredContent"]["data"]
    assert "private" not in program.errors
    assert PHONE.lstrip("+") not in program.errors
    assert "Traceback" not in program.errors


@EACH_ERA
def test_calls_leave_no_address_in_the_log(mode: str) -> None:
    users = [{"email": SECRET, "phone": PHONE}, *people(150)]
    with Program("serve", "--sandbox", "--confirm", "token", "--log-level", "debug", "--users-in", "query") as program:
        program.connect(mode)
        preview = program.ask("tools/call", {"name": WRITE, "arguments": TARGET | {"users": users}})
        token = preview["result"]["structuredContent"]["confirmation_token"]
        arguments = TARGET | {"users": users, "confirmation_token": token}
        sent = program.ask("tools/call", {"name": WRITE, "arguments": arguments})
        program.ask(
            "tools/call",
            {"name": WRITE, "arguments": TARGET | {"users": [{"email": f"{SECRET},"}]}},
        )
        program.end_input()

        assert program.status() == 0
    assert sent["result"]["structuredContent"]["status"] == "sent"
    for text in ("private", PHONE.lstrip("+"), "customer0000", token):
        assert text not in program.errors


@EACH_ERA
def test_starting_and_listing_import_nothing_that_only_calls_need(mode: str) -> None:
    with Program("serve", python=("-X", "importtime")) as program:
        program.connect(mode)
        program.ask("tools/list")
        program.end_input()
        assert program.status() == 0

    imported = {line.rpartition("|")[2].strip() for line in program.errors.splitlines() if "|" in line}
    assert {"mcp", "cams_mcp.server.server", "cams_mcp.server.stdio"} <= imported
    unwanted = ("httpx", "httpcore", "alibabacloud_credentials", "aiohttp", "cams_mcp.api.client", "cams_mcp.sandbox")
    unwanted += (
        "cams_mcp.operations",
        "cams_mcp.api.credentials",
        "cams_mcp.tools.toolbox",
        "cams_mcp.http",
        "cams_mcp.models",
    )
    assert [name for name in unwanted if name in imported] == []


def test_the_envelope_of_these_tests_is_the_one_the_sdk_writes() -> None:
    assert set(ENVELOPE) == {
        types.PROTOCOL_VERSION_META_KEY,
        types.CLIENT_INFO_META_KEY,
        types.CLIENT_CAPABILITIES_META_KEY,
    }


AS_ON_WINDOWS = """
import asyncio

def add_signal_handler(*arguments):
    raise NotImplementedError

asyncio.unix_events._UnixSelectorEventLoop.add_signal_handler = add_signal_handler
"""


@EACH_ERA
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_event_loop_without_signal_handlers_serves_and_ends_all_the_same(
    tmp_path: Path, number: signal.Signals, mode: str
) -> None:
    """Those of Windows have none."""
    (tmp_path / "sitecustomize.py").write_text(AS_ON_WINDOWS, encoding="utf-8")
    with Program("serve", "--sandbox", env={"PYTHONPATH": str(tmp_path)}) as program:
        program.connect(mode)
        program.ask("tools/list")
        program.signal(number)

        assert program.status() == 0
    assert "Traceback" not in program.errors


@EACH_ERA
def test_an_event_loop_without_signal_handlers_ends_with_its_input(tmp_path: Path, mode: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(AS_ON_WINDOWS, encoding="utf-8")
    with Program("serve", "--sandbox", env={"PYTHONPATH": str(tmp_path)}) as program:
        program.connect(mode)
        program.end_input()

        assert program.status() == 0
    assert "Traceback" not in program.errors
