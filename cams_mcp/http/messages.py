"""The message in a request to the endpoint: read once, for all that stands behind, and refused if it cannot be read."""

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

ASKED = "cams_mcp.asked"
"""Where in the scope of an HTTP request its `Asked` is, for those that stand behind."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a JSON-RPC request asks for. Not its arguments: they are large, and would be held twice."""

    id: types.RequestId
    method: str
    name: object


class ReadMessages:
    """Lets requests to the endpoint through whose message can be read. Stands after authentication.

    Args:
        max_body: most bytes of a request.
    """

    def __init__(self, app: ASGIApp, *, max_body: int) -> None:
        self._app = app
        self._bounded = RequestBodyLimitMiddleware(self._read, max_body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Not "==": a route also matches a path that ends in a line end.
        if scope["type"] != "http" or not scope["path"].startswith(MCP_PATH):
            await self._app(scope, receive, send)
        elif (refused := _refused_by_headers(scope)) is not None:
            await refused(scope, receive, send)
        elif scope["method"] == "POST":
            await self._bounded(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        if body is None:
            # The client left in the middle. There is nobody to answer.
            return
        try:
            message = read_message(body)
            for version in Headers(scope=scope).getlist(MCP_PROTOCOL_VERSION_HEADER):
                require_version(version, message)
        except Unreadable as error:
            logger.info("a message was refused: %s", error)
            await _refusal(400, error.answer)(scope, receive, send)
            return
        asked = _asked(message)
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        await self._app({**scope, ASKED: asked}, replay, send)


def _asked(message: types.JSONRPCMessage) -> Asked | None:
    if not isinstance(message, types.JSONRPCRequest):
        return None
    return Asked(message.id, message.method, (message.params or {}).get("name"))


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None if the client left before its end."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _refused_by_headers(scope: Scope) -> Response | None:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    # The SDK compares these with the body, and fails where they are not ASCII.
    if any(name.startswith(b"mcp-") and not _is_visible(value) for name, value in headers):
        text = "A header that begins with Mcp- holds other characters than visible ASCII. Encode it as =?base64?...?=."
        return _refusal(400, Unreadable(types.HEADER_MISMATCH, text).answer)
    if Headers(scope=scope).get("content-encoding", "identity").lower() != "identity":
        text = "This server takes no compressed requests. Send the body without Content-Encoding."
        return _refusal(415, Unreadable(types.INVALID_REQUEST, text).answer)
    return None


def _is_visible(value: bytes) -> bool:
    return value.isascii() and value.decode("ascii").isprintable()


def _refusal(status: int, answer: types.JSONRPCError) -> Response:
    return Response(answer.model_dump_json(exclude_unset=True), status_code=status, media_type="application/json")
