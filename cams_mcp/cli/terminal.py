"""Asking the person at the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable

import anyio.to_thread
import click

from cams_mcp import __version__
from cams_mcp.confirmation import Caller, Reply

NOT_CONFIRMED = 3
"""Exit status: nothing was sent yet."""

CALLED_OFF = 130
"""Exit status after Ctrl-C, as shells have it."""


def terminal_caller(
    client: str,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
    *,
    asks: bool = True,
) -> Caller:
    """The caller behind a command. It can be asked if standard input is a terminal and `asks`.

    Args:
        client: for the audit trail.
        before, after: called before the question and after its answer, to clear the screen for it.
    """

    async def ask(text: str) -> Reply:
        before()
        click.echo(text, err=True)
        try:
            yes = await anyio.to_thread.run_sync(
                lambda: click.confirm("Send it?", default=False, err=True), abandon_on_cancel=True
            )
        except click.Abort:
            return Reply("cancel")
        after()
        return Reply("accept", {"confirm": True}) if yes else Reply("decline")

    interactive = asks and sys.stdin.isatty()
    return Caller(client=f"{client} {__version__}", ask=ask if interactive else None, ask_channel="terminal")
