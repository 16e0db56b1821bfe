"""`cams-mcp serve`."""

from __future__ import annotations

import gc
import os
from typing import Any

import anyio
import click

from cams_mcp.api.endpoint import is_loopback
from cams_mcp.cli.options import HTTP, LOG_FORMAT, option, with_settings
from cams_mcp.errors import ConfigurationError
from cams_mcp.logs import LogFormat, announce
from cams_mcp.server.server import create_server
from cams_mcp.settings import LazyToolbox, Settings
from cams_mcp.tools.definitions import load_catalog


@click.command("serve")
@with_settings(
    option("--transport", type=click.Choice(["stdio", "http"]), default="stdio", help="How clients connect."),
    *HTTP,
    LOG_FORMAT,
)
def command(settings: Settings, transport: str, log_format: LogFormat, **http: Any) -> None:
    """Serve MCP over stdio, or over Streamable HTTP at /mcp. Logs go to standard error."""
    if settings.confirm == "off" and not settings.read_only:
        warning = (
            "WARNING: --confirm off: people's addresses go to Meta without anybody's confirmation. This cannot be "
            "undone. Use it in unattended pipelines only."
        )
        if log_format == "text":
            click.secho(warning, err=True, fg="red", bold=True)
        else:
            announce(warning, log_format)
    if settings.sandbox:
        announce("Using the embedded sandbox: nothing leaves this machine.", log_format)
    # All that was imported so far stays: leave it out of every later collection.
    gc.freeze()
    gc.enable()
    if transport == "stdio":
        _start_exporting()
        anyio.run(_serve_stdio, settings)
        return
    from cams_mcp.http import HttpSettings, run_http, run_http_workers  # noqa: PLC0415 - only one transport is needed

    of_http = HttpSettings(**http)
    if settings.upload_dirs and not is_loopback(of_http.host):
        raise ConfigurationError(
            "--upload-dir works over stdio and on loopback only: other machines do not choose files of this one.",
            hint="Leave --upload-dir out, or use --host 127.0.0.1.",
        )
    if of_http.workers > 1:
        raise SystemExit(run_http_workers(settings, of_http, log_format, prepare=_start_exporting))
    _start_exporting()
    anyio.run(run_http, settings, of_http, log_format)


def _start_exporting() -> None:
    """Export traces, if the environment asks for it. This starts threads."""
    if any(name.startswith("OTEL_") for name in os.environ):
        from cams_mcp.api.tracing import start_exporting  # noqa: PLC0415 - only where traces are asked for

        start_exporting()


async def _serve_stdio(settings: Settings) -> None:
    from cams_mcp.server.stdio import serve_stdio  # noqa: PLC0415 - only one transport is needed

    async with LazyToolbox(settings.open) as toolbox:
        catalog = load_catalog(read_only=settings.read_only, uploads=bool(settings.upload_dirs))
        await serve_stdio(create_server(catalog, toolbox))
