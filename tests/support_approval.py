"""Waiting writes in tests: a page in front of nobody, the view of a card, and a look at what waits."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import mcp_types as types
from mcp import Client
from mcp.client import advertise
from support import TARGET, mcp_server, people
from support_uploads import Way

from cams_mcp.approval.card import DECIDE, EXTENSION, MIME_TYPE, SHOW, URI, proof
from cams_mcp.approval.view import state_of
from cams_mcp.guard.policy import Policy
from cams_mcp.sandbox import Sandbox
from cams_mcp.store import BaseStore, Pending
from cams_mcp.threads import in_thread

WRITE = "add_custom_audience_user"
LIST = TARGET | {"users": people(120)}
SAME_PEOPLE = TARGET | {"users": people(120)[::-1]}
OTHERS = [TARGET | {"users": people(120, start=1000 * number)} for number in range(1, 9)]
"""Lists that have nobody in common with `LIST` or with each other."""

CARDS: dict[str, Any] = {"extensions": [advertise(EXTENSION, {"mimeTypes": [MIME_TYPE]})]}
"""Options of a client that shows cards."""

AT_ONCE = Policy(wait_seconds=0)
"""Calls return instead of waiting for the page."""


class FakePage:
    """An approval page that opens or not. What the person then does is up to the test.

    Args:
        opens: whether a browser starts.
        then: what the person does as soon as the page is there.
    """

    def __init__(self, *, opens: bool = True, then: Callable[[], Awaitable[Any]] | None = None) -> None:
        self.shown = 0
        self.opened = anyio.Event()
        self._opens = opens
        self._then = then

    async def show(self) -> bool:
        self.shown += 1
        if self._then is not None:
            await self._then()
        self.opened.set()
        return self._opens


@asynccontextmanager
async def connected(
    sandbox: Sandbox, *, mode: str = "auto", client: dict[str, Any] | None = None, **server: Any
) -> AsyncGenerator[Client]:
    """The SDK's client, with these options, connected in memory to a server over `sandbox`."""
    async with mcp_server(sandbox, **server) as running, Client(running, mode=mode, **(client or {})) as connection:
        yield connection


def unreachable(sandbox: Sandbox) -> Way:
    """The way to a sandbox that no write reaches."""

    async def between(number: int, size: int, send: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        raise httpx.ConnectError("no route")

    return Way(sandbox, between)


async def decide(store: BaseStore, *, approve: bool = True, approval_id: str | None = None) -> Pending | None:
    """Decide what waits, as `cams-mcp approve` in another process does."""
    wanted = approval_id or only(store).id
    return await in_thread(lambda: store.decide(wanted, approve=approve, channel="approve", by="ada@laptop"))


def only(store: BaseStore) -> Pending:
    """The only write that waits or was decided."""
    (pending,) = store.pending()
    return pending


async def seen(store: BaseStore, *states: str) -> Pending:
    """Wait until the only write is in one of these states."""
    with anyio.fail_after(10):
        while state_of(pending := (await in_thread(store.pending))[0]) not in states:  # noqa: ASYNC110 - another process
            await anyio.sleep(0.002)
    return pending


def bytes_in(directory: Path) -> bytes:
    """All that is stored."""
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def events(store: BaseStore) -> list[str]:
    return [entry["event"] for entry in store.audit()]


async def key_of(client: Client) -> str:
    """The key in the HTML of the client's cards, which only the card itself can see."""
    (content,) = (await client.read_resource(URI)).contents
    assert isinstance(content, types.TextResourceContents)
    found = re.search(r'"key": "([0-9a-f]{64})"', content.text)
    assert found is not None
    return found[1]


class Card:
    """The view of a card in a client, as far as it talks to the server."""

    def __init__(self, client: Client, key: str) -> None:
        self.client = client
        self.key = key

    async def show(self, approval_id: str = "", language: str = "en") -> types.CallToolResult:
        given = {"approval_id": approval_id} if approval_id else {}
        given |= {"proof": proof(self.key, "show", approval_id), "language": language}
        return await self.client.call_tool(SHOW, given)

    async def decide(self, approval_id: str, decision: str = "approve") -> types.CallToolResult:
        shown = proof(self.key, "decide", approval_id, decision)
        return await self.client.call_tool(
            DECIDE, {"approval_id": approval_id, "decision": decision, "proof": shown, "language": "en"}
        )
