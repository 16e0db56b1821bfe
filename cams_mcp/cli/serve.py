"""`cams-mcp serve`."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import anyio
import click

from cams_mcp.app import catalog_of, open_toolbox
from cams_mcp.cli.options import GroupedCommand, with_settings
from cams_mcp.errors import ConfigurationError
from cams_mcp.hosts import is_loopback
from cams_mcp.lazy_toolbox import LazyToolbox
from cams_mcp.logs import LogFormat, announce
from cams_mcp.server.server import create_server
from cams_mcp.settings import HttpSettings, Settings, options_of


@click.command("serve", cls=GroupedCommand)
@with_settings("transport", *options_of(HttpSettings), "log_format")
def command(settings: Settings, transport: str, log_format: LogFormat, **http: Any) -> None:
    """Serve MCP over stdio, or over Streamable HTTP at /mcp. Logs go to standard error."""
    if settings.confirm == "off" and not settings.read_only:
        warning = (
            "WARNING: With --confirm off, the server sends writes without anyone's approval. They cannot be undone. "
            "Use it in unattended pipelines only."
        )
        if log_format == "text":
            click.secho(warning, err=True, fg="red", bold=True)
        else:
            announce(warning, log_format)
    if settings.sandbox:
        announce("Using the embedded sandbox: nothing leaves this machine.", log_format)
    if settings.confirm == "page" and transport == "http" and not settings.read_only:
        announce("WARNING: Over HTTP, no approval page can open. Writes wait for `cams-mcp approve`.", log_format)
    # All that was imported so far stays: leave it out of every later collection.
    gc.freeze()
    gc.enable()
    if transport == "stdio":
        with _exporting():
            anyio.run(_serve_stdio, settings)
        return
    from cams_mcp.http import run_http, run_http_workers

    of_http = HttpSettings(**http)
    if settings.upload_dirs and not is_loopback(of_http.host):
        raise ConfigurationError(
            "--upload-dir works over stdio and on loopback only: other machines must not choose files of this one.",
            hint="Remove --upload-dir, or use --host 127.0.0.1.",
        )
    if of_http.workers > 1:
        raise SystemExit(run_http_workers(settings, of_http, log_format, around=_exporting))
    with _exporting():
        anyio.run(run_http, settings, of_http, log_format)


@contextmanager
def _exporting() -> Generator[None]:
    """Export traces if the environment asks for it, and flush them at the end. This starts threads."""
    if not any(name.startswith("OTEL_") for name in os.environ):
        yield
        return
    from cams_mcp.api.tracing import flush, start_exporting

    start_exporting()
    try:
        yield
    finally:
        flush()


async def _serve_stdio(settings: Settings) -> None:
    from cams_mcp.server.stdio import serve_stdio

    async with LazyToolbox(partial(open_toolbox, settings)) as toolbox:
        await serve_stdio(create_server(catalog_of(settings), toolbox), toolbox)
