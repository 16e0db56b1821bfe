from __future__ import annotations

import json
import signal
import socket
import sys
from collections.abc import Iterator

import httpx
import pytest
from mcp import Client
from support import AUDIENCE, ERAS, PAGE, TARGET, VALID_ARGUMENTS, Person, mcp_server, people, serving, text_of, yes
from support_process import ENVELOPE, HANDSHAKE, SHARED_PATIENCE_SECONDS, Program

from cams_mcp.errors import ConfigurationError
from cams_mcp.http import bind, http_app
from cams_mcp.http.addresses import url_on
from cams_mcp.sandbox import Sandbox
from cams_mcp.settings import HttpSettings
from cams_mcp.tools.definitions import load_catalog

EACH_ERA = pytest.mark.parametrize("mode", ERAS)
READS = [name for name in VALID_ARGUMENTS if name.startswith("list_")]
SERVE = ("serve", "--transport", "http", "--port", "0")
LISTENING = "Listening on "


def address_of(program: Program) -> str:
    return program.error_line(LISTENING).removeprefix(LISTENING)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server in a process of its own, for tests that only talk to it."""
    with Program(*SERVE, "--sandbox", patience=SHARED_PATIENCE_SECONDS) as program:
        yield address_of(program)


@EACH_ERA
async def test_the_sdk_lists_and_calls_every_read_tool(url: str, mode: str) -> None:
    async with Client(url, mode=mode) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == list(VALID_ARGUMENTS)
        for tool in READS:
            result = await client.call_tool(tool, VALID_ARGUMENTS[tool])
            assert not result.is_error
            assert result.structured_content["data"]
            assert json.loads(text_of(result)) == result.structured_content


async def size_of(client: Client, audience: str) -> int:
    result = await client.call_tool("list_custom_audience", PAGE | {"custom_audience_id": audience})
    return result.structured_content["data"][0]["token_total"]


@EACH_ERA
@pytest.mark.parametrize(("person", "added"), [(yes(), 120), (Person("decline"), 0)], ids=["confirmed", "declined"])
async def test_a_write_asks_the_person_and_does_what_they_say(url: str, mode: str, person: Person, added: int) -> None:
    # Each case has an audience of its own: the server is shared.
    audience = str(int(AUDIENCE) + 1 + ERAS.index(mode) * 2 + bool(added))
    person.asked.clear()
    async with Client(url, mode=mode, elicitation_callback=person) as client:
        before = await size_of(client, audience)
        write = TARGET | {"custom_audience_id": audience, "users": people(120)}
        result = await client.call_tool("add_custom_audience_user", write)
        after = await size_of(client, audience)

    assert len(person.asked) == 1
    assert bool(result.is_error) == (not added)
    assert after - before == added
    assert ("Nothing was sent" in text_of(result)) == (not added)


@EACH_ERA
async def test_a_client_that_cannot_ask_gets_a_preview_and_sends_in_a_second_step(url: str, mode: str) -> None:
    audience = str(int(AUDIENCE) + 10 + ERAS.index(mode))
    write = TARGET | {"custom_audience_id": audience, "users": people(120)}
    async with Client(url, mode=mode) as client:
        before = await size_of(client, audience)
        preview = await client.call_tool("add_custom_audience_user", write)
        assert await size_of(client, audience) == before
        token = preview.structured_content["confirmation_token"]
        sent = await client.call_tool("add_custom_audience_user", write | {"confirmation_token": token})
        after = await size_of(client, audience)

    assert sent.structured_content["status"] == "sent"
    assert after - before == 120


HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
FRAMES = {
    "legacy": ({"method": "initialize", "params": HANDSHAKE}, {}),
    "auto": (
        {"method": "tools/list", "params": {"_meta": ENVELOPE}},
        {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/list"},
    ),
}


def post(url: str, mode: str, headers: dict[str, str]) -> httpx.Response:
    frame, more = FRAMES[mode]
    with httpx.Client(trust_env=False) as client:
        return client.post(url, json={"jsonrpc": "2.0", "id": 1, **frame}, headers=HEADERS | more | headers)


def foreign(url: str, *, good: bool) -> list[dict[str, str]]:
    """Headers as a page of this machine (`good`) or of a stranger makes a browser send them."""
    port = httpx.URL(url).port
    if good:
        own = [{"host": f"127.0.0.1:{port}"}, {"host": f"localhost:{port}"}, {"host": f"[::1]:{port}"}]
        return [{}, *own, {"host": "localhost"}, {"origin": f"http://localhost:{port}"}, {"origin": "http://127.0.0.1"}]
    return [
        {"host": "attacker.example.com"},
        {"host": f"attacker.example.com:{port}"},
        {"host": f"127.0.0.1.example.com:{port}"},
        {"host": f"localhost.example.com:{port}"},
        {"host": f"192.0.2.1:{port}"},
        {"origin": "https://attacker.example.com"},
        {"origin": "http://127.0.0.1.example.com"},
        {"origin": "null"},
    ]


@EACH_ERA
def test_requests_by_way_of_a_foreign_host_or_origin_are_refused(url: str, mode: str) -> None:
    for headers in foreign(url, good=False):
        assert post(url, mode, headers).status_code in (403, 421), headers


@EACH_ERA
def test_requests_by_way_of_a_loopback_host_or_origin_are_answered(url: str, mode: str) -> None:
    for headers in foreign(url, good=True):
        assert post(url, mode, headers).status_code == 200, headers


@EACH_ERA
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "127.0.0.2", "::1", "[::1]"])
async def test_foreign_hosts_are_refused_however_loopback_is_spelled(sandbox: Sandbox, host: str, mode: str) -> None:
    async with mcp_server(sandbox) as server:
        app = http_app(server, HttpSettings(host=host), catalog=load_catalog())
    # Nothing here calls a tool: the server may outlive its client of CAMS.
    with serving(app) as base:
        port = httpx.URL(base).port
        own = {"::1": "[::1]"}.get(host, host)
        for headers in [*foreign(base, good=True), {"host": f"{own}:{port}"}, {"origin": f"http://{own}:{port}"}]:
            assert post(f"{base}/mcp", mode, headers).status_code == 200, headers
        for headers in foreign(base, good=False):
            assert post(f"{base}/mcp", mode, headers).status_code in (403, 421), headers


def test_nothing_is_served_beside_the_endpoint(url: str) -> None:
    with httpx.Client(trust_env=False) as client:
        for path in ("/", "/docs", "/mcp/other", "/sse", "/.well-known/oauth-protected-resource"):
            assert client.get(httpx.URL(url).copy_with(path=path)).status_code == 404


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", "127.0.0.1.example.com"])
def test_another_host_than_loopback_is_refused_with_the_way_out(host: str) -> None:
    with Program(*SERVE, "--sandbox", "--host", host) as program:
        assert program.status() == 1

    assert "--transport http has no authentication, so it can listen only on a loopback address" in program.errors
    assert "--host 127.0.0.1" in program.errors
    assert "Traceback" not in program.errors
    assert LISTENING not in program.errors


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "LocalHost", "::1", "[::1]"])
def test_every_loopback_address_is_allowed(host: str) -> None:
    assert url_on(HttpSettings(host=host), 8000) == f"http://{host if host != '::1' else '[::1]'}:8000/mcp"


def test_a_port_in_use_is_named_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Program("serve", "--transport", "http", "--port", str(port), "--sandbox") as program:
            assert program.status() == 1

    assert f"Cannot listen on 127.0.0.1:{port}: " in program.errors
    assert "Choose another --port, or 0 to pick a free one." in program.errors
    assert "Traceback" not in program.errors
    assert LISTENING not in program.errors


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(ConfigurationError, match=r"Cannot listen on 192\.0\.2\.1:0"):
        bind("192.0.2.1", 0)


def test_a_bound_port_takes_connections_before_the_server_runs() -> None:
    with bind("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()) as connection:
        assert connection.getpeername() == listener.getsockname()


def test_two_servers_cannot_share_a_port() -> None:
    with bind("127.0.0.1", 0) as listener, pytest.raises(ConfigurationError, match="Cannot listen on"):
        bind("127.0.0.1", listener.getsockname()[1])


SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])


@SIGNALS
def test_a_signal_ends_an_idle_server_cleanly(number: signal.Signals) -> None:
    with Program(*SERVE, "--sandbox") as program:
        assert post(address_of(program), "auto", {}).status_code == 200
        program.signal(number)

        assert program.status() == 0
        assert program.rest() == b""
        assert "Traceback" not in program.errors


@SIGNALS
@EACH_ERA
async def test_a_signal_ends_the_server_cleanly_with_a_client_connected(number: signal.Signals, mode: str) -> None:
    with Program(*SERVE, "--sandbox") as program:
        async with Client(address_of(program), mode=mode) as client:
            await client.call_tool("list_instance", {})
            program.signal(number)
            status = program.status()

    assert status == 0
    assert "Traceback" not in program.errors


@EACH_ERA
@pytest.mark.parametrize("level", ["warning", "debug"])
def test_malformed_messages_do_not_reach_the_log_and_the_server_goes_on(mode: str, level: str) -> None:
    secret = "jane.doe@private.example.com"
    bodies = [
        f'{{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{{"email":"{secret}"',
        f'{{"email":"{secret}"}}',
        secret,
        f'{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":{{"email":"{secret}"}}}}}}',
        f'{{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{{"name":"{secret}","arguments":"{secret}"}}}}',
        f'{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":["{secret}"]}}}}',
    ]
    with Program(*SERVE, "--sandbox", "--log-level", level) as program:
        url = address_of(program)
        more = FRAMES[mode][1]
        with httpx.Client(trust_env=False, headers=HEADERS | more) as client:
            for body in bodies:
                assert client.post(url, content=body.encode()).status_code < 500
            if mode == "legacy":
                first = client.post(url, json={"jsonrpc": "2.0", "id": 1, **FRAMES[mode][0]})
                client.headers["mcp-session-id"] = first.headers["mcp-session-id"]
                for body in bodies:
                    assert client.post(url, content=body.encode()).status_code < 500
        assert post(url, mode, {}).status_code == 200
        program.signal(signal.SIGTERM)
        assert program.status() == 0

    assert "private" not in program.errors
    assert "Traceback" not in program.errors
    assert sys.executable not in program.errors
