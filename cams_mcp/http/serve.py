"""Assemble an HTTP server from its settings and run it until a signal arrives."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial

import anyio

from cams_mcp.access import LOCAL
from cams_mcp.app import catalog_of, credentials_of, in_memory, open_toolbox, store_of
from cams_mcp.errors import ConfigurationError
from cams_mcp.http.addresses import is_hidden, url_on
from cams_mcp.http.app import http_app
from cams_mcp.http.auth import JwtVerifier, KeySet, TokenFile, current_access
from cams_mcp.http.health import Health, HealthCheck
from cams_mcp.http.limits import LimitedTools
from cams_mcp.http.shutdown import Draining
from cams_mcp.http.sockets import bind, serve_http
from cams_mcp.http.workers import require_fork, run_workers
from cams_mcp.lazy_toolbox import LazyToolbox
from cams_mcp.logs import LogFormat, announce
from cams_mcp.server.server import create_server
from cams_mcp.settings import HttpSettings, Settings
from cams_mcp.store import SQLITE
from cams_mcp.threads import in_thread
from cams_mcp.tools.result import Tools

HIDDEN = "The server accepts only requests addressed to loopback. Add other host names with --allowed-host."


async def run_http(
    settings: Settings, http: HttpSettings, log_format: LogFormat, listener: socket.socket | None = None
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        listener: a bound socket shared with other workers. If given, the parent process announces the server.

    Raises:
        ConfigurationError: the token file is unusable, or the address is already in use.
    """
    verifier = _verifier(http)
    if is_hidden(http) and listener is None:
        announce(HIDDEN, log_format)
    catalog = catalog_of(settings)
    store = store_of(settings)
    checks: dict[str, HealthCheck] = {"credentials": credentials_of(settings)}
    if catalog.writing:
        checks["store"] = partial(in_thread, partial(store.digest, "ready"))
    if isinstance(verifier, JwtVerifier):
        checks["keys"] = verifier.check
    try:
        async with LazyToolbox(partial(open_toolbox, settings, local=False)) as toolbox:
            tools: Tools = toolbox
            if verifier is not None:
                # Without authentication every caller has the same principal, so per-principal limits make no sense.
                tools = LimitedTools(toolbox, at_once=http.calls_at_once, per_minute=http.calls_per_minute)
            work = Draining(tools, catalog.writing)
            announces = listener is None
            listener = listener or bind(http.host, http.port)
            url = url_on(http, listener.getsockname()[1])
            app = http_app(
                create_server(catalog, work, current_access if verifier else lambda: LOCAL),
                http,
                verifier=verifier,
                catalog=catalog,
                health=Health(checks, is_stopping=lambda: work.is_stopping),
                resource_url=http.public_url or url,
                sessions=_keeps_sessions(settings, http),
            )
            announcement = f"Listening on {url}" if announces else None
            await serve_http(app, listener, ready=announcement, log_format=log_format, work=work, grace=http.grace)
    finally:
        store.close()


def run_http_workers(
    settings: Settings, http: HttpSettings, log_format: LogFormat, around: Callable[[], AbstractContextManager[None]]
) -> int:
    """Serve with several worker processes until SIGINT or SIGTERM, and return the exit status.

    Args:
        around: entered first in each worker, and left last. It may start threads.

    Raises:
        ConfigurationError: as for `run_http`, or the workers could not share one store or the request limit.
    """
    require_fork()
    if in_memory(settings):
        raise ConfigurationError(
            "With --workers, all workers must share one store, but the embedded sandbox keeps its store in memory.",
            hint="Add --state-dir or --store.",
        )
    if settings.cams_at_once < http.workers:
        raise ConfigurationError(
            "--cams-at-once must be at least the number of workers: the limit is divided among them.",
            hint=f"Use --cams-at-once {http.workers} or more, or fewer workers.",
        )
    _verifier(http)
    store_of(settings).close()
    listener = bind(http.host, http.port)
    # The limits on requests to CAMS apply to all workers combined, so each gets its share.
    share = replace(
        settings,
        cams_at_once=settings.cams_at_once // http.workers,
        cams_per_second=settings.cams_per_second / http.workers if settings.cams_per_second else None,
    )

    def serve() -> None:
        with around():
            anyio.run(run_http, share, http, log_format, listener)

    def ready() -> None:
        if is_hidden(http):
            announce(HIDDEN, log_format)
        announce(f"Listening on {url_on(http, listener.getsockname()[1])}", log_format)

    return run_workers(http.workers, serve, ready)


def _keeps_sessions(settings: Settings, http: HttpSettings) -> bool:
    """Whether legacy clients get sessions. By default not if another process might receive their next request."""
    if http.legacy_sessions == "auto":
        return http.workers == 1 and settings.store == SQLITE
    return http.legacy_sessions == "on"


def _verifier(http: HttpSettings) -> JwtVerifier | TokenFile | None:
    """What checks bearer tokens.

    Raises:
        ConfigurationError: the token file cannot be used.
    """
    if http.auth_token_file:
        return TokenFile(http.auth_token_file)
    if http.auth_issuer and http.auth_audience and http.auth_jwks_url:
        return JwtVerifier(KeySet(http.auth_jwks_url), issuer=http.auth_issuer, audience=http.auth_audience)
    return None
