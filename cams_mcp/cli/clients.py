"""Configuration formats and file locations of MCP clients.

Everything here is a pure function of the platform, the environment and the request. The formats follow the document
that each client names as its `source`, as of 2026.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from cams_mcp.errors import ConfigurationError

KEY_VARIABLES = {
    "ALIBABA_CLOUD_ACCESS_KEY_ID": ("access-key-id", "Alibaba Cloud access key id, for CAMS"),
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": ("access-key-secret", "Alibaba Cloud access key secret, for CAMS"),
}
"""Environment variables of the default credential chain, each with an input id and a prompt for it."""

PROFILE_VARIABLE = "ALIBABA_CLOUD_PROFILE"
HTTP_URL = "http://127.0.0.1:8000/mcp"

Place = Callable[[str, Mapping[str, str]], PurePath]
"""Returns a file location for a platform (as in sys.platform) and an environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The server entry: how a client starts cams-mcp, and under which name.

    Attributes:
        profile: a profile of `aliyun configure`. None leaves the choice to the default credential chain.
        refer_to_key: reference the access key through the client's own mechanism.
    """

    name: str = "cams"
    command: str
    args: tuple[str, ...] = ()
    profile: str | None = None
    refer_to_key: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One MCP client.

    Attributes:
        servers: name of the configuration table that lists the servers.
        place: locates the user's configuration file. None if there is no such file.
        source: the document that specifies the format.
        apply: tells the user how to make the client load the file.
        kind: extra fields of an entry besides command, args and env.
        reference: syntax to reference one of the client's environment variables in `env`. None if not supported.
        prompts_for_secrets: the client prompts for secrets ("inputs") and stores them securely.
    """

    name: str
    title: str
    servers: str = "mcpServers"
    place: Place | None
    source: str
    apply: str
    kind: Mapping[str, str] = field(default_factory=dict[str, str])
    reference: str | None = None
    prompts_for_secrets: bool = False
    form: Literal["json", "toml"] = "json"

    def path(self, platform: str, environment: Mapping[str, str]) -> PurePath | None:
        """Return the user's configuration file on this platform.

        Raises:
            ConfigurationError: the environment does not define the home directory.
        """
        return self.place(platform, environment) if self.place else None

    def document(self, server: Server) -> dict[str, Any]:
        """Return the settings to add to the client's configuration.

        Raises:
            ConfigurationError: the client cannot reference an access key.
        """
        document: dict[str, Any] = {self.servers: {server.name: self._entry(server)}}
        if self.prompts_for_secrets and server.refer_to_key:
            document["inputs"] = [
                {"type": "promptString", "id": f"{server.name}-{name}", "description": prompt, "password": True}
                for name, prompt in KEY_VARIABLES.values()
            ]
        return document

    def render(self, document: Mapping[str, Any], indent: str = "  ") -> str:
        """Format the document for the client's file."""
        if self.form == "json":
            return json.dumps(document, indent=indent, ensure_ascii=False) + "\n"
        lines: list[str] = []
        for name, entry in document[self.servers].items():
            lines += [f"[{self.servers}.{name}]", *(f"{key} = {_toml(value)}" for key, value in entry.items())]
        return "\n".join(lines) + "\n"

    def _entry(self, server: Server) -> dict[str, Any]:
        if self.place is None:
            return {"type": "http", "url": HTTP_URL}
        # Zed requires args even if empty.
        entry: dict[str, Any] = {**self.kind, "command": server.command, "args": list(server.args)}
        if server.refer_to_key and self.form == "toml":
            entry["env_vars"] = list(KEY_VARIABLES)
        elif server.refer_to_key:
            entry["env"] = self._references(server)
        if server.profile:
            entry["env"] = {PROFILE_VARIABLE: server.profile}
        return entry

    def _references(self, server: Server) -> dict[str, str]:
        if self.prompts_for_secrets:
            return {variable: f"${{input:{server.name}-{name}}}" for variable, (name, _) in KEY_VARIABLES.items()}
        if self.reference is None:
            raise ConfigurationError(
                f"{self.title} cannot reference an access key: its file would contain the key in plain text.",
                hint="Omit --refer-to-key and run `aliyun configure`; select a profile with --profile.",
            )
        return {variable: self.reference.replace("VARIABLE", variable) for variable in KEY_VARIABLES}


def _toml(value: str | list[str] | dict[str, str]) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    # Strings and lists of strings have the same syntax in TOML and JSON.
    return json.dumps(value, ensure_ascii=False)


def _path(platform: str, *parts: str) -> PurePath:
    return PureWindowsPath(*parts) if platform == "win32" else PurePosixPath(*parts)


