"""Two ways to reach the sandbox: an in-process httpx transport, and an ASGI application for a real server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio
import httpx

from cams_mcp.sandbox.gateway import WireRequest
from cams_mcp.sandbox.service import Sandbox

Message = MutableMapping[str, Any]
ASGIApp = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


class SandboxTransport(httpx.AsyncBaseTransport):
    """Passes httpx's requests to a sandbox in the same process, without opening a port."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        wire = WireRequest(
            request.method, request.url.path, request.url.query.decode("ascii"), headers, await request.aread()
        )
        reply = self._sandbox.handle(wire)
        timeout = request.extensions.get("timeout", {}).get("read")
        if timeout is not None and reply.delay > timeout:
            await anyio.sleep(timeout)
            raise httpx.ReadTimeout("the sandbox injected latency", request=request)
        await anyio.sleep(reply.delay)
        if reply.broken:
            raise httpx.ReadError("the sandbox injected a broken connection", request=request)
        return httpx.Response(reply.status, headers=dict(reply.headers), content=reply.body)


def sandbox_app(sandbox: Sandbox) -> ASGIApp:
    """The sandbox as an ASGI application."""

    async def app(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            return
        body = bytearray()
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope["query_string"].decode("ascii")
        reply = sandbox.handle(WireRequest(scope["method"], scope["path"], query, headers, bytes(body)))
        await anyio.sleep(reply.delay)
        pairs = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
        # An ASGI application makes the server break the connection by ending the body early.
        length = len(reply.body) + (1 if reply.broken else 0)
        pairs.append((b"content-length", str(length).encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": pairs})
        await send(
            {"type": "http.response.body", "body": b"" if reply.broken else reply.body, "more_body": reply.broken}
        )

    return app
