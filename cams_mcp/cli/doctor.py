"""`cams-mcp doctor`."""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, replace

import anyio
import click

from cams_mcp.cli.checks import (
    Check,
    check_approval,
    check_clients,
    check_packages,
    check_python,
    check_state,
    check_uploads,
)
from cams_mcp.cli.options import GroupedCommand, with_settings
from cams_mcp.cli.remote_checks import PROXY_HINT, check_clock, check_credentials, check_endpoint, check_read
from cams_mcp.settings import Settings

SECONDS = 8.0
"""Time limit for each check."""
COLOURS = {"ok": "green", "warning": "yellow", "failure": "red"}


@click.command("doctor", cls=GroupedCommand)
@with_settings(click.option("--json", "as_json", is_flag=True, help="Print the results as a JSON list."))
def command(settings: Settings, as_json: bool) -> None:
    """Check versions, credentials, endpoint, clock, permissions, state directory and clients, and suggest fixes.

    Pass the same options as to the server. The exit status is 1 if a check fails.
    """
    checks = anyio.run(examine, settings, sys.platform, os.environ)
    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks], indent=2, ensure_ascii=False))
    else:
        for check in checks:
            show(check)
    if any(check.status == "failure" for check in checks):
        sys.exit(1)


async def examine(settings: Settings, platform: str, environment: Mapping[str, str]) -> list[Check]:
    """Run all checks, most important first. A check that cannot run is reported as a warning with the reason."""
    settings = replace(settings, retries=0, timeout=min(settings.timeout, SECONDS))
    key = await _with_timeout("credentials", lambda: check_credentials(settings))
    answered: list[dt.datetime | None] = []
    endpoint = await _with_timeout("endpoint", lambda: check_endpoint(settings, answered))
    clock = check_clock(settings, answered[0] if answered else None, dt.datetime.now(dt.UTC))
    missing = [earlier.check for earlier in (key, endpoint) if earlier.status == "failure"]
    if missing:
        read = Check("read", "warning", f"Not checked: {' and '.join(missing)} failed.", "Fix that first.")
    else:
        read = await _with_timeout("read", lambda: check_read(settings))
    here = [check_python(sys.version_info[:3]), check_packages()]
    approval = check_approval(settings, platform, environment)
    local = [approval, check_state(settings), *check_uploads(settings), *check_clients(platform, environment)]
    return [*here, key, endpoint, clock, read, *local]


async def _with_timeout(name: str, check: Callable[[], Awaitable[Check]]) -> Check:
    with anyio.move_on_after(SECONDS):
        return await check()
    return Check(name, "failure", f"No answer within {SECONDS:g} s.", PROXY_HINT)


def show(check: Check) -> None:
    """Print a check on one line, and its suggested action on the next."""
    click.echo(f"{click.style(f'{check.status:7}', fg=COLOURS[check.status])}  {check.check:14}  {check.detail}")
    if check.action:
        click.echo(f"{'':7}  {'':14}  -> {check.action}")
