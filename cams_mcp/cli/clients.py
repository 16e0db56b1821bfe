"""What each MCP client wants to be told, and in which file.

Everything here is a pure function of the platform, the environment and what is asked for. The formats are those of the
documents that each client names as its `source`, as of 2026.
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
"""What the official credential chain reads from the environment: variable, name and words of a question for it."""

PROFILE_VARIABLE = "ALIBABA_CLOUD_PROFILE"
HTTP_URL = "http://127.0.0.1:8000/mcp"

Place = Callable[[str, Mapping[str, str]], PurePath]
"""From the platform (as sys.platform) and the environment to a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """How a client starts cams-mcp, and what it is called there.

    Attributes:
        profile: a profile of `aliyun configure`; None is the current one, or whatever else the official chain finds.
        refer_to_key: refer to the access key by the client's own means.
    """

    name: str = "cams"
    command: str
    args: tuple[str, ...] = ()
    profile: str | None = None
    refer_to_key: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One client.

    Attributes:
        servers: the table of its configuration that holds the servers.
        place: its user's file; None if there is none.
        source: the document that says so.
        apply: what makes it read the file.
        kind: what its entries say beside command, args and env.
        reference: how `env` refers to a variable of the client's own environment; None if it cannot.
        asks: it asks for secrets ("inputs") instead, and keeps them safe.
    """

    name: str
    title: str
    servers: str = "mcpServers"
    place: Place | None
    source: str
    apply: str
    kind: Mapping[str, str] = field(default_factory=dict[str, str])
    reference: str | None = None
    asks: bool = False
    form: Literal["json", "toml"] = "json"

    def path(self, platform: str, environment: Mapping[str, str]) -> PurePath | None:
        """The user's file on this platform.

        Raises:
            ConfigurationError: the environment does not tell the home directory.
        """
        return self.place(platform, environment) if self.place else None

    def document(self, server: Server) -> dict[str, Any]:
        """What to add to the client's configuration.

        Raises:
            ConfigurationError: the client cannot refer to an access key.
        """
        document: dict[str, Any] = {self.servers: {server.name: self._entry(server)}}
        if self.asks and server.refer_to_key:
            document["inputs"] = [
                {"type": "promptString", "id": f"{server.name}-{name}", "description": words, "password": True}
                for name, words in KEY_VARIABLES.values()
            ]
        return document

    def render(self, document: Mapping[str, Any], indent: str = "  ") -> str:
        """The document as text of the client's file."""
        if self.form == "json":
            return json.dumps(document, indent=indent, ensure_ascii=False) + "\n"
        lines: list[str] = []
        for name, entry in document[self.servers].items():
            lines += [f"[{self.servers}.{name}]", *(f"{key} = {_toml(value)}" for key, value in entry.items())]
        return "\n".join(lines) + "\n"

    def _entry(self, server: Server) -> dict[str, Any]:
        if self.place is None:
            return {"type": "http", "url": HTTP_URL}
        # Zed wants args even if there are none.
        entry: dict[str, Any] = {**self.kind, "command": server.command, "args": list(server.args)}
        if server.refer_to_key and self.form == "toml":
            entry["env_vars"] = list(KEY_VARIABLES)
        elif server.refer_to_key:
            entry["env"] = self._references(server)
        if server.profile:
            entry["env"] = {PROFILE_VARIABLE: server.profile}
        return entry

    def _references(self, server: Server) -> dict[str, str]:
        if self.asks:
            return {variable: f"${{input:{server.name}-{name}}}" for variable, (name, _) in KEY_VARIABLES.items()}
        if self.reference is None:
            raise ConfigurationError(
                f"{self.title} cannot refer to an access key: whatever its file holds is there in plain text.",
                hint="Leave --refer-to-key out and run `aliyun configure`; choose a profile with --profile.",
            )
        return {variable: self.reference.replace("VARIABLE", variable) for variable in KEY_VARIABLES}


def _toml(value: str | list[str] | dict[str, str]) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    # TOML and JSON write strings and lists of them alike.
    return json.dumps(value, ensure_ascii=False)


def _path(platform: str, *parts: str) -> PurePath:
    return PureWindowsPath(*parts) if platform == "win32" else PurePosixPath(*parts)


