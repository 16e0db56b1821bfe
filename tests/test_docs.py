from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from generate import ROOT, generated

import cams_mcp


@pytest.mark.parametrize("path", generated(), ids=lambda path: path.name)
def test_a_generated_part_is_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == generated()[path], "run: python tests/generate.py"


def test_there_is_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    server = json.loads((ROOT / "server.json").read_text(encoding="utf-8"))

    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "cams_mcp/__init__.py"
    assert server["version"] == server["packages"][0]["version"] == cams_mcp.__version__


def test_the_changelog_begins_with_this_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)

    assert headings[0] == cams_mcp.__version__


def test_the_readme_names_the_server_for_the_registry() -> None:
    name = json.loads((ROOT / "server.json").read_text(encoding="utf-8"))["name"]

    assert f"mcp-name: {name}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_ci_step_that_tests_is_the_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python3 -m venv .*$", readme, re.MULTILINE)
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")

    assert len(commands) == 2
    assert all(command in script for command in commands)
