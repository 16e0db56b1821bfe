from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError
from mcp.server.auth.provider import AccessToken
from support import ERAS, TARGET, VALID_ARGUMENTS, Person, people, text_of, writes_that_arrived, yes
from support_http import (
    ALICE,
    BOB,
    BOTH,
    NOTHING,
    READ,
    READER,
    WRITE,
    bearer,
    frame,
    http_server,
    people_of,
    post,
    program,
)

from cams_mcp.access import NOBODY, Access
from cams_mcp.http.auth import TokenFile, current_access
from cams_mcp.operations import OPERATIONS
from cams_mcp.sandbox import Sandbox
from cams_mcp.server.server import create_server
from cams_mcp.store import Store
from cams_mcp.tools.definitions import Catalog, load_catalog

EACH_ERA = pytest.mark.parametrize("mode", ERAS)
READS = [operation.name for operation in OPERATIONS if not operation.writes]
ADD = "add_custom_audience_user"
WRITE_ARGUMENTS = TARGET | {"users": people(120)}


@asynccontextmanager
async def server(sandbox: Sandbox, folder: Path, **more: Any) -> AsyncGenerator[str]:
    path = people_of(folder / "tokens")
    async with http_server(sandbox, TokenFile(path), auth_token_file=path, **more) as url:
        yield url


# Reading


@EACH_ERA
async def test_a_reader_sees_and_calls_the_tools_that_read(sandbox: Sandbox, tmp_path: Path, mode: str) -> None:
    async with server(sandbox, tmp_path) as url, bearer(url, READER, mode) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == READS
        for tool in READS:
            assert not (await client.call_tool(tool, VALID_ARGUMENTS[tool])).is_error


@EACH_ERA
async def test_a_writer_sees_all_tools(sandbox: Sandbox, tmp_path: Path, mode: str) -> None:
    async with server(sandbox, tmp_path) as url, bearer(url, ALICE, mode) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == list(VALID_ARGUMENTS)


@EACH_ERA
async def test_a_reader_who_writes_is_told_which_scope_is_missing(sandbox: Sandbox, tmp_path: Path, mode: str) -> None:
    person = yes()
    async with (
        server(sandbox, tmp_path) as url,
        bearer(url, READER, mode, elicitation_callback=person) as client,
    ):
        with pytest.raises(MCPError, match=f"insufficient_scope.*{WRITE}"):
            await client.call_tool(ADD, WRITE_ARGUMENTS)
        # The session goes on.
        assert not (await client.call_tool("list_instance", {})).is_error

    assert person.asked == []
    assert writes_that_arrived(sandbox) == []


@EACH_ERA
@pytest.mark.parametrize("name", [[], {}, None, 5, ["add_custom_audience_user"]], ids=str)
async def test_a_tool_name_that_is_no_text_is_an_error_of_the_client(
    sandbox: Sandbox, tmp_path: Path, mode: str, name: object
) -> None:
    call = frame("tools/call", {"name": name, "arguments": {}}, mode=mode)
    async with server(sandbox, tmp_path) as url:
        more = {}
        if mode == "legacy":
            more = {"mcp_session_id": post(url, "legacy", token=READER).headers["mcp-session-id"]}
        answer = post(url, mode, token=READER, body=call, **more)

    assert answer.status_code < 500
    assert '"error"' in answer.text


@EACH_ERA
async def test_a_refused_write_is_403_with_a_challenge(sandbox: Sandbox, tmp_path: Path, mode: str) -> None:
    call = frame("tools/call", {"name": ADD, "arguments": WRITE_ARGUMENTS}, mode=mode)
    async with server(sandbox, tmp_path) as url:
        number = post(url, "legacy", token=READER).headers["mcp-session-id"]
        more = {"mcp_session_id": number} if mode == "legacy" else {}
        answer = post(url, mode, token=READER, body=call, **more)

    assert answer.status_code == 403
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith('Bearer error="insufficient_scope"')
    assert f'scope="{BOTH}"' in challenge
    assert answer.json()["id"] == call["id"]


