"""The file tools over a sandbox, files of made-up people, and ways to CAMS that fail in between."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
from mcp import Client
from support import TARGET, mcp_server, no_sleep, writes_that_arrived

from cams_mcp.access import LOCAL, Access
from cams_mcp.confirmation import ConfirmMode
from cams_mcp.guard.policy import Policy
from cams_mcp.sandbox import Sandbox, SandboxTransport
from cams_mcp.store import Store
from cams_mcp.upload.runner import Limits

CHECK, UPLOAD = "check_audience_file", "upload_audience_file"
FILE = TARGET | {"path": "people.csv"}


def email(number: int) -> str:
    return f"customer{number:06}@example.com"


def write_people(path: Path, number: int) -> set[tuple[str | None, str | None]]:
    """A CSV file of so many people; gives them as the sandbox will have them."""
    path.write_text("".join(["email\n", *(f"{email(index)}\n" for index in range(number))]), encoding="utf-8")
    return {(email(index), None) for index in range(number)}


def batches_of(sandbox: Sandbox) -> list[tuple[int, bool, int]]:
    """(people, whether it is said to be the last batch, the total said) of every batch that was executed."""
    return [
        (
            len(json.loads(call.parameters["Users"])),
            call.parameters["BatchLastFlag"] == "true",
            int(call.parameters["EstimatedNumTotal"]),
        )
        for call in writes_that_arrived(sandbox)
    ]


class Way(SandboxTransport):
    """The way to the sandbox, with something in between for each batch.

    Args:
        between: given the number of the batch (from 1), its size in bytes and what sends it on, gives the answer.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        between: Callable[[int, int, Callable[[], Awaitable[httpx.Response]]], Awaitable[httpx.Response]],
    ) -> None:
        super().__init__(sandbox)
        self._between = between
        self.batches = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.headers["x-acs-action"] != "AddCustomAudienceUser":
            return await super().handle_async_request(request)
        self.batches += 1
        send = super().handle_async_request
        return await self._between(self.batches, len(await request.aread()), lambda: send(request))


def breaking(sandbox: Sandbox, *numbers: int, applied: bool = True) -> Way:
    """Breaks the connection at these batches, after they were applied or instead."""

    async def between(number: int, size: int, send: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        if number not in numbers:
            return await send()
        if applied:
            await send()
        raise httpx.ReadError("broken on request")

    return Way(sandbox, between)


def hanging(sandbox: Sandbox, at: int, reached: anyio.Event, *, applied: bool) -> Way:
    """Never answers this batch."""

    async def between(number: int, size: int, send: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        if number != at or applied:
            response = await send()
        if number == at:
            reached.set()
            await anyio.sleep_forever()
        return response

    return Way(sandbox, between)


@asynccontextmanager
async def upload_client(
    sandbox: Sandbox,
    folder: Path,
    *,
    mode: str = "auto",
    confirm: ConfirmMode = "auto",
    policy: Policy | None = None,
    store: Store | None = None,
    users: int = 100,
    encoded_bytes: int = 1_000_000,
    transport: httpx.AsyncBaseTransport | None = None,
    sleep: Callable[[float], Awaitable[None]] = no_sleep,
    access: Access = LOCAL,
    read_only: bool = False,
    **client: Any,
) -> AsyncGenerator[Client]:
    """The SDK's client, connected in memory to a server whose upload folder is `folder`."""
    server = mcp_server(
        sandbox,
        confirm=confirm,
        policy=policy,
        store=store,
        folder=folder,
        limits=Limits(users=users, encoded_bytes=encoded_bytes),
        pause=sleep,
        access=lambda: access,
        read_only=read_only,
        **({"transport": transport} if transport else {}),
    )
    async with server as running, Client(running, mode=mode, **client) as connected:
        yield connected
