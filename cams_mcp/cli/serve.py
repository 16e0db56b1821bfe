"""`cams-mcp serve`."""

from __future__ import annotations

import gc

import anyio
import click

from cams_mcp.catalog import list_tools
from cams_mcp.cli.options import option, with_settings
from cams_mcp.server import create_server
from cams_mcp.settings import LazyToolbox, Settings


@click.command("serve")
@with_settings(
    option("--transport", type=click.Choice(["stdio", "http"]), default="stdio", help="How clients connect."),
    option("--host", default="127.0.0.1", help="Address to listen on, for http."),
    option(
        "--port", type=click.IntRange(0, 65535), default=8000, help="Port to listen on, for http; 0 takes a free one."
    ),
)
def command(settings: Settings, transport: str, host: str, port: int) -> None:
    """Serve MCP over stdio, or over Streamable HTTP at /mcp. Logs go to standard error."""
    if settings.confirm == "off" and not settings.read_only:
        click.secho(
            "WARNING: --confirm off: people's addresses go to Meta without anybody's confirmation. This cannot be "
            "undone. Use it in unattended pipelines only.",
            err=True,
            fg="red",
            bold=True,
        )
    if settings.sandbox:
        click.echo("Using the embedded sandbox: nothing leaves this machine.", err=True)
    # All that was imported so far stays: leave it out of every later collection.
    gc.freeze()
    gc.enable()
    anyio.run(_serve, settings, transport, host, port)


async def _serve(settings: Settings, transport: str, host: str, port: int) -> None:
    async with LazyToolbox(settings.open) as toolbox:
        server = create_server(list_tools(read_only=settings.read_only), toolbox)
        if transport == "stdio":
            from cams_mcp.stdio import serve_stdio  # noqa: PLC0415 - only one transport is needed

            await serve_stdio(server)
            return
        from cams_mcp.http import MCP_PATH, bind, http_app, require_loopback, serve_http  # noqa: PLC0415

        require_loopback(host, "--transport http")
        listener = bind(host, port)
        address = f"http://{_authority(host)}:{listener.getsockname()[1]}{MCP_PATH}"
        await serve_http(http_app(server, host), listener, ready=f"Listening on {address}")


def _authority(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
