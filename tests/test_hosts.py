from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from support import ERAS, VALID_ARGUMENTS, people
from support_http import ALICE, frame, get, http_server, people_of, post, program

from cams_mcp.http.addresses import is_hidden
from cams_mcp.http.auth import TokenFile
from cams_mcp.sandbox import Sandbox
from cams_mcp.settings import HttpSettings

EACH_ERA = pytest.mark.parametrize("mode", ERAS)
BEHIND_A_PROXY = {
    "public_url": "https://mcp.example.com/mcp",
    "allowed_hosts": ("cams.internal.example.com", "exact.example.com:8443"),
    "allowed_origins": ("https://app.example.com",),
}
GOOD = [
    {"host": "mcp.example.com"},
    {"host": "mcp.example.com:443"},
    {"host": "cams.internal.example.com"},
    {"host": "cams.internal.example.com:8000"},
    {"host": "exact.example.com:8443"},
    {"origin": "https://app.example.com"},
    {"origin": "https://mcp.example.com"},
    {"host": "mcp.example.com", "origin": "https://mcp.example.com"},
]
BAD = [
    {"host": "exact.example.com"},
    {"host": "exact.example.com:8444"},
    {"host": "example.com"},
    {"host": "evil.mcp.example.com"},
    {"host": "mcp.example.com.evil.example.com"},
    {"host": "mcp.example.com.evil.example.com:443"},
    {"origin": "http://app.example.com"},
    {"origin": "https://app.example.com.evil.example.com"},
    {"origin": "https://app.example.com:8443"},
    {"origin": "https://evil.example.com"},
    {"origin": "null"},
    {"host": "mcp.example.com", "origin": "https://evil.example.com"},
    {"x_forwarded_host": "mcp.example.com", "host": "evil.example.com"},
]


@EACH_ERA
async def test_hosts_and_origins_that_are_named_are_answered_and_no_others(sandbox: Sandbox, mode: str) -> None:
    async with http_server(sandbox, None, **BEHIND_A_PROXY) as url:
        for headers in GOOD:
            assert post(url, mode, **headers).status_code == 200, headers
        for headers in BAD:
            assert post(url, mode, **headers).status_code in (403, 421), headers


@EACH_ERA
async def test_a_foreign_host_is_refused_before_its_token_is_looked_at(
    sandbox: Sandbox, tmp_path: Path, mode: str
) -> None:
    path = people_of(tmp_path / "tokens")
    async with http_server(sandbox, TokenFile(path), auth_token_file=path, **BEHIND_A_PROXY) as url:
        for token in (None, "wrong", ALICE):
            for headers in BAD:
                assert post(url, mode, token=token, **headers).status_code in (403, 421), headers


async def test_a_page_of_an_allowed_origin_can_read_answers(sandbox: Sandbox) -> None:
    origin = "https://app.example.com"
    asked = {"origin": origin, "access-control-request-method": "POST"}
    async with http_server(sandbox, None, **BEHIND_A_PROXY) as url:
        async with httpx.AsyncClient(trust_env=False) as client:
            preflight = await client.options(url, headers=asked | {"access-control-request-headers": "authorization"})
            foreign = await client.options(url, headers=asked | {"origin": "https://evil.example.com"})
        answer = post(url, origin=origin)

    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == origin
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    assert foreign.status_code == 403
    assert answer.headers["access-control-allow-origin"] == origin
    assert "mcp-session-id" in answer.headers["access-control-expose-headers"]


async def test_without_allowed_origins_no_page_is_told_that_it_may_read(sandbox: Sandbox) -> None:
    async with http_server(sandbox, None) as url:
        assert "access-control-allow-origin" not in post(url).headers


def test_hosts_and_origins_are_options() -> None:
    options = ("--allowed-host", "cams.example.com", "--allowed-origin", "https://app.example.com")
    with program(*options) as (_, url):
        assert post(url, host="cams.example.com", origin="https://app.example.com").status_code == 200
        assert post(url, host="other.example.com").status_code == 421


