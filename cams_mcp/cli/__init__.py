"""The command line. Each command is a module of its own, imported when it runs."""

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
    "serve": "Serve MCP over stdio or Streamable HTTP (the default).",
    "demo": "Try everything on the sandbox. No account or network needed.",
    "tools": "List the tools and their arguments.",
    "upload": "Upload a file of customers to an audience.",
    "uploads": "List uploads, and how to resume those that stopped.",
    "call": "Call one tool without an MCP client.",
    "audit": "Show what was asked, approved and sent.",
    "sandbox": "Serve a local CAMS endpoint for tests.",
    "config": "Connect an MCP client: print or write its configuration.",
    "doctor": "Check the setup, and say how to fix it.",
    "ram-policy": "Print the smallest RAM policy that the tools need.",
}
DEFAULT_COMMAND = "serve"


@contextmanager
def _errors_cleaned() -> Generator[None]:
    """Keep people's data and escape sequences out of usage errors: click quotes the argument or variable as it is."""
    try:
        yield
    except click.UsageError as error:
        raise click.UsageError(scrub(error.format_message()), error.ctx) from None


class LazyGroup(click.Group):
    """Imports a command's module when it is asked for; without a command's name, it is `serve`."""

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
        with _errors_cleaned():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _errors_cleaned():
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
    # Imports make much garbage that is none; collecting it costs a tenth of the start. `serve` switches it on again.
    gc.disable()
    out: Any = sys.stdout
    if isinstance(out, io.TextIOWrapper):
        # Names may be in any script, and the terminal may not know it.
        out.reconfigure(errors="backslashreplace")
    cli()