def home(platform: str, environment: Mapping[str, str]) -> PurePath:
    """The user's home directory.

    Raises:
        ConfigurationError: the environment does not tell it.
    """
    variable = "USERPROFILE" if platform == "win32" else "HOME"
    if not environment.get(variable):
        raise ConfigurationError(
            f"{variable} is not set, so where the client's file is cannot be told.", hint="Give it with --path."
        )
    return _path(platform, environment[variable])


def _in_home(*parts: str) -> Place:
    return lambda platform, environment: home(platform, environment).joinpath(*parts)


def _in_config(*parts: str) -> Place:
    """Under the user's configuration directory as Electron has it (`appData`)."""

    def place(platform: str, environment: Mapping[str, str]) -> PurePath:
        variable = {"win32": "APPDATA", "linux": "XDG_CONFIG_HOME"}.get(platform, "")
        if environment.get(variable):
            return _path(platform, environment[variable], *parts)
        usual = {"win32": ("AppData", "Roaming"), "darwin": ("Library", "Application Support")}
        return home(platform, environment).joinpath(*usual.get(platform, (".config",)), *parts)

    return place


def _of_zed(platform: str, environment: Mapping[str, str]) -> PurePath:
    if platform == "win32":
        return _in_config("Zed", "settings.json")(platform, environment)
    if platform == "darwin":
        return home(platform, environment) / ".config" / "zed" / "settings.json"
    return _in_config("zed", "settings.json")(platform, environment)


def _of_codex(platform: str, environment: Mapping[str, str]) -> PurePath:
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
            apply="Quit Claude Desktop and start it again.",
        ),
        Client(
            name="claude-code",
            title="Claude Code",
            place=_in_home(".claude.json"),
            source="Claude Code documentation, Connect Claude Code to tools via MCP (user scope)",
            apply="Start Claude Code again; /mcp lists its servers.",
            kind={"type": "stdio"},
            reference="${VARIABLE}",
        ),
        Client(
            name="vscode",
            title="VS Code",
            servers="servers",
            place=_in_config("Code", "User", "mcp.json"),
            source="VS Code documentation, MCP configuration reference (user profile)",
            apply="Run `MCP: List Servers` in VS Code and start it.",
            kind={"type": "stdio"},
            asks=True,
        ),
        Client(
            name="cursor",
            title="Cursor",
            place=_in_home(".cursor", "mcp.json"),
            source="Cursor documentation, Model Context Protocol (MCP), Config interpolation",
            apply="Switch the server on in Cursor's settings.",
            reference="${env:VARIABLE}",
        ),
        Client(
            name="windsurf",
            title="Windsurf",
            place=_in_home(".codeium", "windsurf", "mcp_config.json"),
            source="Windsurf documentation, Cascade MCP Integration, Config Interpolation",
            apply="Press refresh in Windsurf's list of MCP servers.",
            reference="${env:VARIABLE}",
        ),
        Client(
            name="gemini-cli",
            title="Gemini CLI",
            place=_in_home(".gemini", "settings.json"),
            source="Gemini CLI documentation, MCP servers with Gemini CLI",
            apply="Start Gemini CLI again; /mcp lists its servers.",
            reference="${VARIABLE}",
        ),
        Client(
            name="codex-cli",
            title="Codex CLI",
            servers="mcp_servers",
            place=_of_codex,
            source="Codex documentation, Model Context Protocol, config.toml",
            apply="Start Codex again; /mcp lists its servers.",
            form="toml",
        ),
        Client(
            name="zed",
            title="Zed",
            servers="context_servers",
            place=_of_zed,
            source="Zed documentation, Model Context Protocol; Configuring Zed",
            apply="Zed reads the file by itself; Agent settings show the server.",
            kind={"source": "custom"},
        ),
        Client(
            name="cline",
            title="Cline",
            place=_in_config(*_CLINE),
            source="Cline documentation, Adding & Configuring Servers; cline/cline pull request 8079 (${env:})",
            apply="Cline reads the file by itself; its MCP Servers view shows the server.",
            reference="${env:VARIABLE}",
        ),
        Client(
            name="http",
            title="Streamable HTTP",
            place=None,
            source="the mcpServers form that clients share; Claude Code documentation for type",
            apply="Where the server's entry goes is the client's matter; many take the address alone.",
        ),
    )
}
"""By the name that `cams-mcp config` takes."""
