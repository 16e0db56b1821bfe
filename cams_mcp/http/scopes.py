"""Refuse what a caller may not do as HTTP says it: 401 and 403 with `WWW-Authenticate` (RFC 6750, RFC 9728).

The server itself refuses too, whatever stands before it (`cams_mcp.server`). Here a client learns it in the way that
lets it ask its user for more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, cast

import mcp_types as types
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.transport_security import RequestBodyLimitMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cams_mcp.access import READ_SCOPE, SCOPES, WRITE_SCOPE, Access
from cams_mcp.auth import access_of
from cams_mcp.http.settings import MCP_PATH
from cams_mcp.server import OPEN_METHODS


class RequireScopes:
    """Lets requests to the endpoint through that their bearer token allows. Stands after authentication.

    Args:
        writing: the names of the tools that write.
        metadata_url: where the protected resource metadata is, if it is anywhere.
        max_body: bytes of a request that are read to see what it asks for.
    """

    def __init__(self, app: ASGIApp, *, writing: frozenset[str], metadata_url: str | None, max_body: int) -> None:
        self._app = app
        self._writing = writing
        self._metadata_url = metadata_url
        self._looked_into = RequestBodyLimitMiddleware(self._look_into, max_body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Not "==": a route also matches a path that ends in a line end.
        if scope["type"] != "http" or not scope["path"].startswith(MCP_PATH):
            await self._app(scope, receive, send)
            return
        user = scope.get("user")
        if not isinstance(user, AuthenticatedUser):
            refusal = self._refusal(
                401, "invalid_token", "A bearer token is required; this one is missing or not good."
            )
            await refusal(scope, receive, send)
        elif scope["method"] != "POST" or access_of(user.access_token).may_write:
            await self._app(scope, receive, send)
        else:
            await self._looked_into(scope, receive, send)

    async def _look_into(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).body()
        missing, number = _missing(body, access_of(scope["user"].access_token), self._writing)
        if missing is not None:
            needed = f"{READ_SCOPE} {WRITE_SCOPE}" if missing == WRITE_SCOPE else READ_SCOPE
            text = f"this needs the scope {missing}, which the access token does not have. Nothing was sent."
            await self._refusal(403, "insufficient_scope", text, needed, number)(scope, receive, send)
            return
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        await self._app(scope, replay, send)

    def _refusal(
        self, status: int, error: str, description: str, scope: str = " ".join(SCOPES), number: Any = None
    ) -> Response:
        parts = {"error": error, "error_description": description, "scope": scope}
        if self._metadata_url:
            parts["resource_metadata"] = self._metadata_url
        challenge = "Bearer " + ", ".join(f'{name}="{value}"' for name, value in parts.items())
        # In the form of an answer, so that a client shows its words.
        said = {"code": types.INVALID_REQUEST, "message": f"{error}: {description}", "data": {"scope": scope}}
        content = {"jsonrpc": "2.0", "id": number, "error": said}
        return JSONResponse(content, status_code=status, headers={"www-authenticate": challenge})


def _missing(body: bytes, access: Access, writing: frozenset[str]) -> tuple[str | None, Any]:
    """The scope that is missing for what `body` asks, and its JSON-RPC id. What cannot be read is left to the SDK."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        return None, None
    for message in _messages(given):
        method = message.get("method")
        if not isinstance(method, str) or "id" not in message or method in OPEN_METHODS:
            continue
        if not access.may_read:
            return READ_SCOPE, message["id"]
        parameters = message.get("params")
        name = cast("dict[str, Any]", parameters).get("name") if isinstance(parameters, dict) else None
        if method == "tools/call" and isinstance(name, str) and name in writing:
            return WRITE_SCOPE, message["id"]
    return None, None


def _messages(given: object) -> Iterable[dict[str, Any]]:
    several = cast("list[Any]", given) if isinstance(given, list) else [given]
    return [cast("dict[str, Any]", message) for message in several if isinstance(message, dict)]
