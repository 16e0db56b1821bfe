"""The outermost middleware: request ids for logs and responses, and Host and Origin checks."""

from __future__ import annotations

import logging
import re
import time
from uuid import uuid4

from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cams_mcp.logs import request_id
from cams_mcp.redaction import identifier
from cams_mcp.settings import MCP_PATH

REQUEST_ID_HEADER = "x-request-id"

_VALID_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
logger = logging.getLogger(__name__)


class RequestIds:
    """Uses the request's `X-Request-Id` or generates an id. Logs each endpoint request when its response starts."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        current_id = given if _VALID_ID.fullmatch(given) and identifier(given) else uuid4().hex
        request_id.set(current_id)
        started = time.monotonic()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = current_id
                if scope["path"] == MCP_PATH:
                    elapsed = (time.monotonic() - started) * 1000
                    method = scope["method"] if scope["method"] in _METHODS else "(unknown method)"
                    logger.info(
                        "%s %s: HTTP %d, first byte after %.0f ms", method, MCP_PATH, message["status"], elapsed
                    )
            await send(message)

        await self._app(scope, receive, send_with_id)


class KnownHosts:
    """Rejects requests to the endpoint with an unknown Host or Origin (DNS rebinding, cross-site requests).

    The SDK checks both too, but only after authentication. Health checks accept any Host.
    """

    def __init__(self, app: ASGIApp, settings: TransportSecuritySettings) -> None:
        self._app = app
        self._security = TransportSecurityMiddleware(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(MCP_PATH):
            rejection = await self._security.validate_request(Request(scope))
            if rejection is not None:
                await rejection(scope, receive, send)
                return
        await self._app(scope, receive, send)
