"""`cams-mcp demo`: the real server over stdio, the real MCP client, all tools, on the sandbox."""

from __future__ import annotations

import json
import sys
from typing import Any

import anyio
import click
import mcp_types as types
from mcp import Client, StdioServerParameters

from cams_mcp.cli.options import Failure
from cams_mcp.sandbox.account import AD_ACCOUNT, MESSENGER_PAGE, MESSENGER_SPACE, WHATSAPP_NUMBER, WHATSAPP_SPACE

PAGE = {"cust_space_id": MESSENGER_SPACE, "page_id": MESSENGER_PAGE}
PEOPLE = [{"email": f"customer{number:03}@example.com"} for number in range(150)]


@click.command("demo")
def command() -> None:
    """Start the server on its sandbox, connect an MCP client to it, call every tool, refuse and confirm a write.

    Needs no account and no network. Exit status 0 means that everything worked.
    """
    anyio.run(_demo)


class _Person:
    """Answers the server's questions, and shows them."""

    def __init__(self) -> None:
        self.says_yes = False

    async def __call__(self, context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        click.echo("  The server asks the person:")
        for line in params.message.splitlines():
            click.secho(f"    | {line}", fg="cyan")
        click.echo(f"  The person {'confirms' if self.says_yes else 'declines'}.")
        if self.says_yes:
            return types.ElicitResult(action="accept", content={"confirm": True})
        return types.ElicitResult(action="decline")


async def _demo() -> None:
    person = _Person()
    server = StdioServerParameters(command=sys.executable, args=["-m", "cams_mcp", "serve", "--sandbox"])
    failure: Failure | None = None
    async with Client(server, elicitation_callback=person) as client:
        try:
            await _show_all(client, person)
        except Failure as error:
            # Raised outside: the client would wrap it in a group.
            failure = error
    if failure is not None:
        raise failure
    click.secho("All as it should be.", fg="green")


async def _show_all(client: Client, person: _Person) -> None:
    tools = (await client.list_tools()).tools
    click.secho(f"Connected over stdio, protocol {client.protocol_version}. {len(tools)} tools:", bold=True)
    for tool in tools:
        click.echo(f"  {tool.name:26} {tool.title}")

    instances = await _call(client, "list_instance", {"channel_type": "messenger", "page_size": 2})
    _show(instances, "instance_name", "cust_space_id")
    campaigns = await _call(client, "list_message_campaign", PAGE | {"status": "AVAILABLE", "page": {"size": 2}})
    _show(campaigns, "campaign_name", "budget", "budget_type")
    number = {"cust_space_id": WHATSAPP_SPACE, "business_number": WHATSAPP_NUMBER}
    groups = await _call(client, "list_chat_group", number | {"page": {"size": 2}})
    _show(groups, "subject", "total_participant_count")
    audiences = await _call(client, "list_custom_audience", PAGE | {"page": {"size": 2}})
    _show(audiences, "custom_audience_name", "token_total")

    audience = audiences["data"][0]["custom_audience_id"]
    write = PAGE | {"ad_account_id": AD_ACCOUNT, "custom_audience_id": audience, "users": PEOPLE}
    before = await _size(client, audience)
    refused = await _write(client, write)
    declined = await _size(client, audience)
    person.says_yes = True
    sent = await _write(client, write)
    after = await _size(client, audience)

    click.secho("\nThe audience's size, as CAMS tells it:", bold=True)
    click.echo(f"  before {before}, after the declined write {declined}, after the confirmed write {after}")
    if not (refused.is_error and declined == before and not sent.is_error and after == before + len(PEOPLE)):
        raise Failure("The demo did not go as it should. Please report it.")


def _announce(tool: str, arguments: dict[str, Any]) -> None:
    click.secho(f"\n{tool} {json.dumps(arguments, ensure_ascii=False)}", bold=True)


async def _call(client: Client, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    _announce(tool, arguments)
    result = await client.call_tool(tool, arguments)
    if result.is_error:
        raise Failure(_text(result))
    return result.structured_content


async def _write(client: Client, arguments: dict[str, Any]) -> types.CallToolResult:
    _announce("add_custom_audience_user", arguments | {"users": f"({len(PEOPLE)} people)"})
    result = await client.call_tool("add_custom_audience_user", arguments)
    click.echo(f"  {_text(result)}")
    return result


def _show(result: dict[str, Any], *elements: str) -> None:
    for row in result["data"]:
        click.echo("  " + ", ".join(f"{element} {row[element]}" for element in elements))
    click.echo(f"  {len(result['data'])} of {result['total']} rows; next_index {result.get('next_index')}")


async def _size(client: Client, audience: str) -> int:
    result = await client.call_tool("list_custom_audience", PAGE | {"custom_audience_id": audience})
    size: int = result.structured_content["data"][0]["token_total"]
    return size


def _text(result: types.CallToolResult) -> str:
    (block,) = result.content
    return block.text if isinstance(block, types.TextContent) else ""
