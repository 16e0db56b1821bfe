"""One HTTP server put together from its settings, and run until a signal comes."""

from __future__ import annotations

from functools import partial

import anyio.to_thread

from cams_mcp.access import LOCAL
from cams_mcp.auth import JwtVerifier, current_access
from cams_mcp.catalog import list_tools
from cams_mcp.fairness import FairTools
from cams_mcp.http.app import http_app
from cams_mcp.http.draining import Draining
from cams_mcp.http.health import Check, Health
from cams_mcp.http.listening import bind, serve_http
from cams_mcp.http.settings import HttpSettings
from cams_mcp.logs import LogFormat, announce
from cams_mcp.server import Tools, create_server, tools_that_write
from cams_mcp.settings import LazyToolbox, Settings


async def run_http(settings: Settings, http: HttpSettings, log_format: LogFormat = "text") -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        ConfigurationError: the token file cannot be used, or the address is not free.
    """
    verifier = http.verifier()
    if http.is_hidden:
        announce("Only requests to loopback are answered: name other hosts with --allowed-host.", log_format)
    definitions = list_tools(read_only=settings.read_only, uploads=bool(settings.upload_dirs))
    writing = tools_that_write(definitions)
    store = settings.store()
    checks: dict[str, Check] = {"credentials": settings.credentials()}
    if writing:
        checks["store"] = partial(anyio.to_thread.run_sync, partial(store.digest, "ready"))
    if isinstance(verifier, JwtVerifier):
        checks["keys"] = verifier.check
    try:
        async with LazyToolbox(settings.open) as toolbox:
            tools: Tools = toolbox
            if verifier is not None:
                # Without authentication all callers are one, and there is nothing to share out.
                tools = FairTools(toolbox, at_once=http.calls_at_once, per_minute=http.calls_per_minute)
            work = Draining(tools, writing)
            listener = bind(http.host, http.port)
            url = http.url(listener.getsockname()[1])
            app = http_app(
                create_server(definitions, work, current_access if verifier else lambda: LOCAL),
                http,
                verifier=verifier,
                writing=writing,
                health=Health(checks, is_stopping=lambda: work.is_stopping),
                resource_url=http.public_url or url,
            )
            ready = f"Listening on {url}"
            await serve_http(app, listener, ready=ready, log_format=log_format, work=work, grace=http.grace)
    finally:
        store.close()
