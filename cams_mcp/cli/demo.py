"""`cams-mcp demo`: a real MCP client calls every tool of the server over stdio, against the sandbox."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, cast

import anyio
import click
import mcp_types as types
from mcp import Client, StdioServerParameters

from cams_mcp.cli.options import Failure
from cams_mcp.operation import AnyOperation, Effect
from cams_mcp.operations import OPERATIONS

ROWS_SHOWN = 2
ELEMENTS_SHOWN = 3
ITEMS_SHOWN = 3


@click.command("demo")
def command() -> None:
    """Start the server on its sandbox, connect an MCP client, call every tool, dismiss a write, then confirm it.

    Needs no account and no network. Exits with status 0 if everything worked.
    """
    anyio.run(_demo)


class _Person:
    """Prints the server's questions and answers them."""

    def __init__(self) -> None:
        self.says_yes = False

    async def __call__(self, context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        click.echo("  The server asks the person:")
        for line in params.message.splitlines():
            click.secho(f"    | {line}", fg="cyan")
        click.echo(f"  The person {'confirms' if self.says_yes else 'closes the question'}.")
        if self.says_yes:
            return types.ElicitResult(action="accept", content={"confirm": True})
        # A write that a person declines is not asked about again for ten minutes.
        return types.ElicitResult(action="cancel")


async def _demo() -> None:
    person = _Person()
    server = StdioServerParameters(command=sys.executable, args=["-m", "cams_mcp", "serve", "--sandbox"])
    failure: Failure | None = None
    async with Client(server, elicitation_callback=person) as client:
        try:
            await _show_all(client, person)
        except Failure as error:
            # Raise it outside the client, which would wrap it in an exception group.
            failure = error
    if failure is not None:
        raise failure
    click.secho("All checks passed.", fg="green")


async def _show_all(client: Client, person: _Person) -> None:
    tools = (await client.list_tools()).tools
    click.secho(f"Connected over stdio, protocol {client.protocol_version}. {len(tools)} tools:", bold=True)
    for tool in tools:
        click.echo(f"  {tool.name:26} {tool.title}")

    for operation in OPERATIONS:
        if operation.effect is None:
            _show(await _call(client, operation.name, operation.example))
        else:
            await _show_write(client, person, operation, operation.effect)


async def _show_write(client: Client, person: _Person, operation: AnyOperation, effect: Effect) -> None:
    """Dismiss a write, then confirm it, and compare what CAMS reports before and after."""
    evidence, target_id = effect.evidence, operation.example[effect.target_argument]

    async def look() -> Any:
        if evidence is None:
            return None
        pages = evidence.operation.pages
        arguments = evidence.arguments(operation.example) | (pages.arguments(100, 1) if pages else {})
        found = await client.call_tool(evidence.operation.name, arguments)
        return evidence.find(found.structured_content["data"], effect.target_argument, target_id)

    before = await look()
    person.says_yes = False
    refused = await _write(client, operation)
    dismissed = await look()
    person.says_yes = True
    sent = await _write(client, operation)
    after = await look()

    if evidence is not None:
        click.secho(f"\n{evidence.element} of the {effect.target} reported by CAMS:", bold=True)
        click.echo(f"  before {before}, after the dismissed write {dismissed}, after the confirmed write {after}")
    changed = evidence is None or after != before
    if not refused.is_error or dismissed != before or sent.is_error or not changed:
        raise Failure("The demo failed: the sandbox did not do what was confirmed. Please report it.")


def _announce(tool: str, arguments: Mapping[str, Any]) -> None:
    click.secho(f"\n{tool} {json.dumps({name: _short(value) for name, value in arguments.items()})}", bold=True)


def _short(value: object) -> object:
    number = len(cast("list[object]", value)) if isinstance(value, list) else 0
    return f"({number} items)" if number > ITEMS_SHOWN else cast("object", value)


async def _call(client: Client, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    _announce(tool, arguments)
    result = await client.call_tool(tool, dict(arguments))
    if result.is_error:
        raise Failure(_text(result))
    return result.structured_content


async def _write(client: Client, operation: AnyOperation) -> types.CallToolResult:
    _announce(operation.name, operation.example)
    result = await client.call_tool(operation.name, dict(operation.example))
    click.echo(f"  {_text(result)}")
    return result


def _show(result: dict[str, Any]) -> None:
    """Print the first rows of a list, with their first elements."""
    rows = result.get("data", [])
    for row in rows[:ROWS_SHOWN]:
        elements = [f"{name} {value}" for name, value in row.items() if value != ""]
        click.echo(f"  {', '.join(elements[:ELEMENTS_SHOWN])}")
    total = f" of {result['total']}" if "total" in result else ""
    more = f"; next_index {result['next_index']}" if "next_index" in result else ""
    click.echo(f"  {len(rows)}{total} rows{more}")


def _text(result: types.CallToolResult) -> str:
    (block,) = result.content
    return block.text if isinstance(block, types.TextContent) else ""
