"""An MCP client that writes its own JSON-RPC, so that it can misbehave in ways the SDK's client cannot."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Self

import anyio
import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.shared.memory import MessageStream, create_client_server_memory_streams
from mcp.shared.message import SessionMessage

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
INFO = {"name": "raw", "version": "0"}


class RawClient:
    """One connection. `capabilities` are declared as they are, in the handshake or in every request."""

    def __init__(self, streams: MessageStream, version: str, capabilities: dict[str, Any]) -> None:
        self._read, self._write = streams
        self._version = version
        self._capabilities = capabilities
        self._last_id = 0

    async def send(self, message: dict[str, Any]) -> None:
        parsed = types.jsonrpc_message_adapter.validate_python({"jsonrpc": "2.0"} | message, by_name=False)
        await self._write.send(SessionMessage(parsed))

    async def receive(self) -> dict[str, Any]:
        """The next message from the server."""
        with anyio.fail_after(10):
            message = await self._read.receive()
        assert isinstance(message, SessionMessage)
        return message.message.model_dump(by_alias=True, exclude_unset=True, mode="json")

    async def request(self, method: str, params: dict[str, Any]) -> int:
        """Send a request and do not wait for its answer."""
        self._last_id += 1
        if self._version == MODERN:
            params |= {
                "_meta": {
                    types.PROTOCOL_VERSION_META_KEY: MODERN,
                    types.CLIENT_INFO_META_KEY: INFO,
                    types.CLIENT_CAPABILITIES_META_KEY: self._capabilities,
                }
            }
        await self.send({"id": self._last_id, "method": method, "params": params})
        return self._last_id

    async def call(self, tool: str, arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Call a tool; gives the next message, which is the answer or what the server wants first."""
        await self.request("tools/call", {"name": tool, "arguments": arguments} | more)
        return await self.receive()

    async def answer(self, asked: dict[str, Any], result: Any) -> None:
        """Answer a request of the server."""
        await self.send({"id": asked["id"], "result": result})

    async def shake_hands(self) -> Self:
        if self._version != MODERN:
            params = {"protocolVersion": self._version, "capabilities": self._capabilities, "clientInfo": INFO}
            await self.request("initialize", params)
            await self.receive()
            await self.send({"method": "notifications/initialized"})
        return self

    async def hang_up(self) -> None:
        await self._write.aclose()


@asynccontextmanager
async def raw_client(server: Server[Any], version: str, capabilities: dict[str, Any]) -> AsyncGenerator[RawClient]:
    """Connect in memory."""
    async with create_client_server_memory_streams() as (ours, theirs), anyio.create_task_group() as group:
        group.start_soon(server.run, *theirs, server.create_initialization_options())
        client = RawClient(ours, version, capabilities)
        yield await client.shake_hands()
        await client.hang_up()
