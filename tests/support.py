"""What several test files need: collaborators put together, real servers on loopback, people who answer questions."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import uvicorn
from mcp import Client
from mcp.server.lowlevel import Server

from cams_mcp.access import LOCAL, Access
from cams_mcp.api.client import CamsClient, ClientOptions
from cams_mcp.api.credentials import CredentialSource, ExplicitKey
from cams_mcp.api.endpoint import Endpoint
from cams_mcp.approval.desk import Desk
from cams_mcp.confirmation import PERSONS, ConfirmMode
from cams_mcp.guard.doors import PageDoor
from cams_mcp.guard.guard import Guard
from cams_mcp.guard.policy import Policy
from cams_mcp.guard.waiting import Watch
from cams_mcp.operation import AnyOperation
from cams_mcp.operations import OPERATIONS
from cams_mcp.sandbox import SANDBOX_KEY, ExecutedCall, Sandbox, SandboxTransport
from cams_mcp.sandbox.account import AD_ACCOUNT, MESSENGER_PAGE, MESSENGER_SPACE
from cams_mcp.server.server import create_server
from cams_mcp.settings import Settings
from cams_mcp.store import Store
from cams_mcp.tools.cards import Cards
from cams_mcp.tools.definitions import load_catalog
from cams_mcp.tools.toolbox import Toolbox
from cams_mcp.upload.folders import Folders
from cams_mcp.upload.runner import Limits
from cams_mcp.upload.service import Uploads

ERAS = ("auto", "legacy")
"""`mode` of the SDK's client: "auto" speaks 2026-07-28 with our server, "legacy" up to 2025-11-25."""

HERE = Endpoint("http", "sandbox.localhost")

PAGE = {"cust_space_id": MESSENGER_SPACE, "page_id": MESSENGER_PAGE}
AUDIENCE = "6000019000000"
TARGET = PAGE | {"ad_account_id": AD_ACCOUNT, "custom_audience_id": AUDIENCE}


def is_needed(operation: AnyOperation, argument: str) -> bool:
    """Whether a call cannot do without an argument of an example. Writes are about what they write."""
    return operation.writes or operation.request.model_fields[argument].is_required()


VALID_ARGUMENTS: dict[str, dict[str, Any]] = {
    operation.name: {name: value for name, value in operation.example.items() if is_needed(operation, name)}
    for operation in OPERATIONS
}
"""Arguments that each tool accepts over the sandbox's data, without filters."""


def examples(number: int) -> int:
    """So many examples of a slow test by Hypothesis in CI; fewer elsewhere."""
    return number if os.environ.get("CAMS_MCP_TEST_THOROUGH") else number * 2 // 5


def people(number: int, start: int = 0) -> list[dict[str, str]]:
    """So many users with made-up e-mails."""
    return [{"email": f"customer{index:06}@example.com"} for index in range(start, start + number)]


async def no_sleep(seconds: float) -> None:
    """In place of waiting between attempts."""


def client_of(
    sandbox: Sandbox,
    options: ClientOptions | None = None,
    *,
    credentials: CredentialSource | None = None,
    **collaborators: Any,
) -> CamsClient:
    """A client that reaches `sandbox` in this process and does not wait between attempts."""
    return CamsClient(
        HERE,
        credentials or ExplicitKey(SANDBOX_KEY),
        options,
        **({"transport": SandboxTransport(sandbox), "sleep": no_sleep} | collaborators),
    )


@asynccontextmanager
async def toolbox_over(
    sandbox: Sandbox,
    *,
    confirm: ConfirmMode = "auto",
    policy: Policy | None = None,
    store: Store | None = None,
    folder: Path | None = None,
    limits: Limits | None = None,
    pause: Callable[[float], Awaitable[None]] = no_sleep,
    result_tokens: int = Settings.result_tokens,
    page: PageDoor | None = None,
    command: str = "",
    holds: bool = True,
    **collaborators: Any,
) -> AsyncGenerator[Toolbox]:
    """All tools over `sandbox`.

    Args:
        page: the approval page, or what stands for a person in front of it.
        command: how to decide on a terminal, if another process can see the store.
        holds: whether the lists of waiting writes are kept until they are decided.
        confirm: unless a `policy` says it.
        folder: of the file tools; without one there are none.
        limits: of an upload's batches.
        pause: how an upload waits between batches.
        collaborators: of the client of CAMS.
    """
    async with client_of(sandbox, **collaborators) as service, anyio.create_task_group() as group:
        store, policy = store or Store(None), policy or Policy(confirm=confirm)
        watch = Watch(store)
        more = {"watch": watch, "page": page, "command": command, "group": group if holds else None}
        guard = Guard(service, store, policy, **more)
        uploads = None
        if folder is not None:
            open_file = Folders.of([folder]).open
            uploads = Uploads(open_file, service, guard, store.journal, limits or Limits(), sleep=pause)
        yield Toolbox(
            OPERATIONS,
            service,
            guard,
            uploads,
            result_tokens=result_tokens,
            tokens=policy.confirm not in PERSONS,
            cards=Cards(Desk(store, watch.poke), store),
        )
        group.cancel_scope.cancel()


