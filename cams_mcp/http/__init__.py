"""The Streamable HTTP transport at `/mcp`: authentication, scopes, host checks, limits and health checks."""

from cams_mcp.http.app import http_app
from cams_mcp.http.health import Health
from cams_mcp.http.serve import run_http, run_http_workers
from cams_mcp.http.shutdown import Draining
from cams_mcp.http.sockets import bind, serve_http

__all__ = [
    "Draining",
    "Health",
    "bind",
    "http_app",
    "run_http",
    "run_http_workers",
    "serve_http",
]
