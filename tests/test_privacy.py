"""Nobody's address and no secret shows on standard error, in an error or in a URL, whatever goes wrong."""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.shared.exceptions import MCPError
from support import AUDIENCE, ERAS, PAGE, TARGET, VALID_ARGUMENTS, Person, serving, text_of, yes
from support_cli import PROGRAM, environment

from cams_mcp.api.credentials import AccessKey
from cams_mcp.sandbox import FAULTS, Fault, Faults, Sandbox, sandbox_app
from cams_mcp.sandbox.account import WHATSAPP_SPACE

KEY = AccessKey("made-up-id", "made-up-secret-7c1f", "made-up-token-93ab")
SETTINGS = {
    "CAMS_MCP_ACCESS_KEY_ID": KEY.id,
    "CAMS_MCP_ACCESS_KEY_SECRET": KEY.secret,
    "CAMS_MCP_SECURITY_TOKEN": str(KEY.security_token),
    "CAMS_MCP_LOG_LEVEL": "debug",
    "CAMS_MCP_RETRIES": "0",
}

USERS = [
    {"email": f"recognisable{number:04}@example.com", "phone": f"+1 303-555-{100 + number % 100:04}"}
    for number in range(120)
]
WRITE = TARGET | {"users": USERS}

PRIVATE = re.compile(r"recognisable|303\W*555\W*0|" + "|".join((KEY.secret, str(KEY.security_token))), re.IGNORECASE)
"""What must not show, masked or cut or spelled in another way. A mask keeps the first letter and some digits."""

MALFORMED: list[tuple[str, dict[str, Any]]] = [
    ("add_custom_audience_user", WRITE | {"users": [{"email": "recognisable"}, {"phone": "+1 303 555 ext"}]}),
    ("add_custom_audience_user", WRITE | {"users": [{"recognisable@example.com": "+13035550100"}]}),
    ("add_custom_audience_user", WRITE | {"users": '[{"email": "recognisable@example.com"'}),
    ("add_custom_audience_user", WRITE | {"recognisable@example.com": 1}),
    ("add_custom_audience_user", WRITE | {"users": ["recognisable@example.com"]}),
    ("add_custom_audience_user", WRITE | {"confirmation_token": "recognisable@example.com"}),
    ("list_instance", {"channel_type": "recognisable@example.com"}),
    ("list_instance", {"submit_time": "+13035550100"}),
    ("list_chat_group", {"cust_space_id": WHATSAPP_SPACE, "business_number": {"number": "+13035550100"}}),
]

REFUSED_BY_CAMS: list[tuple[str, dict[str, Any]]] = [
    ("list_chat_group", {"cust_space_id": WHATSAPP_SPACE, "business_number": "recognisable@example.com"}),
    ("list_custom_audience", {"cust_space_id": "recognisable@example.com", "page_id": "+13035550100"}),
]
"""Addresses where ids belong. They travel in the URL as any id does; nothing may repeat them."""


async def use(server: StdioServerParameters, mode: str, log: Path, *more: tuple[str, dict[str, Any]]) -> list[str]:
    """Call everything, with a no and a yes; gives all that a client and a person were told.

    Standard error goes to `log`.
    """
    told: list[str] = []
    calls = [(tool, VALID_ARGUMENTS[tool]) for tool in VALID_ARGUMENTS if tool.startswith("list_")]
    calls += [*MALFORMED, *more, ("recognisable@example.com", {})]
    write = ("add_custom_audience_user", WRITE)
    declined = ("add_custom_audience_user", WRITE | {"users": USERS[1:]})
    people = iter((Person("decline"), yes()))

    async def answer(context: object, params: types.ElicitRequestFormParams) -> types.ElicitResult:
        told.append(params.message)
        return await next(people)(context, params)

    with log.open("a", encoding="utf-8") as errors:
        async with Client(stdio_client(server, errlog=errors), mode=mode, elicitation_callback=answer) as client:
            for tool, arguments in (declined, *calls, write):
                try:
                    told.append(text_of(await client.call_tool(tool, arguments)))
                except MCPError as error:
                    told.append(str(error))
    return told


