"""One HTTP server put together from its settings, and run until a signal comes."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import anyio

from cams_mcp.access import LOCAL
from cams_mcp.app import LazyToolbox, credentials_of, in_memory, open_toolbox, store_of
from cams_mcp.errors import ConfigurationError
from cams_mcp.http.addresses import is_hidden, url_on
from cams_mcp.http.app import http_app
from cams_mcp.http.auth import JwtVerifier, KeySet, TokenFile, current_access
from cams_mcp.http.health import Check, Health
from cams_mcp.http.limits import LimitedTools
from cams_mcp.http.shutdown import Draining
from cams_mcp.http.sockets import bind, serve_http
from cams_mcp.http.workers import require_fork, run_workers
from cams_mcp.logs import LogFormat, announce
from cams_mcp.server.server import create_server
from cams_mcp.settings import HttpSettings, Settings
from cams_mcp.store import SQLITE
from cams_mcp.threads import in_thread
from cams_mcp.tools.definitions import load_catalog
from cams_mcp.tools.result import Tools

HIDDEN = "The server only answers requests to loopback. Add other host names with --allowed-host."


async def run_http(
    settings: Settings, http: HttpSettings, log_format: LogFormat, listener: socket.socket | None = None
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        listener: a bound socket, if others have it too; they have told whoever started the program.

    Raises:
        ConfigurationError: the token file cannot be used, or the address is not free.
    """
    verifier = _verifier(http)
    if is_hidden(http) and listener is None:
        announce(HIDDEN, log_format)
    catalog = load_catalog(read_only=settings.read_only, uploads=bool(settings.upload_dirs))
    store = store_of(settings)
    checks: dict[str, Check] = {"credentials": credentials_of(settings)}
    if catalog.writing:
        checks["store"] = partial(in_thread, partial(store.digest, "ready"))
    if isinstance(verifier, JwtVerifier):
        checks["keys"] = verifier.check
    try:
        async with LazyToolbox(partial(open_toolbox, settings)) as toolbox:
            tools: Tools = toolbox
            if verifier is not None:
                # Without authentication all callers are one, and there is nothing to share out.
                tools = LimitedTools(toolbox, at_once=http.calls_at_once, per_minute=http.calls_per_minute)
            work = Draining(tools, catalog.writing)
            ready = listener is None
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
            said = f"Listening on {url}" if ready else None
            await serve_http(app, listener, ready=said, log_format=log_format, work=work, grace=http.grace)
    finally:
        store.close()


def run_http_workers(settings: Settings, http: HttpSettings, log_format: LogFormat, prepare: Callable[[], None]) -> int:
    """Serve with several processes until SIGINT or SIGTERM; gives the exit status.

    Args:
        prepare: called first in each of them; it may start threads.

    Raises:
        ConfigurationError: as `run_http`, or the workers could not share a store or the limit on requests.
    """
    require_fork()
    if in_memory(settings):
        raise ConfigurationError(
            "--workers requires a store that all workers share. With --sandbox the store is in memory.",
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
    # The limits on calls to CAMS are those of all workers together.
    share = replace(
        settings,
        cams_at_once=settings.cams_at_once // http.workers,
        cams_per_second=settings.cams_per_second / http.workers if settings.cams_per_second else None,
    )

    def serve() -> None:
        prepare()
        anyio.run(run_http, share, http, log_format, listener)

    def ready() -> None:
        if is_hidden(http):
            announce(HIDDEN, log_format)
        announce(f"Listening on {url_on(http, listener.getsockname()[1])}", log_format)

    return run_workers(http.workers, serve, ready)


def _keeps_sessions(settings: Settings, http: HttpSettings) -> bool:
    """Whether legacy clients get sessions: not where their next request may come to another process."""
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