def home(platform: str, environment: Mapping[str, str]) -> PurePath:
    """Return the user's home directory.

    Raises:
        ConfigurationError: the environment does not define it.
    """
    variable = "USERPROFILE" if platform == "win32" else "HOME"
    if not environment.get(variable):
        raise ConfigurationError(
            f"Cannot locate the client's file because {variable} is not set.", hint="Specify the file with --path."
        )
    return _path(platform, environment[variable])


def _in_home(*parts: str) -> Place:
    return lambda platform, environment: home(platform, environment).joinpath(*parts)


def _in_config(*parts: str) -> Place:
    """A path under Electron's per-user configuration directory (`appData`)."""

    def place(platform: str, environment: Mapping[str, str]) -> PurePath:
        variable = {"win32": "APPDATA", "linux": "XDG_CONFIG_HOME"}.get(platform, "")
        if environment.get(variable):
            return _path(platform, environment[variable], *parts)
        usual = {"win32": ("AppData", "Roaming"), "darwin": ("Library", "Application Support")}
        return home(platform, environment).joinpath(*usual.get(platform, (".config",)), *parts)

    return place


def _zed_path(platform: str, environment: Mapping[str, str]) -> PurePath:
    if platform == "win32":
        return _in_config("Zed", "settings.json")(platform, environment)
    if platform == "darwin":
        return home(platform, environment) / ".config" / "zed" / "settings.json"
    return _in_config("zed", "settings.json")(platform, environment)


def _codex_path(platform: str, environment: Mapping[str, str]) -> PurePath:
    if environment.get("CODEX_HOME"):
        return _path(platform, environment["CODEX_HOME"], "config.toml")
    return home(platform, environment) / ".codex" / "config.toml"


_CLINE = ("Code", "User", "globalStorage", "saoudrizwan.claude-dev", "settings", "cline_mcp_settings.json")

CLIENTS: dict[str, Client] = {
    client.name: client
    for client in (
        Client(
            name="claude-desktop",
            title="Claude Desktop",
            place=_in_config("Claude", "claude_desktop_config.json"),
            source="Model Context Protocol documentation, Connect to local MCP servers",
            apply="Quit and restart Claude Desktop.",
        ),
        Client(
            name="claude-code",
            title="Claude Code",
            place=_in_home(".claude.json"),
            source="Claude Code documentation, Connect Claude Code to tools via MCP (user scope)",
            apply="Restart Claude Code; /mcp lists its servers.",
            kind={"type": "stdio"},
            reference="${VARIABLE}",
        ),
        Client(
            name="vscode",
            title="VS Code",
            servers="servers",
            place=_in_config("Code", "User", "mcp.json"),
            source="VS Code documentation, MCP configuration reference (user profile)",
            apply="Run `MCP: List Servers` in VS Code and start the server.",
            kind={"type": "stdio"},
            prompts_for_secrets=True,
        ),
        Client(
            name="cursor",
            title="Cursor",
            place=_in_home(".cursor", "mcp.json"),
            source="Cursor documentation, Model Context Protocol (MCP), Config interpolation",
            apply="Enable the server in Cursor's settings.",
            reference="${env:VARIABLE}",
        ),
        Client(
            name="windsurf",
            title="Windsurf",
            place=_in_home(".codeium", "windsurf", "mcp_config.json"),
            source="Windsurf documentation, Cascade MCP Integration, Config Interpolation",
            apply="Refresh the list of MCP servers in Windsurf.",
            reference="${env:VARIABLE}",
        ),
        Client(
            name="gemini-cli",
            title="Gemini CLI",
            place=_in_home(".gemini", "settings.json"),
            source="Gemini CLI documentation, MCP servers with Gemini CLI",
            apply="Restart Gemini CLI; /mcp lists its servers.",
            reference="${VARIABLE}",
        ),
        Client(
            name="codex-cli",
            title="Codex CLI",
            servers="mcp_servers",
            place=_codex_path,
            source="Codex documentation, Model Context Protocol, config.toml",
            apply="Restart Codex; /mcp lists its servers.",
            form="toml",
        ),
        Client(
            name="zed",
            title="Zed",
            servers="context_servers",
            place=_zed_path,
            source="Zed documentation, Model Context Protocol; Configuring Zed",
            apply="Zed reloads the file automatically; the server appears in the Agent settings.",
            kind={"source": "custom"},
        ),
        Client(
            name="cline",
            title="Cline",
            place=_in_config(*_CLINE),
            source="Cline documentation, Adding & Configuring Servers; cline/cline pull request 8079 (${env:})",
            apply="Cline reloads the file automatically; the server appears in its MCP Servers view.",
            reference="${env:VARIABLE}",
        ),
        Client(
            name="http",
            title="Streamable HTTP",
            place=None,
            source="the mcpServers format that most clients share; Claude Code documentation for type",
            apply="Where the entry belongs depends on the client; many accept just the URL.",
        ),
    )
}
"""Clients by the name that `cams-mcp config` accepts."""
