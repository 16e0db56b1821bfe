"""Write the generated parts: the tool snapshot, tables and examples of README and docs, variables of server.json.

Run: python tests/generate.py. `test_docs.py` fails while a part is not what this writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from support_examples import approval_example, preview_example

from cams_mcp import __version__
from cams_mcp.cli.clients import CLIENTS, Client, Server
from cams_mcp.cli.ram_policy import ram_policy
from cams_mcp.sandbox import FAULTS
from cams_mcp.server.resources import reference
from cams_mcp.settings import GROUPS, OPTIONS, Option
from cams_mcp.tools.definitions import SNAPSHOT, load_catalog, render_snapshot

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
CHINESE_README = ROOT / "README.zh-CN.md"
REFERENCE_DOC = ROOT / "docs" / "reference.md"
APPROVAL_DOC = ROOT / "docs" / "approval.md"
OPTIONS_DOC = ROOT / "docs" / "options.md"
SANDBOX_DOC = ROOT / "docs" / "sandbox.md"
SERVER_JSON = ROOT / "server.json"
CLIENTS_DOC = ROOT / "docs" / "clients.md"
DIAGNOSIS_DOC = ROOT / "docs" / "diagnosis.md"

CHINESE = {"Tool": "工具", "What it does": "功能", "Required arguments": "必填参数"}
"""Headings of tables. The cells are texts of the program, which are English."""


def tools_table() -> str:
    rows = []
    for tool in load_catalog(uploads=True):
        required = [f"`{name}`" for name in tool.input_schema.get("required", [])]
        rows.append((f"`{tool.name}`", _first_sentence(tool.description or ""), ", ".join(required) or "none"))
    return _table(("Tool", "What it does", "Required arguments"), rows)


def options_tables() -> str:
    """A table for each group of options."""
    tables = []
    for group, title in GROUPS.items():
        rows: list[tuple[str, ...]] = []
        for option in OPTIONS.values():
            if option.group == group:
                default = f"`{_default(option)}`" if _default(option) else ""
                rows.append((_names(option), f"`{option.variable}`", default, option.description))
        tables.append(f"### {title}\n\n" + _table(("Option", "Environment variable", "Default", "Meaning"), rows))
    return "\n\n".join(tables)


def faults_table() -> str:
    return _table(("Fault", "The sandbox"), [(f"`{name}`", does) for name, (_, does) in FAULTS.items()])


def server_json() -> str:
    """server.json as the MCP registry takes it; checked against its public schema before each release."""
    package = {
        "registryType": "pypi",
        "identifier": "cams-mcp",
        "version": __version__,
        "runtimeHint": "uvx",
        "transport": {"type": "stdio"},
        "environmentVariables": list(_environment()),
    }
    document = {
        "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
        "name": "io.github.cams-mcp/cams-mcp",
        "title": "Alibaba Cloud CAMS",
        "description": "WhatsApp, Messenger, Instagram and Viber on Alibaba Cloud CAMS, with guarded writes",
        "version": __version__,
        "repository": {"url": "https://github.com/cams-mcp/cams-mcp", "source": "github"},
        "packages": [package],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def tables() -> dict[str, str]:
    return {"tools": tools_table(), "approval": approval_example()}


def readme() -> str:
    return _filled(README, tables())


def chinese_readme() -> str:
    """README.zh-CN.md: the same parts, tables under Chinese headings."""
    return _filled(CHINESE_README, {name: _with_chinese_head(part) for name, part in tables().items()})


def _with_chinese_head(table: str) -> str:
    lines = table.splitlines()
    for number, (line, below) in enumerate(pairwise(lines)):
        if below.startswith("| --- "):
            lines[number] = f"| {' | '.join(CHINESE[cell.strip()] for cell in line.strip('|').split('|'))} |"
    return "\n".join(lines)


def reference_doc() -> str:
    """docs/reference.md: what an assistant reads as `cams://reference`, of all tools."""
    return reference([tool.name for tool in load_catalog(uploads=True)])


def clients_doc() -> str:
    """docs/clients.md: what `cams-mcp config` prints, and where it belongs."""
    started = Server(command="/path/to/cams-mcp")
    referring = Server(command="/path/to/cams-mcp", refer_to_key=True)
    parts = {f"config {client.name}": _example(client, started) for client in CLIENTS.values()}
    for name in ("vscode", "claude-code", "cursor", "codex-cli"):
        parts[f"key {name}"] = _example(CLIENTS[name], referring)
    return _filled(CLIENTS_DOC, parts | {"files": files_table()})


def files_table() -> str:
    home = {"HOME": "~", "USERPROFILE": "%USERPROFILE%", "APPDATA": "%APPDATA%"}
    rows = []
    for client in CLIENTS.values():
        paths = [f"`{client.path(platform, home)}`" for platform in ("linux", "darwin", "win32")]
        if client.place:
            rows.append((client.title, f"`{client.name}`", *paths))
    return _table(("Client", "CLIENT", "Linux", "macOS", "Windows"), rows)


def diagnosis_doc() -> str:
    policy = json.dumps(ram_policy(read_only=False), indent=2)
    return _filled(DIAGNOSIS_DOC, {"ram-policy": f"```json\n{policy}\n```"})


def _example(client: Client, server: Server) -> str:
    return f"```{client.form}\n{client.render(client.document(server))}```"


def _filled(path: Path, parts: dict[str, str]) -> str:
    """The text at `path` with these parts between their marks."""
    text = path.read_text(encoding="utf-8")
    for name, part in parts.items():
        pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text, found = pattern.subn(lambda match, part=part: f"{match[1]}{part}\n{match[2]}", text)
        assert found == 1, f"{path.name} has no place for {name}"
    return text


def generated() -> dict[Path, str]:
    """Every generated file with what it must hold."""
    return {
        SNAPSHOT: render_snapshot(),
        README: readme(),
        CHINESE_README: chinese_readme(),
        REFERENCE_DOC: reference_doc(),
        APPROVAL_DOC: _filled(APPROVAL_DOC, {"preview": preview_example()}),
        OPTIONS_DOC: _filled(OPTIONS_DOC, {"options": options_tables()}),
        SANDBOX_DOC: _filled(SANDBOX_DOC, {"faults": faults_table()}),
        SERVER_JSON: server_json(),
        CLIENTS_DOC: clients_doc(),
        DIAGNOSIS_DOC: diagnosis_doc(),
    }


def _names(option: Option) -> str:
    return f"`{option.flag}` / `{_opposite(option)}`" if option.type is bool else f"`{option.flag}`"


def _opposite(option: Option) -> str:
    return option.flag.replace("--", "--no-", 1)


def _default(option: Option) -> str:
    if option.default in (None, ()):
        return ""
    return _opposite(option) if option.default is False else str(option.default)


def _environment() -> Iterable[dict[str, Any]]:
    for variable, about in (
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", "Access key ID of the RAM user. The default credential chain reads it."),
        ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "Access key secret."),
    ):
        yield {"name": variable, "description": about, "isSecret": True}
    for option in OPTIONS.values():
        # A client that runs the package speaks stdio.
        if option.group != "http":
            yield _variable(option)


def _variable(option: Option) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": option.variable, "description": option.help}
    if option.repeatable:
        several = "the path separator (: or ;)" if option.path else "spaces"
        entry["description"] += f" Separate several with {several}."
    if option.type is bool:
        entry |= {"format": "boolean", "default": str(option.default).lower()}
    elif option.value_type in (int, float):
        entry["format"] = "number"
    if "default" not in entry and _default(option):
        entry["default"] = _default(option)
    if option.choices:
        entry["choices"] = list(option.choices)
    return entry | ({"isSecret": True} if option.secret else {})


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.)\s", " ".join(text.split()), maxsplit=1)[0]


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


if __name__ == "__main__":
    # First: the other parts are made from it.
    SNAPSHOT.write_text(render_snapshot(), encoding="utf-8")
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")
