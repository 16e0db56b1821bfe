"""Reject unauthorized requests with HTTP 401 or 403 and `WWW-Authenticate` (RFC 6750, RFC 9728).

The MCP server (`server/server.py`) checks scopes too, on every transport. The HTTP response lets a client ask its user
to grant more.
"""

from __future__ import annotations

from typing import Any

import mcp_types as types
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cams_mcp.access import READ_SCOPE, SCOPES, WRITE_SCOPE, Access
from cams_mcp.http.auth import access_of
from cams_mcp.http.messages import SUMMARY_KEY, RequestSummary
from cams_mcp.server.server import OPEN_METHODS
from cams_mcp.settings import MCP_PATH
from cams_mcp.tools.definitions import Catalog


class RequireToken:
    """Rejects requests to the endpoint that do not have exactly one valid bearer token. Runs after authentication.

    Args:
        metadata_url: URL of the protected resource metadata, if published.
    """

    def __init__(self, app: ASGIApp, *, metadata_url: str | None) -> None:
        self._app = app
        self._metadata_url = metadata_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Not "==": a route also matches a path with a trailing newline.
        if scope["type"] != "http" or not scope["path"].startswith(MCP_PATH):
            await self._app(scope, receive, send)
            return
        # With several Authorization headers, a proxy could check a different token than this server.
        several = sum(name == b"authorization" for name, _ in scope["headers"]) > 1
        if several or not isinstance(scope.get("user"), AuthenticatedUser):
            text = "The bearer token is missing or invalid."
            response = _error_response(401, "invalid_token", text, SCOPES, self._metadata_url)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)


class RequireScopes:
    """Rejects messages that the bearer token's scopes do not allow. Runs after `RequireToken` and `ReadMessages`.

    Args:
        catalog: decides which scope a tool needs.
        metadata_url: URL of the protected resource metadata, if published.
    """

    def __init__(self, app: ASGIApp, *, catalog: Catalog, metadata_url: str | None) -> None:
        self._app = app
        self._catalog = catalog
        self._metadata_url = metadata_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = scope.get(SUMMARY_KEY)
        if isinstance(request, RequestSummary):
            missing = _missing(request, access_of(scope["user"].access_token), self._catalog)
            if missing is not None:
                needed = (READ_SCOPE, WRITE_SCOPE) if missing == WRITE_SCOPE else (READ_SCOPE,)
                text = f"this requires the scope {missing}, which the access token does not have. Nothing was sent."
                response = _error_response(403, "insufficient_scope", text, needed, self._metadata_url, request.id)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _error_response(
    status: int,
    error: str,
    description: str,
    scopes: tuple[str, ...],
    metadata_url: str | None,
    request_id: types.RequestId | None = None,
) -> Response:
    scope = " ".join(scopes)
    parts = {"error": error, "error_description": description, "scope": scope}
    if metadata_url:
        parts["resource_metadata"] = metadata_url
    challenge = "Bearer " + ", ".join(f'{name}="{value}"' for name, value in parts.items())
    # A JSON-RPC error body, so that clients display the message.
    rpc_error = {"code": types.INVALID_REQUEST, "message": f"{error}: {description}", "data": {"scope": scope}}
    content: dict[str, Any] = {"jsonrpc": "2.0", "id": request_id, "error": rpc_error}
    return JSONResponse(content, status_code=status, headers={"www-authenticate": challenge})


def _missing(request: RequestSummary, access: Access, catalog: Catalog) -> str | None:
    """Return the scope that the request requires and the caller lacks, or None."""
    if request.method in OPEN_METHODS:
        return None
    return catalog.missing_scope(request.name if request.method == "tools/call" else None, access)
