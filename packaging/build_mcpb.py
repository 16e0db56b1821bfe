"""Build the Claude Desktop bundle: python packaging/build_mcpb.py [FOLDER]. The default folder is dist/.

An MCPB file is a zip archive with a manifest. With server type `uv`, the client provides Python and installs the
dependencies listed in the bundled pyproject.toml. The bundle contains the package itself.
"""

from __future__ import annotations

import json
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from cams_mcp import __version__  # noqa: E402 - of these sources, not of what is installed
from cams_mcp.settings import OPTIONS  # noqa: E402

PACKAGE = ROOT / "cams_mcp"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ENTRY_POINT = "main.py"
WHEN = (2026, 1, 1, 0, 0, 0)
"""Timestamp of every file in the zip, so that the same sources produce the same bundle."""

MAIN = '''\
"""Start cams-mcp with the settings stored in the client."""

import os

for name in [name for name in os.environ if name.startswith("CAMS_MCP_")]:
    # Clients pass an unset option as an empty string or as the unexpanded ${...} reference.
    if not os.environ[name].strip() or os.environ[name].startswith("${"):
        del os.environ[name]

from cams_mcp.cli import main  # noqa: E402

main()
'''

USER_SETTINGS = {
    "access_key_id": "Access key ID",
    "access_key_secret": "Access key secret",
    "region": "Region",
    "read_only": "Read only",
    "upload_dirs": "Upload folder",
    "sandbox": "Sandbox",
}
"""The options that a user sees, with their titles."""


def user_settings() -> dict[str, tuple[str, dict[str, Any]]]:
    """What a user can set, with the environment variable that each becomes."""
    settings: dict[str, tuple[str, dict[str, Any]]] = {}
    for name, title in USER_SETTINGS.items():
        option = OPTIONS[name]
        about: dict[str, Any] = {
            "type": "boolean" if option.type is bool else "directory" if option.path else "string",
            "title": title,
            "description": option.help,
            "required": False,
        }
        about |= {"sensitive": True} if option.secret else {}
        about |= {} if option.default in (None, ()) else {"default": option.default}
        settings[option.variable.removeprefix("CAMS_MCP_").lower()] = (option.variable, about)
    return settings


def manifest() -> dict[str, Any]:
    stored = json.loads((PACKAGE / "tools" / "tools.json").read_text(encoding="utf-8"))
    tools = [*stored["operations"], *stored["files"]]
    return {
        "manifest_version": "0.4",
        "name": PROJECT["name"],
        "display_name": "Alibaba Cloud CAMS",
        "version": __version__,
        "description": PROJECT["description"],
        "author": {"name": PROJECT["authors"][0]["name"], "url": PROJECT["urls"]["Source"]},
        "repository": {"type": "git", "url": PROJECT["urls"]["Source"]},
        "documentation": PROJECT["urls"]["Source"],
        "license": PROJECT["license"],
        "keywords": PROJECT["keywords"],
        "server": {
            "type": "uv",
            "entry_point": ENTRY_POINT,
            "mcp_config": {
                "command": "uv",
                "args": ["run", "--directory", "${__dirname}", ENTRY_POINT],
                "env": {variable: f"${{user_config.{name}}}" for name, (variable, _) in user_settings().items()},
            },
        },
        "tools": [{"name": tool["name"], "description": tool["title"]} for tool in tools],
        # The available tools and prompts depend on the settings.
        "tools_generated": True,
        "prompts_generated": True,
        "user_config": {name: about for name, (_, about) in user_settings().items()},
        "compatibility": {
            "platforms": ["darwin", "win32", "linux"],
            "runtimes": {"python": PROJECT["requires-python"]},
        },
    }


def pyproject() -> str:
    """A project file with dependencies only, so that nothing is built on the user's machine."""
    dependencies = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["xlsx"]]
    lines = "".join(f"  {json.dumps(dependency)},\n" for dependency in dependencies)
    return (
        f'[project]\nname = "{PROJECT["name"]}-bundle"\nversion = "{__version__}"\n'
        f'requires-python = "{PROJECT["requires-python"]}"\ndependencies = [\n{lines}]\n\n[tool.uv]\npackage = false\n'
    )


def files() -> dict[str, bytes]:
    """The bundle's contents by path."""
    sources = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    own = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in sorted(sources)}
    made = {
        "manifest.json": json.dumps(manifest(), indent=2, ensure_ascii=False) + "\n",
        "pyproject.toml": pyproject(),
        ENTRY_POINT: MAIN,
    }
    texts = {name: (ROOT / name).read_bytes() for name in ("README.md", "LICENSE")}
    return {name: text.encode() for name, text in made.items()} | texts | own


def build(folder: Path) -> Path:
    """Write the bundle to `folder` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    bundle = folder / f"{PROJECT['name']}-{__version__}.mcpb"
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files().items():
            entry = zipfile.ZipInfo(name, WHEN)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return bundle


if __name__ == "__main__":
    print(build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"))
