"""`cams-mcp audit`."""

from __future__ import annotations

import datetime as dt
import json
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from cams_mcp.app import store_of
from cams_mcp.cli.options import errors_shown, with_options
from cams_mcp.operations import OPERATIONS
from cams_mcp.redaction import printable
from cams_mcp.settings import Settings

LONGEST_PART = 300
_UNITS = {"m": 60, "h": 3600, "d": 86_400}


@click.command("audit")
@with_options(
    "state_dir",
    "store",
    click.option(
        "--since",
        metavar="TIME",
        help="Show entries since a UTC time, such as 2026-01-31 or 2026-01-31T08:00, or from the last 30m, 12h or 7d.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line."),
)
def command(state_dir: Path | None, store: str, since: str | None, as_json: bool) -> None:
    """Show the audit trail: every question, decision and outcome of a write, oldest first.

    The trail contains ids, counts and digests, but no e-mail addresses or phone numbers. Digests are salted: equal
    requests have equal digests only on this machine or, with --store, on the hosts that share the store.
    """
    start = _parse(since)
    with errors_shown(), closing(store_of(Settings(state_dir=state_dir, store=store))) as opened:
        entries = opened.audit(start)
    for entry in entries:
        click.echo(json.dumps(_with_iso_time(entry)) if as_json else _line(entry))
    if not entries and not as_json:
        click.echo("No entries.", err=True)


def _parse(since: str | None) -> float:
    """Convert a time or period to a Unix timestamp."""
    if since is None:
        return 0.0
    now = dt.datetime.now(dt.UTC)
    if ago := re.fullmatch(r"(\d{1,6})([mhd])", since):
        return now.timestamp() - int(ago[1]) * _UNITS[ago[2]]
    try:
        time = dt.datetime.fromisoformat(since)
    except ValueError:
        raise click.BadParameter("use YYYY-MM-DD, YYYY-MM-DDThh:mm, or 30m, 12h, 7d", param_hint="--since") from None
    return (time if time.tzinfo else time.replace(tzinfo=dt.UTC)).timestamp()


def _iso(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _with_iso_time(entry: dict[str, Any]) -> dict[str, Any]:
    return entry | {"time": _iso(entry["time"])}


def _what(entry: dict[str, Any]) -> list[str]:
    """What was to be written, and how much of it, in the operation's words."""
    effects = {operation.action: operation.effect for operation in OPERATIONS}
    effect = effects.get(entry["operation"])
    if effect is None:  # written by another version
        return [f"{name} {value}" for name, value in [*entry["target"].items(), *entry["counts"].items()]]
    target_id = entry["target"].get(effect.target_argument, "?")
    return [f"{effect.target} {target_id}", effect.amount(entry["counts"].get(effect.units, 0))]


def _line(entry: dict[str, Any]) -> str:
    parts = [
        entry["operation"],
        *_what(entry),
        f"by {entry['principal']} ({entry['client'] or 'unknown client'}, {entry['channel']})",
        f"digest {entry['digest'][:12]}",
    ]
    if "by" in entry:
        # On a card, only the app knows who pressed the button.
        parts.append(f"{'on a card shown by' if entry['channel'] == 'card' else 'decided by'} {entry['by']}")
    parts += [f"id {entry['approval_id']}"] if "approval_id" in entry else []
    parts += [f"request id {entry['request_id']}"] if "request_id" in entry else []
    parts += [entry["reason"]] if "reason" in entry else []
    # Much of this text comes from third parties: it must not break the line or hide text in it.
    return "  ".join([_iso(entry["time"]), f"{entry['event']:8}", *(printable(part, LONGEST_PART) for part in parts)])
