"""`cams-mcp config`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cams_mcp.api.endpoint import Endpoint
from cams_mcp.cli.clients import CLIENTS, Client, Server
from cams_mcp.cli.config_files import write_merged
from cams_mcp.cli.options import errors_shown, option, with_options
from cams_mcp.errors import ConfigurationError

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@click.command("config")
@click.argument("client", type=click.Choice(list(CLIENTS)))
@with_options(
    click.option("--name", default="cams", show_default=True, help="Name of the server in the client."),
    "sandbox",
    "read_only",
    option("region", default=None, help="CAMS region, if not the default."),
    click.option("--profile", help="Profile of `aliyun configure`, if not the current one."),
    click.option(
        "--refer-to-key",
        is_flag=True,
        help="Use an access key instead of a profile: VS Code prompts for it; other clients read "
        "ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET from their own environment.",
    ),
    click.option("--command", "program", help="Command that starts cams-mcp. Defaults to the running installation."),
    click.option("--uvx", is_flag=True, help="Start cams-mcp with uvx, which downloads it on demand."),
    click.option("--write", is_flag=True, help="Merge it into the client's file, and keep a backup next to the file."),
    click.option(
        "--path",
        type=click.Path(path_type=Path, dir_okay=False),
        help="The client's file, if not in the default location.",
    ),
    click.option("--force", is_flag=True, help="With --write: replace a different server of the same name."),
)
def command(client: str, write: bool, path: Path | None, force: bool, **wanted: Any) -> None:
    """Print the configuration that connects CLIENT to this server, or merge it into the client's file with --write.

    The configuration contains no secrets: cams-mcp reads the access key from where Alibaba Cloud's tools keep it
    (`aliyun configure`).
    """
    with errors_shown():
        chosen = CLIENTS[client]
        server = describe(**wanted)
        document = chosen.document(server)
        if not write:
            click.echo(chosen.render(document), nl=False)
            click.echo(_note(chosen, server, path, os.environ), err=True)
            return
        file = path or _file_of(chosen, os.environ)
        written = write_merged(file, chosen, document, force=force)
    if not written.changed:
        click.echo(f"Nothing to do: {file} is already up to date.", err=True)
        return
    click.echo(f"Added {server.name} to {file}. {chosen.apply}", err=True)
    if written.backup:
        click.echo(f"Backup of the previous file: {written.backup}", err=True)


def describe(
    *,
    name: str,
    sandbox: bool,
    read_only: bool,
    region: str | None,
    profile: str | None,
    refer_to_key: bool,
    program: str | None,
    uvx: bool,
) -> Server:
    """Build the server entry from the options.

    Raises:
        ConfigurationError: options are invalid or mutually exclusive.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            "--name contains characters that some clients reject.", hint="Use letters, digits, - and _."
        )
    if sum([sandbox, profile is not None, refer_to_key]) > 1:
        raise ConfigurationError(
            "--sandbox, --profile and --refer-to-key are mutually exclusive.", hint="The sandbox needs no access key."
        )
    if program and uvx:
        raise ConfigurationError("--command and --uvx are mutually exclusive.")
    args = ["--sandbox"] if sandbox else []
    args += ["--read-only"] if read_only else []
    if region:
        Endpoint.of_region(region)  # validates the region
        args += ["--region", region]
    start = [program] if program else ["uvx", "cams-mcp"] if uvx else own_command(sys.argv[0], sys.executable)
    return Server(name=name, command=start[0], args=(*start[1:], *args), profile=profile, refer_to_key=refer_to_key)


def own_command(started_as: str, python: str) -> list[str]:
    """Return the command that starts this installation: the console script if found, else the module."""
    script = Path(started_as)
    if script.stem == "cams-mcp" and script.is_file():
        return [os.path.abspath(script)]  # noqa: PTH100 - keep symlinks, because an upgrade may move their target
    for script_path in (Path(python).with_name("cams-mcp"), Path(python).with_name("cams-mcp.exe")):
        if script_path.is_file():
            return [str(script_path)]
    return [python, "-m", "cams_mcp"]


def _file_of(client: Client, environment: Mapping[str, str]) -> Path:
    path = client.path(sys.platform, environment)
    if path is None:
        raise ConfigurationError("This format has no default file.", hint="Specify the client's file with --path.")
    return Path(path)


def _note(client: Client, server: Server, path: Path | None, environment: Mapping[str, str]) -> str:
    if client.place is None:
        start = " ".join([server.command, *server.args, "--transport http"])
        return f"\nStart the server first: {start}\n{client.apply}"
    file = path or _file_of(client, environment)
    return f"\nAdd this to {file}, or run again with --write to merge it. {client.apply}"