@EACH_ERA
@pytest.mark.parametrize("method", ["tools/list", "tools/call", "resources/list", "logging/setLevel", "no/such"])
async def test_without_the_scope_to_read_nothing_works(
    sandbox: Sandbox, tmp_path: Path, mode: str, method: str
) -> None:
    params = {"name": "list_instance", "arguments": {}} if method == "tools/call" else {}
    async with server(sandbox, tmp_path) as url:
        opened = post(url, "legacy", token=NOTHING)
        more = {"mcp_session_id": opened.headers["mcp-session-id"]} if mode == "legacy" else {}
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        pinged = post(url, "legacy", token=NOTHING, body=ping, mcp_session_id=opened.headers["mcp-session-id"])
        answer = post(url, mode, token=NOTHING, body=frame(method, params, mode=mode), **more)

    assert opened.status_code == pinged.status_code == 200
    assert answer.status_code == 403
    assert f'scope="{READ}"' in answer.headers["www-authenticate"]
    assert not sandbox.calls


async def test_a_body_that_cannot_be_read_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    async with server(sandbox, tmp_path) as url:
        for body in (b"{", b"[" * 100_000, b'"text"', b"\xff", b"[5]"):
            assert 400 <= post(url, token=READER, body=body).status_code < 500
        assert post(url, token=READER, body=b" " * (5 * 1024 * 1024)).status_code == 413


async def test_several_calls_in_one_body_are_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    call = frame("tools/call", {"name": ADD, "arguments": {}}, mode="legacy")
    async with server(sandbox, tmp_path) as url:
        answer = post(url, "legacy", token=READER, body=[frame("ping", mode="legacy"), call])

    assert answer.status_code == 400
    assert "not a batch" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/mcp%0A", "/mcp/", "//mcp", "/MCP", "/mcp;x", "/%6dcp"])
async def test_no_other_spelling_of_the_path_gets_around_the_scopes(
    sandbox: Sandbox, tmp_path: Path, path: str
) -> None:
    call = frame("tools/call", {"name": ADD, "arguments": WRITE_ARGUMENTS})
    async with server(sandbox, tmp_path) as url:
        there = f"{url.removesuffix('/mcp')}{path}"
        answers = [post(there, token=token, body=call) for token in (None, "wrong", NOTHING, READER)]
        foreign = post(there, token=ALICE, body=call, host="evil.example.com")

    assert {answer.status_code for answer in answers} <= {307, 401, 403, 404}
    assert foreign.status_code in (307, 404, 421)
    assert writes_that_arrived(sandbox) == []


# The server itself refuses, whatever stands before it


class Untouchable:
    """Tools that nobody gets to."""

    async def call(self, *arguments: Any, **more: Any) -> Any:
        raise AssertionError


@EACH_ERA
@pytest.mark.parametrize(
    ("access", "tools", "refused"),
    [
        (NOBODY, None, "list_instance"),
        (Access("x", frozenset({WRITE})), None, ADD),
        (Access("x", frozenset({READ})), READS, ADD),
        (Access("x", frozenset({"cams:readwrite", READ})), READS, ADD),
    ],
)
async def test_the_server_refuses_by_itself(mode: str, access: Access, tools: list[str] | None, refused: str) -> None:
    made = create_server(load_catalog(), Untouchable(), lambda: access)
    async with Client(made, mode=mode) as client:
        if tools is None:
            with pytest.raises(MCPError, match="insufficient_scope"):
                await client.list_tools()
        else:
            assert [tool.name for tool in (await client.list_tools()).tools] == tools
        with pytest.raises(MCPError, match="insufficient_scope"):
            await client.call_tool(refused, VALID_ARGUMENTS[refused])


def test_outside_of_an_authenticated_request_there_is_nobody() -> None:
    assert current_access() == NOBODY


def test_a_tool_that_does_not_say_that_it_reads_counts_as_one_that_writes() -> None:
    (tool, *_) = load_catalog()

    assert Catalog([tool]).writing == frozenset()
    assert Catalog([tool.model_copy(update={"annotations": None})]).writing == {tool.name}


# The principal


