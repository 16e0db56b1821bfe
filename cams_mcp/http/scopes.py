"""Refuse what a caller may not do as HTTP says it: 401 and 403 with `WWW-Authenticate` (RFC 6750, RFC 9728).

The MCP server checks scopes too (`server/server.py`), whatever transport it has. This answer lets a client ask its user
for more.
"""

from __future__ import annotations

from typing import Any

import mcp_types as types
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cams_mcp.access import READ_SCOPE, SCOPES, WRITE_SCOPE, Access
from cams_mcp.http.auth import access_of
from cams_mcp.http.messages import ASKED, Asked
from cams_mcp.server.server import OPEN_METHODS
from cams_mcp.settings import MCP_PATH
from cams_mcp.tools.definitions import Catalog


class RequireToken:
    """Lets requests to the endpoint through that have one good bearer token. Stands after authentication.

    Args:
        metadata_url: where the protected resource metadata is, if it is anywhere.
    """

    def __init__(self, app: ASGIApp, *, metadata_url: str | None) -> None:
        self._app = app
        self._metadata_url = metadata_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Not "==": a route also matches a path that ends in a line end.
        if scope["type"] != "http" or not scope["path"].startswith(MCP_PATH):
            await self._app(scope, receive, send)
            return
        # Of several tokens a proxy may look at another than this server does.
        several = sum(name == b"authorization" for name, _ in scope["headers"]) > 1
        if several or not isinstance(scope.get("user"), AuthenticatedUser):
            text = "A bearer token is required; this one is missing or not good."
            refusal = _refusal(401, "invalid_token", text, SCOPES, self._metadata_url)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


class RequireScopes:
    """Lets messages through that their bearer token allows. Stands after `RequireToken` and `ReadMessages`.

    Args:
        catalog: decides which scope a tool needs.
        metadata_url: where the protected resource metadata is, if it is anywhere.
    """

    def __init__(self, app: ASGIApp, *, catalog: Catalog, metadata_url: str | None) -> None:
        self._app = app
        self._catalog = catalog
        self._metadata_url = metadata_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = scope.get(ASKED)
        if isinstance(asked, Asked):
            missing = _missing(asked, access_of(scope["user"].access_token), self._catalog)
            if missing is not None:
                needed = (READ_SCOPE, WRITE_SCOPE) if missing == WRITE_SCOPE else (READ_SCOPE,)
                text = f"this needs the scope {missing}, which the access token does not have. Nothing was sent."
                refusal = _refusal(403, "insufficient_scope", text, needed, self._metadata_url, asked.id)
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _refusal(
    status: int,
    error: str,
    description: str,
    scopes: tuple[str, ...],
    metadata_url: str | None,
    number: types.RequestId | None = None,
) -> Response:
    scope = " ".join(scopes)
    parts = {"error": error, "error_description": description, "scope": scope}
    if metadata_url:
        parts["resource_metadata"] = metadata_url
    challenge = "Bearer " + ", ".join(f'{name}="{value}"' for name, value in parts.items())
    # In the form of an answer, so that a client shows its words.
    said = {"code": types.INVALID_REQUEST, "message": f"{error}: {description}", "data": {"scope": scope}}
    content: dict[str, Any] = {"jsonrpc": "2.0", "id": number, "error": said}
    return JSONResponse(content, status_code=status, headers={"www-authenticate": challenge})


def _missing(asked: Asked, access: Access, catalog: Catalog) -> str | None:
    """The scope that is missing for what is asked."""
    if asked.method in OPEN_METHODS:
        return None
    return catalog.missing_scope(asked.name if asked.method == "tools/call" else None, access)
