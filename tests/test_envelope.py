"""Messages that no client should send: every one is answered, nothing of it is repeated, and the server goes on."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import mcp_types as types
import pytest
from mcp import Client, MCPError
from support import ERAS, people
from support_http import frame, post, program
from support_process import ENVELOPE, HANDSHAKE, Program
from support_raw import LEGACY, MODERN, RawClient, raw_client

from cams_mcp.confirmation import Caller
from cams_mcp.server.messages import ODD_VERSION, Unreadable, encodable, read_message
from cams_mcp.server.server import create_server
from cams_mcp.tools.definitions import load_catalog
from cams_mcp.tools.result import ToolResult

EACH_ERA = pytest.mark.parametrize("mode", ERAS)
SECRET = "jane.doe@private.example.com"
PARSE, REQUEST, PARAMS, NO_METHOD = -32700, -32600, -32602, -32601
HEADER = types.HEADER_MISMATCH


def request(number: object, method: str, mode: str, **params: Any) -> str:
    meta = {"_meta": ENVELOPE | params.pop("meta", {})} if mode == "auto" or "meta" in params else {}
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params | meta})


def odd_messages(mode: str) -> dict[str, tuple[str, int | None, object]]:
    """By name: a message, the code it is answered with (None for a result), and the id of the answer."""

    def made(number: object, method: str, **params: Any) -> str:
        return request(number, method, mode, **params)

    return {
        "no JSON": (SECRET, PARSE, None),
        "cut off": (made(1, "tools/call", name=SECRET)[:-2], PARSE, None),
        "half a surrogate pair as id": (made("\ud800", "tools/list"), PARSE, None),
        "half a surrogate pair as method": (made("a", "\ud800"), PARSE, "a"),
        "half a surrogate pair as tool": (made("b", "tools/call", name=f"\udfff{SECRET}"), PARSE, "b"),
        "half a surrogate pair as uri": (made("c", "resources/read", uri="cams://\ud800"), PARSE, "c"),
        "half a surrogate pair in _meta": (made("d", "tools/list", meta={"progressToken": "\ud800"}), PARSE, "d"),
        "nested 300 deep": (made("e", "tools/list", a=0).replace('"a": 0', f'"a": {"[" * 300}{"]" * 300}'), PARSE, "e"),
        "nested 100,000 deep": ("[" * 100_000, PARSE, None),
        "a number of 5,000 digits": (made("f", "tools/list").replace('"f"', "1" * 5000), PARSE, None),
        "a batch": (f"[{made(1, 'ping')}]", REQUEST, None),
        "a text": (json.dumps(SECRET), REQUEST, None),
        "no jsonrpc": (json.dumps({"id": "g", "method": SECRET}), REQUEST, "g"),
        "another jsonrpc": (json.dumps({"jsonrpc": SECRET, "id": 8, "method": "ping"}), REQUEST, 8),
        "id of 1.5": (made(1.5, "tools/list"), REQUEST, None),
        "id of true": (made(bool(1), "tools/list"), REQUEST, None),
        "id of null": (made(None, "tools/list"), REQUEST, None),
        "id that is an object": (made({"email": SECRET}, "tools/list"), REQUEST, None),
        "method that is an object": (
            json.dumps({"jsonrpc": "2.0", "id": 9, "method": {"email": SECRET}}),
            REQUEST,
            9,
        ),
        "method and result": (json.dumps({"jsonrpc": "2.0", "id": 9, "method": "ping", "result": {}}), REQUEST, 9),
        # The id of a response is one that the server gave: an answer under it could be taken for another's.
        "response that is no object": (json.dumps({"jsonrpc": "2.0", "id": 1, "result": SECRET}), REQUEST, None),
        "error that is no object": (json.dumps({"jsonrpc": "2.0", "id": 1, "error": SECRET}), REQUEST, None),
        "neither": (json.dumps({"jsonrpc": "2.0", "id": 1, "email": SECRET}), REQUEST, None),
        "params that are a list": (
            json.dumps({"jsonrpc": "2.0", "id": "h", "method": "tools/call", "params": [SECRET]}),
            PARAMS,
            "h",
        ),
        "unknown method": (made("i", SECRET, email=SECRET), NO_METHOD, "i"),
        "tool that is an object": (made("j", "tools/call", name={"email": SECRET}), PARAMS, "j"),
        "arguments that are a list": (made("k", "tools/call", name="list_instance", arguments=[SECRET]), PARAMS, "k"),
        "unknown tool": (made("l", "tools/call", name=SECRET), PARAMS, "l"),
        "unknown prompt": (made("m", "prompts/get", name=f"\u202e{SECRET}\x00"), PARAMS, "m"),
        "unknown resource": (made("n", "resources/read", uri=f"cams://{SECRET}\x00"), PARAMS, "n"),
        "cursor that is an object": (made("o", "tools/list", cursor={"email": SECRET}), PARAMS, "o"),
        "trace context that is a number": (made("p", "tools/list", meta={"traceparent": 5}), None, "p"),
        "trace context that is none": (made("q", "tools/list", meta={"traceparent": "\u202e\x00"}), None, "q"),
        "client name of control characters": (
            made("r", "tools/list", meta={types.CLIENT_INFO_META_KEY: {"name": "\x00\u202e" * 5000, "version": "1"}}),
            None,
            "r",
        ),
        "NaN": (
            made("s", "tools/call", name="list_instance", arguments={"page_size": 0}).replace(": 0", ": NaN"),
            None,
            "s",
        ),
        "id of 1 MB": (made("t" * 1_000_000, "tools/list"), None, "t" * 1_000_000),
        "id of 4,000 digits": (made(10**4000, "tools/list"), None, 10**4000),
        "id with marks": (made("\u202eabc\x00", "tools/list"), None, "\u202eabc\x00"),
    }


def expected(mode: str) -> dict[str, tuple[int | None, object]]:
    kept = {name: (code, number) for name, (_, code, number) in odd_messages(mode).items()}
    if mode == "legacy":
        # Only a client of the later era sends the whole envelope; here it is one request of the other era.
        for name in [name for name, (raw, *_) in odd_messages(mode).items() if '"_meta"' in raw]:
            kept[name] = (REQUEST if kept[name][0] != PARSE else PARSE, kept[name][1])
    return kept


@EACH_ERA
def test_over_stdio_every_odd_message_is_answered_and_the_next_good_one_too(mode: str) -> None:
    found: dict[str, tuple[int | None, object]] = {}
    with Program("serve", "--sandbox", "--log-level", "debug") as server:
        server.connect(mode)
        for name, (raw, *_) in odd_messages(mode).items():
            server.write(raw.encode())
            line = server.line()
            answer = json.loads(line)
            types.jsonrpc_message_adapter.validate_json(line)
            assert "private.example.com" not in line.decode(), name
            found[name] = (answer.get("error", {}).get("code"), answer["id"])
        server.write(b"\xff\xfe")
        assert json.loads(server.line())["error"]["code"] == PARSE
        assert server.ask("tools/list")["result"]["tools"]
        server.end_input()
        assert server.status() == 0

    assert found == expected(mode)
    assert "private.example.com" not in server.errors
    assert "Traceback" not in server.errors


def routing_of(raw: str) -> dict[str, str]:
    """The headers that a client of the later era sends with this message, as far as it can."""
    try:
        given = json.loads(raw)
        method, params = given["method"], given["params"]
        named = params.get("name", params.get("uri", ""))
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        method, named = "", ""
    shown = [text if isinstance(text, str) and text.isprintable() else "" for text in (method, named)]
    return {"mcp_protocol_version": "2026-07-28", "mcp_method": shown[0] or "tools/list", "mcp_name": shown[1]}


def answer_in(response: httpx.Response) -> dict[str, Any]:
    text = response.text
    if response.headers["content-type"].startswith("text/event-stream"):
        text = next(line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: "))
    return json.loads(text)


@EACH_ERA
@pytest.mark.parametrize("sessions", ["on", "off"])
def test_over_http_every_odd_message_is_answered_and_the_next_good_one_too(mode: str, sessions: str) -> None:
    found: dict[str, tuple[int | None, object]] = {}
    with program("--legacy-sessions", sessions, "--log-level", "debug") as (server, url):
        opened = post(url, "legacy")
        session = {"mcp_session_id": opened.headers["mcp-session-id"]} if sessions == "on" else {}
        for name, (raw, *_) in odd_messages(mode).items():
            headers = session if mode == "legacy" else routing_of(raw)
            response = post(url, "legacy", body=raw.encode(), **headers)
            assert response.status_code < 500, name
            assert "private.example.com" not in response.text, name
            answer = answer_in(response)
            found[name] = (answer.get("error", {}).get("code"), answer["id"])
        assert "result" in answer_in(post(url, mode))

    wanted = expected(mode)
    if mode == "auto":
        # Headers repeat the tool's name; what has no place in a header differs from it.
        for name in ("tool that is an object", "unknown prompt", "unknown resource"):
            wanted[name] = (HEADER, wanted[name][1])
    else:
        # Over HTTP the era is that of the headers, and what a body says of it counts for nothing.
        wanted |= {name: (code, number) for name, (_, code, number) in odd_messages(mode).items()}
    assert found == wanted
    assert "private.example.com" not in server.errors
    assert "Traceback" not in server.errors


@EACH_ERA
def test_the_answer_says_what_is_wrong(mode: str) -> None:
    with Program("serve", "--sandbox") as server:
        server.connect(mode)
        said = {
            "cut off": "not valid UTF-8 JSON",
            "a batch": "not a batch",
            "id of null": "id must be a string or an integer",
            "params that are a list": "params must be an object",
            "tool that is an object": "name is invalid",
            "arguments that are a list": "arguments is invalid",
        }
        for name, words in said.items():
            server.write(odd_messages(mode)[name][0].encode())
            assert words in json.loads(server.line())["error"]["message"]
        assert "name is missing" in server.ask("tools/call", {})["error"]["message"]


def test_a_blank_line_on_stdio_is_no_message() -> None:
    with Program("serve", "--sandbox") as server:
        server.connect()
        server.write(b"")
        server.write(b" \r")
        assert server.start("tools/list") == json.loads(server.line())["id"]


# Versions

VERSIONS = {
    "2025-99-99": True,
    "2027-01-01-draft": True,
    "DRAFT.2": True,
    SECRET: False,
    "+12025550123": False,
    "1-202-555-0123": False,
    "2026-07-28-2025550123": False,
    "v" * 33: False,
    "jane doe": False,
    "": False,
}
"""By what a client may claim to speak: whether an error repeats it."""

EACH_VERSION = pytest.mark.parametrize(("version", "repeated"), VERSIONS.items(), ids=ascii)


def assert_refused(answer: dict[str, Any], version: str, *, repeated: bool) -> None:
    assert answer["error"]["code"] == types.UNSUPPORTED_PROTOCOL_VERSION
    assert answer["error"]["data"] == {"supported": [MODERN], "requested": version if repeated else ODD_VERSION}


def test_over_stdio_an_unknown_version_is_repeated_only_if_it_looks_like_one() -> None:
    with Program("serve", "--sandbox", "--log-level", "debug") as server:
        server.connect("auto")
        for version, repeated in (VERSIONS | {SECRET * 40_000: False}).items():
            for method, params in (
                ("tools/list", {"meta": {types.PROTOCOL_VERSION_META_KEY: version}}),
                ("initialize", HANDSHAKE | {"protocolVersion": version}),
            ):
                server.write(request(7, method, "auto" if "meta" in params else "legacy", **params).encode())
                assert_refused(json.loads(server.line()), version, repeated=repeated)
        assert server.ask("tools/list")["result"]["tools"]


def test_a_handshake_with_an_odd_version_is_negotiated() -> None:
    with Program("serve", "--sandbox") as server:
        answer = server.ask("initialize", HANDSHAKE | {"protocolVersion": SECRET})

    assert answer["result"]["protocolVersion"] == LEGACY


# Around the message, over HTTP


@EACH_VERSION
@pytest.mark.parametrize("message", ["request", "notification"])
def test_over_http_an_unknown_version_is_repeated_only_if_it_looks_like_one(
    url: str, message: str, version: str, repeated: bool
) -> None:
    body = json.loads(request(7, "tools/list", "auto", meta={types.PROTOCOL_VERSION_META_KEY: version}))
    if message == "notification":
        del body["id"]
    response = post(url, "legacy", body=body, mcp_protocol_version=version, mcp_method="tools/list")

    assert response.status_code == 400
    assert response.json()["id"] == (7 if message == "request" else None)
    assert_refused(response.json(), version, repeated=repeated)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with program() as (_, url):
        yield url


@pytest.mark.parametrize("header", ["mcp-name", "mcp-method", "mcp-protocol-version", "mcp-session-id"])
@pytest.mark.parametrize("value", [b"\xe9", b"=?base64?\xe9?=", b"\xff\xfe"])
def test_a_header_for_routing_that_is_not_ascii_is_refused(url: str, header: str, value: bytes) -> None:
    sent = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    sent |= {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "list_instance"}
    body = frame("tools/call", {"name": "list_instance", "arguments": {}})
    response = httpx.post(
        url, json=body, headers={name.encode(): text.encode() for name, text in sent.items()} | {header.encode(): value}
    )

    assert response.status_code == 400
    assert response.json()["error"]["code"] == HEADER


@EACH_ERA
def test_a_compressed_request_is_refused_with_the_way_out(url: str, mode: str) -> None:
    body = gzip.compress(json.dumps(frame("tools/list", mode=mode)).encode())
    response = post(url, mode, body=body, content_encoding="gzip")

    assert response.status_code == 415
    assert "without Content-Encoding" in response.json()["error"]["message"]


@EACH_ERA
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_body_in_another_encoding_is_refused(url: str, mode: str, encoding: str) -> None:
    body = json.dumps(frame("tools/list", mode=mode)).encode(encoding)

    assert post(url, "legacy", body=body).json()["error"]["code"] == PARSE
    assert post(url, "legacy", body=body, mcp_protocol_version="2026-07-28").json()["error"]["code"] == PARSE


def test_a_client_that_leaves_within_its_message_leaves_no_traceback() -> None:
    with program() as (server, url):
        address = (httpx.URL(url).host, httpx.URL(url).port)
        head = f"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:{address[1]}\r\ncontent-type: application/json\r\n"
        for ending in ("content-length: 1000\r\n\r\n{", "transfer-encoding: chunked\r\n\r\nff\r\n{"):
            with socket.create_connection(address) as connection:
                connection.sendall(f"{head}{ending}".encode())
        assert post(url).status_code == 200

    assert "Traceback" not in server.errors
    assert "without" not in server.errors


# Answers


class Odd:
    """Tools that answer what cannot be encoded, or fail in ways that no tool should."""

    def __init__(self, content: dict[str, Any] | None = None) -> None:
        self._content = content

    async def call(self, name: str, arguments: object, caller: Caller, **_: object) -> ToolResult:
        await caller.report(1, 2, f"\ud800{SECRET}")
        if self._content is None:
            raise ValueError(SECRET)
        return ToolResult(self._content)


@EACH_ERA
async def test_an_answer_that_cannot_be_encoded_is_mended(mode: str) -> None:
    content = {"data": [{"name": "half \ud800", "\udfff": 1}], "has_more": False}
    async with Client(create_server(load_catalog(), Odd(content)), mode=mode) as client:
        result = await client.call_tool("list_instance", {})

    assert result.structured_content == {"data": [{"name": "half \ufffd", "\ufffd": 1}], "has_more": False}
    assert "\ud800" not in result.content[0].text


@EACH_ERA
async def test_a_defect_outside_of_a_tool_is_answered_without_its_text(
    mode: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ValueError(SECRET)

    made = create_server(load_catalog(), Odd())
    async with Client(made, mode=mode) as client:
        monkeypatch.setattr("cams_mcp.server.prompts.list_prompts", lambda _: broken())
        with pytest.raises(MCPError, match=r"cams-mcp itself failed \(ValueError\)"):
            await client.list_prompts()

    assert "answering a request failed with ValueError" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("version", [LEGACY, MODERN])
async def test_a_client_s_invented_name_is_printable_and_bounded(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    class Watching:
        async def call(self, name: str, arguments: object, caller: Caller, **_: object) -> ToolResult:
            seen.append(caller.client)
            return ToolResult({})

    named = {"name": f"\u202eapp {SECRET}\n\x00" + "x" * 300, "version": "2026.11.21"}
    monkeypatch.setattr("support_raw.INFO", named)
    async with raw_client(create_server(load_catalog(), Watching()), version, {}) as client:
        assert isinstance(client, RawClient)
        await client.call("list_instance", {})

    (name,) = seen
    assert name.isprintable()
    assert name.startswith("app *** x")
    assert len(name) <= 120


def test_what_can_be_encoded_is_left_as_it_is() -> None:
    content = {"data": [{"name": "\U0001f600 \u202e", "n": 1.5, "none": None}]}

    assert encodable(content) is content
    assert encodable({"a": ("\ud800", object())}) == {"a": ["\ufffd", "object"]}


def test_a_message_is_read_as_it_is() -> None:
    call = {"name": "add_custom_audience_user", "arguments": {"users": people(3), "x": "\x00\U0001f600"}}
    message = read_message(json.dumps(frame("tools/call", call)).encode())

    assert isinstance(message, types.JSONRPCRequest)
    assert message.params == frame("tools/call", call)["params"]
    with pytest.raises(Unreadable) as refused:
        read_message(b'{"jsonrpc":"2.0","id":"5","method":5}')
    assert refused.value.answer.id == "5"
