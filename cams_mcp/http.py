"""Serve over Streamable HTTP at `/mcp`."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from typing import Any

import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import ASGIApp

from cams_mcp.endpoint import is_loopback
from cams_mcp.errors import ConfigurationError

MCP_PATH = "/mcp"
GRACE_SECONDS = 5
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def http_app(server: Server[Any], host: str = "127.0.0.1") -> ASGIApp:
    """The ASGI application. Foreign Host and Origin headers are refused (DNS rebinding).

    The SDK does that by itself only for some spellings of loopback, and not for the default port of http.
    """
    # At DEBUG the SDK logs the messages it cannot read, addresses and all.
    sdk = logging.getLogger("mcp")
    sdk.setLevel(max(logging.WARNING, sdk.getEffectiveLevel()))
    own = f"[{host}]" if ":" in host and not host.startswith("[") else host
    hosts = [*_LOOPBACK, own]
    hosts += [f"{name}:*" for name in hosts]
    settings = TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=[f"http://{name}" for name in hosts])
    return server.streamable_http_app(streamable_http_path=MCP_PATH, host=host, transport_security=settings)


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
        # From here on nobody else gets the port, and connections wait for the server.
        listener.listen()
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"Cannot listen on {host}:{port}: {error.strerror}.", hint="Choose another --port, or 0 for a free one."
        ) from None
    return listener


async def serve_http(app: ASGIApp, listener: socket.socket, *, ready: str, **options: Any) -> None:
    """Serve `app` on a bound socket until SIGINT or SIGTERM; running requests get a few seconds to end.

    Says `ready` on standard error once connections and signals are taken. `options` go to `uvicorn.Config`.
    """
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=GRACE_SECONDS, **options
    )
    server = uvicorn.Server(config)
    # uvicorn takes signals only while it serves, and raises them again once it has stopped. A signal that comes before
    # must stop it too, and one that is raised again must do nothing more.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)
    print(ready, file=sys.stderr, flush=True)  # noqa: T201 - for whoever started it
    await server.serve(sockets=[listener])
