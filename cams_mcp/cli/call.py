"""`cams-mcp call`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, cast

import anyio
import click

from cams_mcp.app import catalog_of, open_toolbox
from cams_mcp.cli.options import Failure, GroupedCommand, with_settings
from cams_mcp.cli.terminal import INTERRUPTED, NOT_CONFIRMED, terminal_caller
from cams_mcp.confirmation import Question
from cams_mcp.settings import Settings


@click.command("call", cls=GroupedCommand)
@click.argument("tool")
@click.argument("arguments", default="{}", metavar="[JSON | @FILE | -]")
@with_settings()
def command(settings: Settings, tool: str, arguments: str) -> None:
    """Call TOOL once and print its result as JSON.

    The arguments are JSON text, @FILE to read them from a file, or - to read them from standard input. Before a write,
    the command asks for confirmation on the terminal. Without a terminal, it prints a preview with a confirmation_token
    for a second call and exits with status 3.
    """
    given = _read(arguments)
    asks = arguments != "-"  # then standard input holds the arguments, not the answer
    try:
        outcome = anyio.run(_call, settings, tool, given, asks)
    except KeyboardInterrupt:
        # Don't wait for threads that may be blocked on DNS or a disk.
        click.echo("\nInterrupted.", err=True)
        os._exit(INTERRUPTED)
    click.echo(_as_json(outcome))
    if outcome.get("status") in ("confirmation_required", "awaiting_approval"):
        sys.exit(NOT_CONFIRMED)


def _read(text: str) -> dict[str, Any]:
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        given: Any = json.loads(text)
    except OSError as error:
        raise Failure(f"Cannot read the arguments: {error.strerror}.") from None
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise Failure("The arguments are not a JSON object. Use, for example, '{\"page_size\": 5}', @FILE or -.")
    return cast("dict[str, Any]", given)


def _as_json(outcome: dict[str, Any]) -> str:
    text = json.dumps(outcome, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(outcome, indent=2)
    return text


async def _call(settings: Settings, tool: str, arguments: dict[str, Any], asks: bool) -> dict[str, Any]:
    catalog = catalog_of(settings)
    if catalog.find(tool) is None:
        raise Failure(f"Unknown tool. Available tools: {', '.join(catalog.names)}.")
    async with open_toolbox(settings) as toolbox:
        outcome = await toolbox.call(tool, arguments, terminal_caller("cams-mcp call", asks=asks))
        # The terminal is asked mid-call; only MCP clients answer by round trip.
        assert not isinstance(outcome, Question)
        return outcome.content
