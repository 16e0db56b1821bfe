"""`cams-mcp uploads`."""

from __future__ import annotations

import datetime as dt
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from cams_mcp.app import store_of
from cams_mcp.cli.options import errors_shown, with_options
from cams_mcp.redaction import printable
from cams_mcp.settings import Settings
from cams_mcp.store import Job

LONGEST_PART = 300
WIDTHS = (0, 0, 7, 0, 0, 0, 0)


@click.command("uploads")
@with_options(
    "state_dir",
    "store",
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line."),
)
def command(state_dir: Path | None, store: str, as_json: bool) -> None:
    """List uploads: how much of each was sent, and how to resume incomplete ones."""
    with errors_shown(), closing(store_of(Settings(state_dir=state_dir, store=store))) as opened:
        jobs = opened.journal.jobs()
    for job in jobs:
        click.echo(json.dumps(_facts(job)) if as_json else _line(job))
    if not jobs and not as_json:
        click.echo("No uploads.", err=True)


def _facts(job: Job) -> dict[str, Any]:
    _, doubtful = job.position
    return {
        "id": job.id,
        "created": dt.datetime.fromtimestamp(job.created, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "file": job.path,
        "audience": job.arguments.get("custom_audience_id"),
        "state": job.state,
        "people": job.total,
        "sent": job.sent,
        "may_have_been_sent": doubtful,
        "not_sent": job.total - job.sent - doubtful,
        "reason": job.reason,
    }


def _line(job: Job) -> str:
    facts = _facts(job)
    doubt = f", {facts['may_have_been_sent']:,} may have been sent" if facts["may_have_been_sent"] else ""
    parts = [
        job.id,
        facts["created"],
        job.state,
        f"{job.sent:,} of {job.total:,} sent{doubt}",
        f"audience {facts['audience']}",
        job.path,
    ]
    parts += [job.reason] if job.reason else []
    # Some of this text comes from third parties: it must not break the line or hide text in it.
    return "  ".join(f"{printable(part, LONGEST_PART):{width}}" for part, width in zip(parts, WIDTHS, strict=False))
