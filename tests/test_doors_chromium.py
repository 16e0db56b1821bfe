"""The doors of a person, whole: a real server, a real client, a real browser, and the sandbox's own record."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import Client, StdioServerParameters
from mcp.client import advertise
from support import ERAS, TARGET, people, serving, writes_that_arrived
from support_chromium import chromium  # noqa: F401 - a fixture
from support_cli import environment, run_here
from support_http import LISTENING
from support_mcp_apps import open_card
from support_process import Program

from cams_mcp.approval.card import CARD_TOOLS, EXTENSION, MIME_TYPE, URI
from cams_mcp.sandbox import SANDBOX_KEY, Sandbox, sandbox_app

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

KEY = ("--access-key-id", SANDBOX_KEY.id, "--access-key-secret", SANDBOX_KEY.secret)
TOOL, LIST = "add_custom_audience_user", TARGET | {"users": people(150)}
CARDS = advertise(EXTENSION, {"mimeTypes": [MIME_TYPE]})

EACH_ERA = pytest.mark.parametrize("mode", ERAS)
EACH_TRANSPORT = pytest.mark.parametrize("transport", ["stdio", "http"])


class Assistant:
    """A client without elicitation. Its event loop runs in another thread, as Playwright occupies this one."""

    def __init__(self, portal: BlockingPortal, client: Client) -> None:
        self._portal = portal
        self._client = client

    def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        result = self._portal.call(partial(self._client.call_tool, name, arguments))
        return result.model_dump(by_alias=True, exclude_none=True, mode="json")

    def start(self, name: str, arguments: dict[str, Any]) -> Callable[[], dict[str, Any]]:
        """Begin a call. The result of what this returns is that of the call."""
        future = self._portal.start_task_soon(partial(self._client.call_tool, name, arguments))
        return lambda: future.result(20).model_dump(by_alias=True, exclude_none=True, mode="json")

    @property
    def tools(self) -> dict[str, Any]:
        listed = self._portal.call(self._client.list_tools)
        return {tool.name: tool.meta for tool in listed.tools}

    def card(self) -> str:
        (contents,) = self._portal.call(self._client.read_resource, URI).contents
        return contents.text  # type: ignore[union-attr]


@contextmanager
def assistant(
    home: Path, url: str, mode: str, *more: str, transport: str = "stdio", env: dict[str, str] | None = None
) -> Generator[Assistant]:
    """An assistant connected to a server of its own that sends to the sandbox at `url`."""
    arguments = ["--endpoint", url, *KEY, "--state-dir", str(home / "state"), *more]
    given = environment(home, env)
    with start_blocking_portal() as portal:

        def connected(target: Any) -> Any:
            return portal.wrap_async_context_manager(Client(target, mode=mode, extensions=[CARDS]))

        if transport == "stdio":
            server = StdioServerParameters(command=sys.executable, args=["-m", "cams_mcp", *arguments], env=given)
            with connected(server) as client:
                yield Assistant(portal, client)
        else:
            with (
                Program("serve", "--transport", "http", "--port", "0", *arguments, env=given) as program,
                connected(program.error_line(LISTENING).removeprefix(LISTENING)) as client,
            ):
                yield Assistant(portal, client)


@pytest.fixture
def url(sandbox: Sandbox) -> Iterator[str]:
    with serving(sandbox_app(sandbox)) as url:
        yield url


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:  # noqa: F811 - the fixture
    with chromium.new_page() as page:
        yield page


def trail(home: Path) -> list[tuple[str, str]]:
    shown = run_here(home, "audit", "--json", "--state-dir", str(home / "state")).stdout
    return [(entry["event"], entry["channel"]) for entry in map(json.loads, shown.splitlines())]


def noting_browser(home: Path) -> dict[str, str]:
    """A browser that only notes the address, and one that a person then opens."""
    script = home / "browser"
    script.write_text(f'#!/bin/sh\necho "$1" > "{home}/new" && mv "{home}/new" "{home}/opened"\n', encoding="utf-8")
    script.chmod(0o700)
    return {"BROWSER": f"{script} %s"}


def opened(home: Path, page: Page) -> None:
    """Open the page that the server asked the browser to open."""
    path = home / "opened"
    while not path.exists():
        page.wait_for_timeout(20)
    page.goto(path.read_text(encoding="utf-8").strip())


@EACH_ERA
def test_a_write_is_approved_on_the_page_and_its_call_returns_what_became_of_it(
    tmp_path: Path, sandbox: Sandbox, url: str, page: Page, mode: str
) -> None:
    with assistant(tmp_path, url, mode, "--confirm", "page", env=noting_browser(tmp_path)) as caller:
        outcome = caller.start(TOOL, LIST)
        opened(tmp_path, page)
        assert "Add 150 people" in page.inner_text("main")
        assert not writes_that_arrived(sandbox)
        page.get_by_role("button", name="Approve").click()
        result = outcome()
        page.get_by_text("and sent. CAMS accepted it.").first.wait_for()

    assert result["structuredContent"]["status"] == "sent"
    assert len(writes_that_arrived(sandbox)) == 1
    assert trail(tmp_path) == [("asked", "page"), ("approved", "page"), ("sent", "page")]


@EACH_ERA
def test_a_write_declined_on_the_page_sends_nothing_and_tells_the_assistant(
    tmp_path: Path, sandbox: Sandbox, url: str, page: Page, mode: str
) -> None:
    with assistant(tmp_path, url, mode, "--confirm", "page", env=noting_browser(tmp_path)) as caller:
        outcome = caller.start(TOOL, LIST)
        opened(tmp_path, page)
        page.get_by_role("button", name="Decline").click()
        result = outcome()

    assert result["isError"]
    assert "a person declined this write" in result["content"][0]["text"]
    assert not writes_that_arrived(sandbox)
    assert trail(tmp_path) == [("asked", "page"), ("declined", "page")]


@EACH_ERA
@EACH_TRANSPORT
def test_a_write_is_approved_on_the_card_of_a_real_server(
    tmp_path: Path, sandbox: Sandbox, url: str, page: Page, mode: str, transport: str
) -> None:
    with assistant(tmp_path, url, mode, "--confirm", "person", transport=transport) as caller:
        tools = caller.tools
        waiting = caller.call(TOOL, LIST)
        host = open_card(page, html=caller.card(), tool_result=waiting, call_tool=caller.call)
        host.button("Approve").click()
        host.view.get_by_text("and sent. CAMS accepted it.").first.wait_for()
        later = caller.call(TOOL, LIST)

    assert tools.keys() >= CARD_TOOLS
    assert tools[TOOL]["ui"] == {"resourceUri": URI, "visibility": ["model"]}
    assert waiting["structuredContent"]["status"] == "awaiting_approval"
    assert later["structuredContent"]["status"] == "sent"
    assert len(writes_that_arrived(sandbox)) == 1
    assert trail(tmp_path) == [("asked", "card"), ("approved", "card"), ("sent", "card")]
    assert len(host.told) == 1


@EACH_TRANSPORT
def test_a_write_declined_on_the_card_sends_nothing(
    tmp_path: Path, sandbox: Sandbox, url: str, page: Page, transport: str
) -> None:
    with assistant(tmp_path, url, "auto", "--confirm", "person", transport=transport) as caller:
        waiting = caller.call(TOOL, LIST)
        host = open_card(page, html=caller.card(), tool_result=waiting, call_tool=caller.call)
        host.button("Decline").click()
        host.view.get_by_text("Nothing was sent.").first.wait_for()
        later = caller.call(TOOL, LIST)

    assert "a person declined this write" in later["content"][0]["text"]
    assert not writes_that_arrived(sandbox)
    assert trail(tmp_path) == [("asked", "card"), ("declined", "card"), ("blocked", "card")]


def test_page_and_card_of_one_write_come_to_one_decision(
    tmp_path: Path,
    sandbox: Sandbox,
    url: str,
    page: Page,
    chromium: Browser,  # noqa: F811 - the fixture
) -> None:
    env = noting_browser(tmp_path)
    with chromium.new_page() as second, assistant(tmp_path, url, "auto", "--confirm", "card") as by_card:
        waiting = by_card.call(TOOL, LIST)
        with assistant(tmp_path, url, "auto", "--confirm", "page", env=env) as by_page:
            outcome = by_page.start(TOOL, LIST)
            opened(tmp_path, page)
            assert "Add 150 people" in page.inner_text("main")
            host = open_card(second, html=by_card.card(), tool_result=waiting, call_tool=by_card.call)
            host.button("Decline").click()
            host.view.get_by_text("Nothing was sent.").first.wait_for()
            result = outcome()
            page.get_by_text("Nothing was sent.").first.wait_for()

    assert result["isError"]
    assert not writes_that_arrived(sandbox)
    assert trail(tmp_path) == [("asked", "card"), ("declined", "card")]
