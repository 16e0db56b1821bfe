"""A host of MCP Apps: one page in Chromium (mcp_apps_host.html) that shows a view in a sandboxed frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Frame, FrameLocator, Locator, Page, Route

HOST_PAGE = Path(__file__).with_name("mcp_apps_host.html")
HOST_URL = "https://host.example.com/"

CAPABILITIES: dict[str, Any] = {"serverTools": {}, "updateModelContext": {"text": {}}, "logging": {}}
"""`hostCapabilities` of a host that offers all that the card uses."""

CallTool = Callable[[str, dict[str, Any]], dict[str, Any]]
"""Answers `tools/call`: a CallToolResult as JSON, or {"refused": message} for an error of the host itself."""


@dataclass
class Host:
    """One view in its host.

    Attributes:
        given: what the host's page is started with.
        calls: every `tools/call` of the view: name and arguments.
        requests: addresses that the page tried to load. Always empty for a view that needs no network.
    """

    page: Page
    given: dict[str, Any]
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list[tuple[str, dict[str, Any]]])
    requests: list[str] = field(default_factory=list[str])

    @property
    def view(self) -> FrameLocator:
        return self.page.frame_locator("iframe >> nth=0")

    @property
    def frame(self) -> Frame:
        """The view's document, to run scripts in."""
        return self.page.frames[1]

    @property
    def text(self) -> str:
        """What the view shows."""
        return self.view.locator("main").inner_text()

    def button(self, name: str) -> Locator:
        return self.view.get_by_role("button", name=name, exact=True)

    @property
    def received(self) -> list[dict[str, Any]]:
        """Every message of the view."""
        return self.page.evaluate("host.received")

    @property
    def told(self) -> list[str]:
        """What the view told the model."""
        return [content[0]["text"] for content in self.page.evaluate("host.contexts")]

    def called(self, name: str) -> list[dict[str, Any]]:
        """The arguments of the view's calls of one tool."""
        return [arguments for each, arguments in self.calls if each == name]

    def notify(self, method: str, params: Mapping[str, Any]) -> None:
        self.page.evaluate("([method, params]) => host.notify(method, params)", [method, params])

    def request(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Sends the view a request and returns its answer."""
        return self.page.evaluate("([method, params]) => host.request(method, params)", [method, dict(params or {})])

    def intrude(self, message: Mapping[str, Any]) -> None:
        """Sends the view a message from a frame that is not its parent."""
        self.page.evaluate("(message) => host.intrude(message)", dict(message))

    def refuse(self, method: str) -> None:
        """Answers this method of the view with an error from now on."""
        self.page.evaluate("(method) => { host.refused.push(method); }", method)

    def hold(self, tool: str) -> None:
        """Lets the calls of a tool wait."""
        self.page.evaluate(
            "(tool) => { let go; host.held[tool] = { promise: new Promise((done) => (go = done)) }; "
            "host.held[tool].go = go; }",
            tool,
        )

    def release(self, tool: str) -> None:
        """Lets the waiting calls of a tool go on."""
        self.page.evaluate("(tool) => { host.held[tool].go(); }", tool)

    def reload(self) -> None:
        """Reloads the chat. The view starts anew, and like many hosts this one does not repeat the tool's result."""
        self.given["result"] = None
        self.start()

    def start(self) -> None:
        self.page.goto(HOST_URL)
        self.page.evaluate("(given) => host.start(given)", self.given)
        self.view.locator("title").wait_for(state="attached")
        self.page.evaluate("host.show()")


def _offers_none(uri: str) -> dict[str, Any]:
    return {"refused": "not offered"}


def open_card(
    page: Page,
    *,
    html: str,
    tool_result: Mapping[str, Any] | None,
    call_tool: CallTool,
    theme: str = "light",
    locale: str = "en",
    read_resource: Callable[[str], dict[str, Any]] | None = None,
    capabilities: Mapping[str, Any] = CAPABILITIES,
    context: Mapping[str, Any] | None = None,
    tool_input: Mapping[str, Any] | None = None,
) -> Host:
    """Shows a view in a host.

    The functions run on the thread of Playwright, which has an event loop: a client that is asynchronous must have one
    on another thread (`anyio.from_thread.start_blocking_portal`).

    Args:
        page: of a browser, new.
        html: the view, as `resources/read` returned it.
        tool_result: of the call that this view belongs to; None for a host that does not pass it on.
        call_tool: answers the view's calls of tools.
        read_resource: answers `resources/read`.
        capabilities: `hostCapabilities`.
        context: more of `hostContext`.
        tool_input: the arguments of the call that this view belongs to.
    """
    shown = {"theme": theme, "locale": locale, "displayMode": "inline", "platform": "web", **(context or {})}
    given = {"html": html, "result": tool_result, "input": tool_input or {}, "capabilities": capabilities}
    host = Host(page, {**given, "context": shown})

    def record(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        host.calls.append((name, arguments))
        return call_tool(name, arguments)

    def serve(route: Route) -> None:
        if route.request.url == HOST_URL:
            route.fulfill(content_type="text/html; charset=utf-8", body=HOST_PAGE.read_text(encoding="utf-8"))
        else:
            host.requests.append(route.request.url)
            route.abort()

    page.route("**/*", serve)
    page.expose_function("callTool", record)
    page.expose_function("readResource", read_resource or _offers_none)
    host.start()
    return host
