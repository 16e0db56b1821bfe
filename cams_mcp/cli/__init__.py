"""The command line. Each command lives in its own module, imported only when it runs."""

from __future__ import annotations

import gc
import importlib
import io
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import click

from cams_mcp import __version__
from cams_mcp.redaction import scrub

COMMANDS = {
    "serve": "Serve MCP over stdio or Streamable HTTP (default command).",
    "demo": "Run a demo on the embedded sandbox: no account, no network.",
    "tools": "List the tools and their arguments.",
    "upload": "Upload a customer file to an audience.",
    "uploads": "List uploads, and how to resume incomplete ones.",
    "call": "Call one tool without an MCP client.",
    "approve": "List the writes that wait for a person, and approve or decline them.",
    "audit": "Show the audit trail: what was asked, approved and sent.",
    "sandbox": "Run a local CAMS endpoint for testing.",
    "config": "Print or write the configuration for an MCP client.",
    "doctor": "Check the setup and suggest fixes.",
    "ram-policy": "Print the minimal RAM policy for the tools.",
}
DEFAULT_COMMAND = "serve"


@contextmanager
def _scrub_usage_errors() -> Generator[None]:
    """Keep personal data and escape sequences out of usage errors: click quotes arguments and variables verbatim."""
    try:
        yield
    except click.UsageError as error:
        raise click.UsageError(scrub(error.format_message()), error.ctx) from None


class LazyGroup(click.Group):
    """Imports a command's module on demand. Runs `serve` if no command is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return cast("click.Command", importlib.import_module(f"cams_mcp.cli.{cmd_name.replace('-', '_')}").command)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"--help", "-h", "--version"}
        if not args or (args[0].startswith("-") and args[0] not in own):
            args = [DEFAULT_COMMAND, *args]
        return super().parse_args(ctx, args)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _scrub_usage_errors():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _scrub_usage_errors():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cams-mcp")
def cli() -> None:
    """MCP server for Alibaba Cloud Chat App Message Service (CAMS)."""


def main() -> None:
    """Entry point of `cams-mcp` and `python -m cams_mcp`."""
    # Importing allocates many long-lived objects; running the collector during startup adds about 10%. `serve` enables
    # it again.
    gc.disable()
    out: Any = sys.stdout
    if isinstance(out, io.TextIOWrapper):
        # Names can be in any script, but the terminal's encoding may not cover it.
        out.reconfigure(errors="backslashreplace")
    cli()