def test_only_a_server_on_all_addresses_without_a_name_is_hidden(tmp_path: Path) -> None:
    everywhere = {"host": "0.0.0.0", "auth_token_file": tmp_path}

    assert is_hidden(HttpSettings(**everywhere))
    assert not is_hidden(HttpSettings(**everywhere, public_url="https://mcp.example.com/mcp"))
    assert not is_hidden(HttpSettings(**everywhere, allowed_hosts=("mcp.example.com",)))
    assert not is_hidden(HttpSettings(host="192.0.2.1", auth_token_file=tmp_path))
    assert not is_hidden(HttpSettings())


# Limits of requests and sessions


@EACH_ERA
async def test_a_request_over_the_limit_is_refused(sandbox: Sandbox, mode: str) -> None:
    async with http_server(sandbox, None, max_body=2000) as url:
        assert post(url, mode).status_code == 200
        assert post(url, mode, body=frame("tools/list", {"x": "x" * 2000}, mode=mode)).status_code == 413


@EACH_ERA
async def test_the_default_limit_lets_the_largest_list_of_people_pass(sandbox: Sandbox, mode: str) -> None:
    most = [user | {"phone": f"+1202555{number:04}"} for number, user in enumerate(people(10_000))]
    arguments = VALID_ARGUMENTS["add_custom_audience_user"] | {"users": most}
    call = frame("tools/call", {"name": "add_custom_audience_user", "arguments": arguments}, mode=mode)
    async with http_server(sandbox, None) as url:
        number = post(url, "legacy").headers["mcp-session-id"]
        answer = post(url, mode, body=call, **({"mcp_session_id": number} if mode == "legacy" else {}))

    assert answer.status_code == 200
    assert "confirmation_token" in answer.text


async def test_no_more_sessions_are_opened_than_allowed(sandbox: Sandbox) -> None:
    async with http_server(sandbox, None, max_sessions=2) as url:
        first = post(url, "legacy")
        assert post(url, "legacy").status_code == 200
        assert post(url, "legacy").status_code == 503
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.delete(url, headers={"mcp-session-id": first.headers["mcp-session-id"]})
        assert post(url, "legacy").status_code == 200
        # A request of 2026-07-28 needs no session.
        assert post(url).status_code == 200


def test_limits_are_options() -> None:
    with program("--max-body", "1024", "--max-sessions", "1", "--session-idle", "3600") as (_, url):
        assert post(url, body=frame("tools/list", {"x": "x" * 1100})).status_code == 413
        assert post(url, "legacy").status_code == 200
        assert post(url, "legacy").status_code == 503


# No request can choose the endpoint, credentials or files


@EACH_ERA
async def test_no_header_or_parameter_changes_where_calls_go(sandbox: Sandbox, mode: str) -> None:
    params = {"name": "list_instance", "arguments": {}}
    chosen = {
        "endpoint": "https://evil.example.com",
        "access_key_id": "evil",
        "state_dir": "/tmp/evil",  # noqa: S108
        "auth_token_file": "/etc/passwd",
    }
    headers = {f"x_cams_mcp_{name}": value for name, value in chosen.items()}
    async with http_server(sandbox, None) as url:
        number = post(url, "legacy").headers["mcp-session-id"]
        more = {"mcp_session_id": number} if mode == "legacy" else {}
        call = frame("tools/call", params, mode=mode)
        answered = post(f"{url}?{httpx.QueryParams(chosen)}", mode, body=call, **headers, **more)
        assert answered.status_code == 200
        assert len(sandbox.calls) == 1
        for name, value in chosen.items():
            call = frame("tools/call", params | {"arguments": {name: value}}, mode=mode)
            assert "Nothing was sent" in post(url, mode, body=call, **more).text
        assert get(url, "/mcp/../etc/passwd").status_code == 404

    assert len(sandbox.calls) == 1
