"""The Streamable HTTP transport at `/mcp`: authentication, scopes, host checks, limits and health checks."""

from cams_mcp.http.app import http_app
from cams_mcp.http.health import Health
from cams_mcp.http.serve import run_http, run_http_workers
from cams_mcp.http.settings import MCP_PATH, HttpSettings
from cams_mcp.http.shutdown import Draining
from cams_mcp.http.sockets import bind, require_loopback, serve_http

__all__ = [
    "MCP_PATH",
    "Draining",
    "Health",
    "HttpSettings",
    "bind",
    "http_app",
    "require_loopback",
    "run_http",
    "run_http_workers",
    "serve_http",
]
