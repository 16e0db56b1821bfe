"""`cams-mcp tools`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from cams_mcp.cli.options import option, with_options
from cams_mcp.tools.definitions import load_catalog


@click.command("tools")
@with_options(
    "read_only",
    # The folder need not exist: only `serve` reads files.
    option("upload_dirs", path="folder"),
    click.option("--json", "as_json", is_flag=True, help="Print the definitions as MCP sends them."),
)
def command(read_only: bool, upload_dirs: tuple[Path, ...], as_json: bool) -> None:
    """List the tools and their arguments."""
    tools = load_catalog(read_only=read_only, uploads=bool(upload_dirs))
    if as_json:
        dumped = [tool.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in tools]
        click.echo(json.dumps(dumped, indent=2, ensure_ascii=False))
        return
    for tool in tools:
        kind = "reads" if tool.annotations and tool.annotations.read_only_hint else "writes, after confirmation"
        click.secho(f"{tool.name} ({kind})", bold=True)
        click.echo(click.wrap_text(tool.description or "", 100, "  ", "  "))
        rows = _rows(tool.input_schema)
        widths = [max(len(row[column]) for row in rows) for column in range(2)]
        for name, form, description in rows:
            click.echo(f"    {name:{widths[0]}}  {form:{widths[1]}}  {description}".rstrip())
        click.echo()
    if more := [name for name in load_catalog(read_only=read_only, uploads=True).names if tools.find(name) is None]:
        click.echo(f"Add --upload-dir FOLDER for the file tools: {', '.join(more)}.")


def _rows(schema: dict[str, Any], prefix: str = "") -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    for name, node in schema["properties"].items():
        form = node["type"] + (", required" if name in schema.get("required", ()) else "")
        if "default" in node:
            form += f", default {node['default']}"
        rows.append((f"{prefix}{name}", form, node.get("description", "")))
        inner = node.get("items", node)
        if "properties" in inner:
            rows += _rows(inner, f"{prefix}{name}{'[]' if 'items' in node else ''}.")
    return rows