def check(told: list[str], log: Path) -> str:
    """Nothing private in what was told and logged; gives the log."""
    logged = log.read_text(encoding="utf-8")
    for text in (*told, *logged.splitlines()):
        assert PRIVATE.search(text) is None
    return logged


def test_the_search_finds_what_it_is_to_find() -> None:
    for text in (json.dumps(USERS[0]), "RECOGNISABLE0007", "(303) 555-0100", "13035550100", f"key={KEY.secret}"):
        assert PRIVATE.search(text)


@pytest.mark.parametrize(
    ("fault", "mode"), [*((None, mode) for mode in ERAS), *zip(FAULTS, itertools.cycle(ERAS), strict=False)]
)
async def test_nothing_private_is_told_or_logged_whatever_fails(tmp_path: Path, mode: str, fault: str | None) -> None:
    options = ["--sandbox"]
    if fault == "latency":
        options += ["--fault", "latency:1:5", "--timeout", "0.1"]
    elif fault is not None:
        options += ["--fault", fault, "--retries", "1" if fault == "throttle" else "0"]
    server = StdioServerParameters(
        command=sys.executable, args=[*PROGRAM[1:], "serve", *options], env=environment(tmp_path, SETTINGS)
    )

    told = await use(server, mode, tmp_path / "stderr", *REFUSED_BY_CAMS)

    logged = check(told, tmp_path / "stderr")
    assert "DEBUG" in logged
    assert any("Nothing was sent: the user declined." in text for text in told) or fault is not None
    assert any('"status":"sent"' in text for text in told) == (fault is None)
    assert any("cannot be undone" in text for text in told), "the person was asked"
    assert sum("problem" in text for text in told) >= len(MALFORMED) - 1


Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


def recording(app: App, lines: list[str]) -> App:
    """The application, with the request line and headers of every request written down, as an access log would."""

    async def recorded(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] == "http":
            lines.append(f"{scope['method']} {scope['raw_path'].decode()}?{scope['query_string'].decode()}")
            # The token is a header by design (x-acs-security-token); everything else must do without secrets.
            lines.extend(
                f"{name.decode()}: {value.decode()}"
                for name, value in scope["headers"]
                if name != b"x-acs-security-token"
            )
        await app(scope, receive, send)

    return recorded


@pytest.mark.parametrize(
    ("faults", "mode"),
    [((), "auto"), ((), "legacy"), (("error:0.5", "reset:0.3"), "auto"), (("denied",), "legacy")],
    ids=["no fault-auto", "no fault-legacy", "some-auto", "denied-legacy"],
)
async def test_nothing_private_is_in_a_url_or_header(tmp_path: Path, mode: str, faults: tuple[str, ...]) -> None:
    sandbox = Sandbox(Faults(map(Fault.parse, faults)), key=KEY)
    lines: list[str] = []
    with serving(recording(sandbox_app(sandbox), lines)) as url:
        server = StdioServerParameters(
            command=sys.executable,
            args=[*PROGRAM[1:], "serve", "--endpoint", url],
            env=environment(tmp_path, SETTINGS),
        )
        told = await use(server, mode, tmp_path / "stderr")

    assert "DEBUG" in check(told, tmp_path / "stderr")
    assert any(line.startswith("POST /?") and PAGE["page_id"] in line for line in lines)
    assert "x-acs-action: AddCustomAudienceUser" in lines
    for line in lines:
        assert PRIVATE.search(line) is None
        assert "Users=" not in line
    if not faults:
        assert len(sandbox.people(AUDIENCE)) == 120


@pytest.mark.parametrize("mode", ERAS)
async def test_people_in_the_address_on_request_are_not_logged(tmp_path: Path, mode: str) -> None:
    sandbox = Sandbox(key=KEY)
    with serving(sandbox_app(sandbox)) as url:
        server = StdioServerParameters(
            command=sys.executable,
            args=[*PROGRAM[1:], "serve", "--endpoint", url, "--users-in", "query"],
            env=environment(tmp_path, SETTINGS),
        )
        told = await use(server, mode, tmp_path / "stderr")

    assert "DEBUG" in check(told, tmp_path / "stderr")
    assert len(sandbox.people(AUDIENCE)) == 120