@EACH_ERA
async def test_the_principal_is_in_the_audit_trail(sandbox: Sandbox, tmp_path: Path, mode: str) -> None:
    store = Store(None)
    async with server(sandbox, tmp_path, store=store) as url:
        for token, person in ((ALICE, yes()), (BOB, Person("decline"))):
            async with bearer(url, token, mode, elicitation_callback=person) as client:
                await client.call_tool(ADD, WRITE_ARGUMENTS)
        trail = [(entry["event"], entry["principal"]) for entry in store.audit()]
    store.close()

    assert trail == [
        ("asked", "alice"),
        ("approved", "alice"),
        ("sent", "alice"),
        ("asked", "bob"),
        ("declined", "bob"),
    ]


@EACH_ERA
async def test_a_confirmation_of_one_caller_cannot_be_spent_by_another(
    sandbox: Sandbox, tmp_path: Path, mode: str
) -> None:
    async with server(sandbox, tmp_path) as url:
        async with bearer(url, ALICE, mode) as alice:
            preview = await alice.call_tool(ADD, WRITE_ARGUMENTS)
        token = preview.structured_content["confirmation_token"]
        async with bearer(url, BOB, mode) as bob:
            stolen = await bob.call_tool(ADD, WRITE_ARGUMENTS | {"confirmation_token": token})

    assert stolen.is_error
    assert "another caller" in text_of(stolen)
    assert writes_that_arrived(sandbox) == []


async def test_an_answer_to_the_question_of_another_caller_sends_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    call = frame("tools/call", {"name": ADD, "arguments": WRITE_ARGUMENTS})
    capabilities = "io.modelcontextprotocol/clientCapabilities"
    call["params"]["_meta"] = call["params"]["_meta"] | {capabilities: {"elicitation": {"form": {}}}}
    async with server(sandbox, tmp_path) as url:
        asked = post(url, token=ALICE, body=call).json()["result"]
        confirmed = {"confirm": {"action": "accept", "content": {"confirm": True}}}
        call["params"] |= {"requestState": asked["requestState"], "inputResponses": confirmed}
        answer = post(url, token=BOB, body=call).json()["result"]

    assert asked["inputRequests"]
    assert answer["isError"]
    assert writes_that_arrived(sandbox) == []


@EACH_ERA
async def test_callers_at_the_same_time_are_not_mixed_up(sandbox: Sandbox, tmp_path: Path, mode: str) -> None:
    store = Store(None)

    async def write(url: str, token: str) -> None:
        async with bearer(url, token, mode, elicitation_callback=yes()) as client:
            for number in range(3):
                await client.call_tool(ADD, WRITE_ARGUMENTS | {"users": people(120, 200 * number)})

    async with server(sandbox, tmp_path, store=store) as url:
        async with anyio.create_task_group() as group:
            group.start_soon(write, url, ALICE)
            group.start_soon(write, url, BOB)
        asked = [entry["principal"] for entry in store.audit() if entry["event"] == "asked"]
    store.close()

    assert sorted(asked) == ["alice"] * 3 + ["bob"] * 3


async def test_a_session_that_loses_its_scope_loses_its_tools(sandbox: Sandbox, tmp_path: Path) -> None:
    """Scopes are those of each request's token, not of the one that opened the session."""

    class Changing:
        scopes = (READ, WRITE)

        async def verify_token(self, token: str) -> AccessToken | None:
            return AccessToken(token=token, client_id="alice", scopes=list(self.scopes))

    changing = Changing()
    async with (
        http_server(sandbox, changing, auth_token_file=tmp_path / "unread") as url,
        bearer(url, ALICE, "legacy") as client,
    ):
        assert len((await client.list_tools()).tools) == len(VALID_ARGUMENTS)
        changing.scopes = (READ,)
        assert [tool.name for tool in (await client.list_tools()).tools] == READS
        with pytest.raises(MCPError, match="insufficient_scope"):
            await client.call_tool(ADD, WRITE_ARGUMENTS)


async def test_without_sessions_scopes_hold_too(tmp_path: Path) -> None:
    options = ("--auth-token-file", people_of(tmp_path / "tokens"), "--legacy-sessions", "off")
    with program(*options) as (_, url):
        async with bearer(url, READER, "legacy") as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == READS
            assert not (await client.call_tool("list_instance", {})).is_error
            with pytest.raises(MCPError, match="insufficient_scope"):
                await client.call_tool(ADD, WRITE_ARGUMENTS)
        async with bearer(url, ALICE, "legacy") as client:
            assert len((await client.list_tools()).tools) == len(VALID_ARGUMENTS)
