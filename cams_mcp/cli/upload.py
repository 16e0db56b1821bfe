"""`cams-mcp upload`."""

from __future__ import annotations

import csv
import gc
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Self, TextIO

import anyio
import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from cams_mcp.app import open_uploads
from cams_mcp.cli.options import Failure, GroupedCommand, with_settings
from cams_mcp.cli.terminal import INTERRUPTED, NOT_CONFIRMED, terminal_caller
from cams_mcp.confirmation import Awaiting, Caller, Preview
from cams_mcp.errors import NotConfirmed
from cams_mcp.models import Result
from cams_mcp.redaction import printable
from cams_mcp.settings import Settings
from cams_mcp.tools.arguments import parse_arguments
from cams_mcp.upload.folders import open_anywhere
from cams_mcp.upload.requests import UploadAudienceFileResponse
from cams_mcp.upload.service import CHECK_AUDIENCE_FILE, UPLOAD_AUDIENCE_FILE, Uploads

LONGEST_VALUE = 4096

STOPPED = 4
"""Exit status when some people were sent, or may have been, but not all."""

_FILE_ARGUMENTS = ("email_column", "phone_column", "default_region", "suppression_path")


@click.command("upload", cls=GroupedCommand)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--space", "cust_space_id", help="Instance id (cust_space_id), from list_instance.")
@click.option("--page", "page_id", help="Messenger Page ID.")
@click.option("--ad-account", "ad_account_id", help="Meta ad account id.")
@click.option("--audience", "custom_audience_id", help="Custom audience id.")
@click.option("--email-column", help="Name or number of the email column.")
@click.option("--phone-column", help="Name or number of the phone column.")
@click.option("--default-region", help="Region for phone numbers without a country code, e.g. CN.")
@click.option("--suppression", "suppression_path", help="File of people who have opted out.")
@click.option(
    "--on-invalid", type=click.Choice(["skip", "refuse"]), default="skip", help="What to do with invalid rows."
)
@click.option(
    "--invalid-rows", type=click.Path(path_type=Path), help="Where to list invalid rows. Defaults to FILE.invalid.csv."
)
@click.option("--resume", metavar="ID", help="Resume an incomplete upload; see `cams-mcp uploads`.")
@click.option("--dry-run", is_flag=True, help="Check the file without sending anything.")
@click.option(
    "--yes", is_flag=True, help="Skip the confirmation prompt. As with --confirm off, duplicate lists are rejected."
)
@with_settings()
def command(settings: Settings, file: Path, invalid_rows: Path | None, dry_run: bool, yes: bool, **given: Any) -> None:
    """Upload FILE, a customer list in CSV, TSV, JSON Lines or XLSX format, to a custom audience.

    Exit status: 0 all people were sent, 1 rejected or failed, 3 not confirmed or blocked by a limit, 4 stopped before
    the end, 130 interrupted.
    """
    gc.enable()  # each call leaves about a megabyte in reference cycles
    if yes:
        settings = replace(settings, confirm="off")
    arguments = {name: value for name, value in given.items() if value is not None} | {"path": str(file)}
    if dry_run:
        names = ("path", *_FILE_ARGUMENTS)
        arguments = {name: value for name, value in arguments.items() if name in names}
    report = invalid_rows or file.with_name(f"{file.name}.invalid.csv")
    if report.exists() and report.samefile(file):
        raise Failure("--invalid-rows must not be the input file.")
    try:
        with _InvalidRows(report) as invalid, _progress() as progress:
            outcome = anyio.run(_run, settings, arguments, dry_run, progress, invalid)
    except NotConfirmed as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(NOT_CONFIRMED) from None
    except KeyboardInterrupt:
        click.echo("\nInterrupted. Run `cams-mcp uploads` to see what was sent, and --resume to continue.", err=True)
        os._exit(INTERRUPTED)
    if invalid.count:
        click.echo(f"{invalid.count:,} invalid rows listed in {printable(str(report), LONGEST_VALUE)}.", err=True)
    raise SystemExit(_show(outcome))


def _show(outcome: Result | Preview | Awaiting) -> int:
    """Print the result and return the exit status."""
    if isinstance(outcome, Awaiting):
        how = f"Approve it with `{outcome.command}`" if outcome.command else "Add --state-dir, approve it"
        click.echo(f"{outcome.question}\nNothing was sent yet. {how}, then run this command again.", err=True)
        return NOT_CONFIRMED
    if isinstance(outcome, Preview):
        click.echo(f"{outcome.text}\nNothing was sent: there is no terminal to prompt on. ", nl=False, err=True)
        click.echo("Use --yes in unattended pipelines.", err=True)
        return NOT_CONFIRMED
    for name, value in outcome.to_content().items():
        click.echo(f"{name:24} {printable(str(value), LONGEST_VALUE)}")
    if isinstance(outcome, UploadAudienceFileResponse) and outcome.state != "done":
        return STOPPED if outcome.sent or outcome.may_have_been_sent else 1
    return 0


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


class _InvalidRows:
    """A report of invalid rows: line and reason, but no values. The file is created with the first row."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._path = path
        self._stack = ExitStack()
        self._write: Callable[[tuple[int, str]], Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def add(self, line: int, reason: str) -> None:
        if self._write is None:
            file = self._stack.enter_context(self._open())
            self._write = csv.writer(file).writerow
            self._write(("line", "reason"))  # type: ignore[arg-type]
        self.count += 1
        self._write((line, reason))

    def _open(self) -> TextIO:
        no_link = getattr(os, "O_NOFOLLOW", 0)
        try:
            descriptor = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | no_link, 0o600)
        except OSError as error:
            raise Failure(
                f"Cannot write the list of invalid rows ({error.strerror}). Choose another file with --invalid-rows."
            ) from None
        if hasattr(os, "fchmod"):
            os.fchmod(descriptor, 0o600)  # in case the file already existed
        return os.fdopen(descriptor, "w", encoding="utf-8", newline="")


def _open(path: str) -> tuple[Path, BinaryIO]:
    return Path(path).resolve(), open_anywhere(Path(path))


async def _run(
    settings: Settings, arguments: dict[str, Any], dry_run: bool, progress: Progress, invalid: _InvalidRows
) -> Result | Preview | Awaiting:
    task = progress.add_task("Checking", total=None)

    async def report(done: float, total: float, message: str) -> None:
        progress.update(task, description=message, completed=done, total=total or None)

    async with open_uploads(settings, _open, on_invalid=invalid.add) as uploads:
        caller = replace(terminal_caller("cams-mcp upload", before=progress.stop, after=progress.start), report=report)
        outcome = await _call(uploads, arguments, caller, dry_run=dry_run)
        progress.remove_task(task)
        return outcome


async def _call(
    uploads: Uploads, arguments: dict[str, Any], caller: Caller, *, dry_run: bool
) -> Result | Preview | Awaiting:
    if dry_run:
        return await uploads.check(parse_arguments(CHECK_AUDIENCE_FILE, arguments), caller)
    outcome = await uploads.upload(parse_arguments(UPLOAD_AUDIENCE_FILE, arguments), caller)
    if not isinstance(outcome, Result | Preview | Awaiting):
        raise Failure("The terminal cannot answer this question.")
    return outcome
