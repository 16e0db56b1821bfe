"""Parse the JSON-RPC message of an HTTP request once, for all inner middleware, and reject invalid messages."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import mcp_types as types
from mcp.server.transport_security import RequestBodyLimitMiddleware
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cams_mcp.server.messages import Unreadable, read_message, require_version
from cams_mcp.settings import MCP_PATH

SUMMARY_KEY = "cams_mcp.request"
"""Key of the `RequestSummary` in the ASGI scope, for inner middleware."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RequestSummary:
    """What a JSON-RPC request asks for. Omits its arguments, which are large and would be held in memory twice."""

    id: types.RequestId
    method: str
    name: object


class ReadMessages:
    """Rejects requests to the endpoint whose message is invalid. Runs after authentication.

    Args:
        max_body: maximum size of a request body, in bytes.
    """

    def __init__(self, app: ASGIApp, *, max_body: int) -> None:
        self._app = app
        self._bounded = RequestBodyLimitMiddleware(self._read, max_body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Not "==": a route also matches a path with a trailing newline.
        if scope["type"] != "http" or not scope["path"].startswith(MCP_PATH):
            await self._app(scope, receive, send)
        elif (rejection := _header_error(scope)) is not None:
            await rejection(scope, receive, send)
        elif scope["method"] == "POST":
            await self._bounded(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        if body is None:
            # The client disconnected before sending the whole body.
            return
        try:
            message = read_message(body)
            for version in Headers(scope=scope).getlist(MCP_PROTOCOL_VERSION_HEADER):
                require_version(version, message)
        except Unreadable as error:
            logger.info("rejected a message: %s", error)
            await _error_response(400, error.answer)(scope, receive, send)
            return
        summary = _summarize(message)
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        await self._app({**scope, SUMMARY_KEY: summary}, replay, send)


def _summarize(message: types.JSONRPCMessage) -> RequestSummary | None:
    if not isinstance(message, types.JSONRPCRequest):
        return None
    return RequestSummary(message.id, message.method, (message.params or {}).get("name"))


async def _body(receive: Receive) -> bytes | None:
    """Read the whole body. Returns None if the client disconnects first."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _header_error(scope: Scope) -> Response | None:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    # The SDK compares these headers with the body, and fails on non-ASCII values.
    if any(name.startswith(b"mcp-") and not _is_visible(value) for name, value in headers):
        text = "A header starting with Mcp- contains characters outside visible ASCII. Encode it as =?base64?...?=."
        return _error_response(400, Unreadable(types.HEADER_MISMATCH, text).answer)
    if Headers(scope=scope).get("content-encoding", "identity").lower() != "identity":
        text = "This server does not accept compressed requests. Send the body without Content-Encoding."
        return _error_response(415, Unreadable(types.INVALID_REQUEST, text).answer)
    return None


def _is_visible(value: bytes) -> bool:
    return value.isascii() and value.decode("ascii").isprintable()


def _error_response(status: int, answer: types.JSONRPCError) -> Response:
    return Response(answer.model_dump_json(exclude_unset=True), status_code=status, media_type="application/json")
