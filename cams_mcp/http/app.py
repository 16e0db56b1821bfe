"""The ASGI application: the SDK's app wrapped in our middleware."""

from __future__ import annotations

from typing import Any

from mcp.server.auth.provider import TokenVerifier
from mcp.server.auth.routes import build_resource_metadata_url, create_protected_resource_routes
from mcp.server.auth.settings import AuthSettings
from mcp.server.lowlevel import Server
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import AnyHttpUrl, TypeAdapter
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp

from cams_mcp.access import SCOPES
from cams_mcp.http.addresses import allowed_hosts, allowed_origins
from cams_mcp.http.health import Health
from cams_mcp.http.messages import ReadMessages
from cams_mcp.http.middleware import REQUEST_ID_HEADER, KnownHosts, RequestIds
from cams_mcp.http.scopes import RequireScopes, RequireToken
from cams_mcp.logs import quiet_sdk
from cams_mcp.settings import MCP_PATH, HttpSettings
from cams_mcp.tools.definitions import Catalog

_URL = TypeAdapter(AnyHttpUrl)


def http_app(
    server: Server[Any],
    settings: HttpSettings | None = None,
    *,
    verifier: TokenVerifier | None = None,
    catalog: Catalog,
    health: Health | None = None,
    resource_url: str = f"http://127.0.0.1{MCP_PATH}",
    sessions: bool = True,
) -> ASGIApp:
    """Create the ASGI application.

    Args:
        server: handles the requests that pass all checks.
        settings: hosts, origins and limits.
        verifier: verifies bearer tokens. None disables authentication.
        catalog: decides which scope a tool needs.
        health: serves the health checks.
        resource_url: the endpoint's URL as seen by clients.
        sessions: whether legacy-era clients get sessions, which live in this process only.
    """
    quiet_sdk()
    settings = settings or HttpSettings()
    # The SDK's own DNS-rebinding protection covers only some spellings of loopback, and not HTTP's default port.
    security = TransportSecuritySettings(
        allowed_hosts=allowed_hosts(settings), allowed_origins=allowed_origins(settings)
    )
    routes: list[Route] = health.routes() if health else []
    resource, metadata_url = _URL.validate_python(resource_url), None
    if settings.auth_issuer:
        metadata_url = str(build_resource_metadata_url(resource))
        routes += create_protected_resource_routes(
            resource, [_URL.validate_python(settings.auth_issuer)], scopes_supported=list(SCOPES)
        )
    app = server.streamable_http_app(
        streamable_http_path=MCP_PATH,
        host=settings.host,
        stateless_http=not sessions,
        transport_security=security,
        max_request_body_size=settings.max_body,
        max_sessions=settings.max_sessions,
        session_idle_timeout=settings.session_idle,
        # The SDK requires an issuer, but static tokens have none. Scopes are checked per request below.
        auth=AuthSettings(
            issuer_url=_URL.validate_python(settings.auth_issuer or resource_url),
            resource_server_url=None,
            validate_token_resource=False,
        )
        if verifier
        else None,
        token_verifier=verifier,
        custom_starlette_routes=routes,
    )
    # Innermost, after the SDK's authentication: a message is parsed only after its token was checked.
    read = Middleware(ReadMessages, max_body=settings.max_body)
    if verifier is None:
        app.user_middleware.append(read)
    else:
        token = Middleware(RequireToken, metadata_url=metadata_url)
        scopes = Middleware(RequireScopes, catalog=catalog, metadata_url=metadata_url)
        app.user_middleware += [token, read, scopes]
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["mcp-session-id", "mcp-protocol-version", "www-authenticate", REQUEST_ID_HEADER],
        )
    app.add_middleware(KnownHosts, settings=security)
    app.add_middleware(RequestIds)
    return app
