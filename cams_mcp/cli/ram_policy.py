"""`cams-mcp ram-policy`."""

from __future__ import annotations

import json
from typing import Any

import click

from cams_mcp.cli.options import with_options
from cams_mcp.operations import OPERATIONS
from cams_mcp.operations.list_page_ad_account import LIST_PAGE_AD_ACCOUNT

INSTANCES = "acs:cams:*:*:instance/*"

RESOURCES = {"cams:ListInstance": INSTANCES}
"""Actions whose documents name a resource. Those of the others say "All Resource"; ListPageAdAccount has none."""


@click.command("ram-policy")
@with_options("read_only")
def command(read_only: bool) -> None:
    """Print the RAM policy with the least that the tools need, as JSON.

    Attach it to the RAM user or role of the access key.
    """
    click.echo(json.dumps(ram_policy(read_only=read_only), indent=2))


def ram_policy(*, read_only: bool) -> dict[str, Any]:
    """The policy for the tools; those that write also need what the guard's question looks up."""
    actions = [operation.ram_action for operation in OPERATIONS if not (read_only and operation.writes)]
    if not read_only:
        actions.append(LIST_PAGE_AD_ACCOUNT.ram_action)
    by_resource: dict[str, list[str]] = {}
    for action in actions:
        by_resource.setdefault(RESOURCES.get(action, "*"), []).append(action)
    return {
        "Version": "1",
        "Statement": [
            {"Effect": "Allow", "Action": allowed, "Resource": resource} for resource, allowed in by_resource.items()
        ],
    }
