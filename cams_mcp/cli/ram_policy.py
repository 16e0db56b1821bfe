"""`cams-mcp ram-policy`."""

from __future__ import annotations

import json
from typing import Any

import click

from cams_mcp.cli.options import with_options
from cams_mcp.operations import OPERATIONS


@click.command("ram-policy")
@with_options("read_only")
def command(read_only: bool) -> None:
    """Print the RAM policy with the least that the tools need, as JSON.

    Attach it to the RAM user or role of the access key.
    """
    click.echo(json.dumps(ram_policy(read_only=read_only), indent=2))


def ram_policy(*, read_only: bool) -> dict[str, Any]:
    """The policy for the tools, and for what the questions of writes look up."""
    offered = [operation for operation in OPERATIONS if not (read_only and operation.writes)]
    effects = [operation.effect for operation in offered if operation.effect]
    looked_up = [needed for effect in effects for needed in effect.look_ups]
    looked_up += [effect.evidence.operation for effect in effects if effect.evidence]
    by_resource: dict[str, list[str]] = {}
    for operation in dict.fromkeys([*offered, *looked_up]):
        by_resource.setdefault(operation.resource, []).append(operation.ram_action)
    return {
        "Version": "1",
        "Statement": [
            {"Effect": "Allow", "Action": allowed, "Resource": resource} for resource, allowed in by_resource.items()
        ],
    }
