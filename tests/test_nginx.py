"""A real nginx with its default limits between the client and the sandbox."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from support import AUDIENCE, TARGET, VALID_ARGUMENTS, no_sleep, people, serving
from support_nginx import NGINX, nginx
from support_redis import free_port

from cams_mcp.api.client import CamsClient, ClientOptions
from cams_mcp.api.credentials import ExplicitKey
from cams_mcp.api.endpoint import Endpoint
from cams_mcp.errors import CamsError, CamsMcpError, ProxyAnswer
from cams_mcp.models import Request
from cams_mcp.operation import AnyOperation
from cams_mcp.operations import OPERATIONS
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER
from cams_mcp.sandbox import SANDBOX_KEY, Sandbox, sandbox_app

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: nginx-light)")

# The Host header is signed, so it must arrive as it was sent, port included; by default nginx sends its upstream's.
CONFIGURATION = """
daemon off;
pid {directory}/nginx.pid;
error_log stderr notice;
{user}
events {{ }}
http {{
    access_log {directory}/access.log;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {upstream};
            proxy_set_header Host {host};
        }}
    }}
}}
"""


@pytest.fixture
def host() -> str:
    """What nginx passes on as Host."""
    return "$http_host"


@pytest.fixture
def proxy(tmp_path: Path, sandbox: Sandbox, host: str) -> Generator[Endpoint]:
    """Where nginx listens, in front of the sandbox."""
    port = free_port()
    # Started by root, nginx would change to a user that may not write into the test's directory.
    user = "user root;" if os.geteuid() == 0 else ""
    with serving(sandbox_app(sandbox)) as upstream:
        configuration = CONFIGURATION.format(directory=tmp_path, port=port, upstream=upstream, host=host, user=user)
        with nginx(tmp_path, configuration):
            yield Endpoint.parse(f"http://127.0.0.1:{port}")


async def call(endpoint: Endpoint, operation: AnyOperation, arguments: dict[str, Any], **options: Any) -> Any:
    request: Request = operation.request.model_validate(arguments)
    async with CamsClient(endpoint, ExplicitKey(SANDBOX_KEY), ClientOptions(**options), sleep=no_sleep) as client:
        return await client.call(operation, request)


def long_people(number: int, length: int) -> list[dict[str, str]]:
    """So many users with e-mails of so many characters."""
    users = [{"email": f"customer{index:06}@example.com".rjust(length, "x")} for index in range(number)]
    assert {len(user["email"]) for user in users} == {length}
    return users


async def test_a_body_that_nginx_finds_too_large_is_named_and_does_not_arrive(
    proxy: Endpoint, sandbox: Sandbox
) -> None:
    with pytest.raises(ProxyAnswer) as caught:
        await call(proxy, ADD_CUSTOM_AUDIENCE_USER, TARGET | {"users": long_people(10_000, 100)})

    text = str(caught.value)
    assert "a proxy in front of CAMS rejected the request as too large (413)." in text
    assert "Send less per call, or raise the proxy's body limit (nginx: client_max_body_size)." in text
    assert caught.value.http_status == 413
    assert caught.value.attempts == 1
    assert not sandbox.calls
    assert not sandbox.people(AUDIENCE)


@pytest.mark.parametrize("number", [200, 1_000])
async def test_an_address_that_nginx_finds_too_long_is_named_and_does_not_arrive(
    proxy: Endpoint, sandbox: Sandbox, number: int
) -> None:
    with pytest.raises(ProxyAnswer) as caught:
        await call(proxy, ADD_CUSTOM_AUDIENCE_USER, TARGET | {"users": people(number)}, users_in="query")

    text = str(caught.value)
    assert "a proxy in front of CAMS rejected the request because its URL is too long (414)." in text
    assert "Use --users-in body (the default), or send less per call." in text
    assert caught.value.http_status == 414
    assert not sandbox.calls


async def test_ten_thousand_users_in_the_address_fail_and_do_not_arrive(proxy: Endpoint, sandbox: Sandbox) -> None:
    with pytest.raises(CamsMcpError) as caught:
        await call(proxy, ADD_CUSTOM_AUDIENCE_USER, TARGET | {"users": long_people(10_000, 33)}, users_in="query")

    assert "send less per call" in str(caught.value)
    assert not sandbox.calls


@pytest.mark.parametrize("host", ["$proxy_host"])
async def test_a_proxy_that_rewrites_the_host_breaks_the_signature(proxy: Endpoint, sandbox: Sandbox) -> None:
    with pytest.raises(CamsError) as caught:
        await call(proxy, OPERATIONS[0], {})

    assert "SignatureDoesNotMatch" in str(caught.value)
    assert "a proxy rewrites the request" in str(caught.value)
    assert not sandbox.calls


async def test_ten_thousand_users_pass_in_one_call(proxy: Endpoint, sandbox: Sandbox) -> None:
    response = await call(proxy, ADD_CUSTOM_AUDIENCE_USER, TARGET | {"users": long_people(10_000, 33)})

    assert response.success
    assert [recorded.action for recorded in sandbox.calls] == ["AddCustomAudienceUser"]
    assert len(sandbox.people(AUDIENCE)) == 10_000


async def test_few_users_in_the_address_pass(proxy: Endpoint, sandbox: Sandbox) -> None:
    await call(proxy, ADD_CUSTOM_AUDIENCE_USER, TARGET | {"users": people(50)}, users_in="query")

    assert len(sandbox.calls) == 1


async def test_nobodys_address_is_in_the_log_of_the_proxy(proxy: Endpoint, tmp_path: Path) -> None:
    await call(proxy, ADD_CUSTOM_AUDIENCE_USER, TARGET | {"users": people(120)})

    logged = (tmp_path / "access.log").read_text()
    assert AUDIENCE in logged
    assert "example.com" not in logged
    assert "Users" not in logged
    assert SANDBOX_KEY.secret not in logged


@pytest.mark.parametrize("operation", [op for op in OPERATIONS if op.pages], ids=lambda operation: operation.name)
async def test_lists_work_through_nginx(proxy: Endpoint, operation: AnyOperation) -> None:
    response = await call(proxy, operation, VALID_ARGUMENTS[operation.name])

    assert response.success
    assert len(response.data) == 20
