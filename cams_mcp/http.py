"""Serve over Streamable HTTP at `/mcp`."""

from __future__ import annotations

import signal
import socket
from typing import Any

import uvicorn
from mcp.server.lowlevel import Server
from starlette.types import ASGIApp

from cams_mcp.endpoint import is_loopback
from cams_mcp.errors import ConfigurationError

MCP_PATH = "/mcp"
GRACE_SECONDS = 5


def http_app(server: Server[Any], host: str = "127.0.0.1") -> ASGIApp:
    """The ASGI application. On loopback hosts the SDK refuses foreign Host and Origin headers (DNS rebinding)."""
    return server.streamable_http_app(streamable_http_path=MCP_PATH, host=host)


def require_loopback(host: str, what: str) -> None:
    """Raise ConfigurationError unless `host` is this machine only."""
    if not is_loopback(host):
        raise ConfigurationError(
            f"{what} listens on this machine only, because it has no authentication yet.",
            hint="Use --host 127.0.0.1, and a reverse proxy with authentication for other machines.",
        )


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        ConfigurationError: the address is not free or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"Cannot listen on {host}:{port}: {error.strerror}.", hint="Choose another --port, or 0 for a free one."
        ) from None
    return listener


def _ignore(number: int, frame: object) -> None: ...


async def serve_http(app: ASGIApp, listener: socket.socket, **options: Any) -> None:
    """Serve `app` on a bound socket until SIGINT or SIGTERM; running requests get a few seconds to end.

    `options` go to `uvicorn.Config`.
    """
    # uvicorn raises the signal again once it has stopped; by then it has done its work.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ignore)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=GRACE_SECONDS, **options
    )
    await uvicorn.Server(config).serve(sockets=[listener])
