"""`cams-mcp approve`: decide on a terminal what waits for a person."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Literal

import anyio
import click

from cams_mcp.app import language_of, state_dir_of, store_of
from cams_mcp.approval.desk import Desk
from cams_mcp.approval.lazy_page import local_person
from cams_mcp.approval.terminal_words import TERMINAL
from cams_mcp.approval.view import as_shown, describe, outcome_of
from cams_mcp.cli.options import Failure, GroupedCommand, errors_shown, with_options
from cams_mcp.cli.terminal import NOT_CONFIRMED, ask_yes_or_no, can_ask
from cams_mcp.facts import Language, render
from cams_mcp.redaction import printable
from cams_mcp.settings import Settings
from cams_mcp.store import FILE_NAME, Pending

POLL_SECONDS = 0.5
OUTCOME_SECONDS = 10.0
"""How long to wait for a server to send what was approved here."""


@click.command("approve", cls=GroupedCommand)
@click.argument("approval_id", metavar="[ID]", required=False)
@with_options("state_dir", "store", "language")
def command(approval_id: str | None, state_dir: Path | None, store: str, language: Literal["auto", "en", "zh"]) -> None:
    """List the writes that wait for a person, and approve or decline them, one after the other or only ID.

    Works next to a running server, also in a container or over SSH: give it the server's --state-dir or --store. It
    decides on a terminal only, so that no script approves by accident. Elsewhere it lists what waits and exits with
    status 3.

    An approved write is sent by the server that holds its list. If that server is gone, the same call made again sends.
    """
    with errors_shown():
        settings = Settings(state_dir=state_dir, store=store, language=language)
        if settings.store == Settings.store and not (state_dir_of(settings) / FILE_NAME).exists():
            raise Failure(
                f"No cams-mcp server has used the state directory {state_dir_of(settings)} yet. Pass the server's "
                "--state-dir or --store."
            )
        opened = store_of(settings)
        try:
            status = anyio.run(_run, Desk(opened), approval_id, language_of(settings))
        except KeyboardInterrupt:
            click.echo(err=True)
            status = 130
        finally:
            opened.close()
    sys.exit(status)


async def _run(desk: Desk, approval_id: str | None, language: Language) -> int:
    found = await desk.pending()
    if approval_id is not None:
        wanted = approval_id.strip().upper()
        chosen = [write for write in found if write.id == wanted]
        if not chosen:
            known = ", ".join(write.id for write in found if write.state == "waiting")
            hint = f"Waiting: {known}." if known else "Nothing is waiting."
            raise Failure(f"No write with the id {printable(wanted, 20)} is waiting. It may have expired. {hint}")
        if chosen[0].state != "waiting":
            click.echo(outcome_of(chosen[0], language, local=True))
            return 0
    else:
        chosen = [write for write in found if write.state == "waiting"]
        _list(chosen, language)
    if not chosen:
        return 0
    if not can_ask():
        click.echo("Nothing was decided: this command asks on a terminal only.", err=True)
        return NOT_CONFIRMED
    for write in chosen:
        await _decide(desk, write, language)
    return 0


def _list(writes: list[Pending], language: Language) -> None:
    now = time.time()
    for write in writes:
        shown = as_shown(write, language, now)
        minutes, seconds = divmod(shown["seconds_left"], 60)
        click.echo(f"{write.id}  {minutes}:{seconds:02}  {shown['question']}  {shown['requester']}")
    if not writes:
        click.echo(TERMINAL[language]["nothing"], err=True)


async def _decide(desk: Desk, write: Pending, language: Language) -> None:
    said, person = TERMINAL[language], local_person()
    shown = as_shown(write, language, time.time())
    minutes, seconds = divmod(shown["seconds_left"], 60)
    click.echo(f"\n{write.id}  {minutes}:{seconds:02}", err=True)
    click.echo(render(describe(write, language)), err=True)
    click.echo(f"{shown['requester']}\n{said['sure'].format(person=person)}", err=True)
    yes = await ask_yes_or_no(said["prompt"], enter=None)
    if yes is None:
        click.echo(said["undecided"], err=True)
        return
    decided = await desk.decide(write.id, "approve" if yes else "decline", "approve", person)
    if yes and decided.state == "approved" and not decided.in_call:
        click.echo(said["approved"], err=True)
        decided = await _outcome(desk, decided)
    click.echo(outcome_of(decided, language, local=True))


async def _outcome(desk: Desk, write: Pending) -> Pending:
    """The write after a server has sent it, or as it is when the wait ends."""
    with anyio.move_on_after(OUTCOME_SECONDS):
        while write.state == "approved" or (write.state == "spent" and write.outcome is None):
            await anyio.sleep(POLL_SECONDS)
            write = next((each for each in await desk.pending() if each.id == write.id), write)
    return write