@asynccontextmanager
async def mcp_server(
    sandbox: Sandbox,
    *,
    access: Callable[[], Access] = lambda: LOCAL,
    lists_file_tools: bool | None = None,
    read_only: bool = False,
    folder: Path | None = None,
    **toolbox: Any,
) -> AsyncGenerator[Server[Any]]:
    """A server of the tools over `sandbox`.

    Args:
        access: what the caller may do.
        lists_file_tools: whether there is a folder or not.
        toolbox: more arguments of `toolbox_over`.
    """
    policy = toolbox.get("policy") or Policy(confirm=toolbox.get("confirm", "auto"))
    async with toolbox_over(sandbox, folder=folder, **toolbox) as tools:
        catalog = load_catalog(
            read_only=read_only,
            uploads=folder is not None if lists_file_tools is None else lists_file_tools,
            tokens=policy.confirm not in PERSONS,
            cards=policy.cards and policy.confirm in ("auto", "person", "card"),
        )
        yield create_server(catalog, tools, access)


@asynccontextmanager
async def client_over(sandbox: Sandbox, *, mode: str = "auto", **server: Any) -> AsyncGenerator[Client]:
    """The SDK's client connected in memory to a server over `sandbox`. `server` goes to `mcp_server`."""
    async with mcp_server(sandbox, **server) as running, Client(running, mode=mode) as connected:
        yield connected


@asynccontextmanager
async def mcp_client(
    sandbox: Sandbox,
    *,
    mode: str = "auto",
    confirm: ConfirmMode = "auto",
    read_only: bool = False,
    policy: Policy | None = None,
    store: Store | None = None,
    page: PageDoor | None = None,
    command: str = "",
    **client: Any,
) -> AsyncGenerator[Client]:
    """As `client_over`, for a client with a person or other options. `client` goes to the SDK's client."""
    server_options = {"policy": policy, "store": store, "page": page, "command": command}
    async with (
        mcp_server(sandbox, confirm=confirm, read_only=read_only, **server_options) as server,
        Client(server, mode=mode, **client) as connected,
    ):
        yield connected


def writes_that_arrived(sandbox: Sandbox) -> list[ExecutedCall]:
    """The writes that the sandbox executed, by its own record."""
    return [call for call in sandbox.calls if call.action == "AddCustomAudienceUser"]


def text_of(result: types.CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, types.TextContent)
    return block.text


class Person:
    """An elicitation callback that always gives the same answer and remembers what it was asked."""

    def __init__(self, action: str = "accept", content: Mapping[str, Any] | None = None) -> None:
        self.asked: list[str] = []
        self._result = types.ElicitResult(action=action, content=dict(content) if content is not None else None)

    def __repr__(self) -> str:
        return f"{self._result.action} {self._result.content}"

    async def __call__(self, context: object, params: types.ElicitRequestFormParams) -> types.ElicitResult:
        self.asked.append(params.message)
        return self._result


def yes() -> Person:
    return Person("accept", {"confirm": True})


@contextmanager
def serving(app: Callable[..., Any], **options: Any) -> Generator[str]:
    """Serve an ASGI application on loopback in a thread of its own; gives its URL without a path."""
    # The protocol is named so that asyncio switches Nagle's delay off: without it each answer takes 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(100)
    config = uvicorn.Config(
        app, log_config=None, date_header=False, h11_max_incomplete_event_size=16 * 1024 * 1024, **options
    )
    server = uvicorn.Server(config)
    started = threading.Event()
    startup = server.startup

    async def notice(*args: Any, **keywords: Any) -> None:
        await startup(*args, **keywords)
        started.set()

    server.startup = notice
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
