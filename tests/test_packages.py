"""What is published: the wheel, the bundle for Claude Desktop, server.json."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from generate import ROOT
from support_cli import environment
from support_packages import build_mcpb, connect_and_list
from test_architecture import MODULES, imported, source_of

import cams_mcp
from cams_mcp.tools.definitions import SNAPSHOT, load_catalog

SERVER = json.loads((ROOT / "server.json").read_text(encoding="utf-8"))
COME_WITH_OTHERS = {"cryptography", "mcp_types", "pydantic_core"}
"""Of pyjwt[crypto], mcp and pydantic."""
VARIABLES = {variable["name"]: variable for variable in SERVER["packages"][0]["environmentVariables"]}


def checked(*command: str | Path, **options: Any) -> str:
    """The standard output of a program that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    checked(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed. What it requires stays where it is; .ci/run installs that afresh."""
    folder = tmp_path_factory.mktemp("installed")
    checked(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, wheel)
    return folder


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_mcpb.build(tmp_path_factory.mktemp("bundle"))


def sources() -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "cams_mcp").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = archive.read(f"cams_mcp-{cams_mcp.__version__}.dist-info/METADATA").decode()

    assert names == sources()
    assert {"cams_mcp/tools/tools.json", "cams_mcp/py.typed"} <= names
    # The registry looks for this line in what PyPI shows.
    assert f"mcp-name: {SERVER['name']}" in metadata


def test_the_installed_wheel_runs(installed: Path, tmp_path: Path) -> None:
    elsewhere: dict[str, Any] = {"cwd": tmp_path, "env": environment(tmp_path, {"PYTHONPATH": str(installed)})}
    script = installed / "bin" / "cams-mcp"

    where = checked(sys.executable, "-c", "import cams_mcp; print(cams_mcp.__file__)", **elsewhere)
    assert Path(where.strip()).is_relative_to(installed)
    assert checked(script, "--version", **elsewhere).split()[-1] == cams_mcp.__version__
    listed = json.loads(checked(script, "tools", "--json", **elsewhere))
    assert [tool["name"] for tool in listed] == [tool.name for tool in load_catalog()]
    called = json.loads(checked(script, "call", "list_instance", "--sandbox", **elsewhere))
    assert called["success"] is True


def test_every_library_that_the_package_imports_is_required() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    required = [*project["dependencies"], *(each for name in ("otel", "redis", "xlsx") for each in extras[name])]
    names = {re.split(r"[^A-Za-z0-9._-]", each)[0].lower() for each in required}
    distributions = packages_distributions()
    imports = {name.partition(".")[0] for module in MODULES for name in imported(source_of(module))}
    libraries = imports - sys.stdlib_module_names - {"cams_mcp"}

    assert {"mcp", "httpx", "pydantic"} <= libraries
    of_libraries = {library: {each.lower() for each in distributions[library]} for library in libraries}
    assert {library for library, its in of_libraries.items() if not its & names} == COME_WITH_OTHERS


def test_the_bundle_holds_the_package_and_what_starts_it(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        names = set(archive.namelist())
        modes = {entry.external_attr >> 16 & 0o777 for entry in archive.infolist()}

    assert names == sources() | {"manifest.json", "pyproject.toml", "main.py", "README.md", "LICENSE"}
    assert modes == {0o644}


def test_the_same_sources_make_the_same_bundle(bundle: Path, tmp_path: Path) -> None:
    assert build_mcpb.build(tmp_path).read_bytes() == bundle.read_bytes()


def test_the_bundle_requires_what_the_package_requires() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bundled = tomllib.loads(build_mcpb.pyproject())

    assert bundled["project"]["dependencies"][: len(project["dependencies"])] == project["dependencies"]
    assert bundled["project"]["requires-python"] == project["requires-python"]
    assert bundled["project"]["version"] == cams_mcp.__version__


def test_the_settings_of_the_bundle_are_those_of_the_server() -> None:
    manifest = build_mcpb.manifest()
    settings, env = manifest["user_config"], manifest["server"]["mcp_config"]["env"]

    assert (manifest["manifest_version"], manifest["server"]["type"]) == ("0.4", "uv")
    assert {variable.removeprefix("CAMS_MCP_").lower() for variable in env} == set(settings)
    assert all(value == f"${{user_config.{name.removeprefix('CAMS_MCP_').lower()}}}" for name, value in env.items())
    assert env.keys() <= VARIABLES.keys()
    for name, about in settings.items():
        known = VARIABLES[f"CAMS_MCP_{name.upper()}"]
        default = about.get("default")
        assert (
            json.loads(known["default"]) is default if about["type"] == "boolean" else known.get("default") == default
        )
        assert about["required"] is False
    assert {name for name, about in settings.items() if about.get("sensitive")} == {
        "access_key_id",
        "access_key_secret",
    }


def test_the_manifest_names_every_tool() -> None:
    stored = json.loads(SNAPSHOT.read_text(encoding="utf-8"))

    named = [tool["name"] for tool in build_mcpb.manifest()["tools"]]
    assert named == [tool["name"] for kind in ("operations", "files") for tool in stored[kind]]


@pytest.mark.parametrize("read_only", [True, False])
def test_the_bundle_starts_with_what_was_left_empty_left_out(bundle: Path, tmp_path: Path, *, read_only: bool) -> None:
    home, folder = tmp_path / "home", tmp_path / "bundle"
    home.mkdir()
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    given = build_mcpb.manifest()["server"]["mcp_config"]["env"] | {
        "CAMS_MCP_SANDBOX": "true",
        "CAMS_MCP_READ_ONLY": str(read_only).lower(),
        "CAMS_MCP_REGION": "",
    }
    found = connect_and_list([sys.executable, "main.py"], folder, environment(home, given))

    assert found["version"] == cams_mcp.__version__
    assert found["tools"] == [tool.name for tool in load_catalog(read_only=read_only)]


def test_what_the_registry_shows_is_short_enough() -> None:
    assert 1 <= len(SERVER["description"]) <= 100
    assert 1 <= len(SERVER["title"]) <= 100
    assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", SERVER["name"])


def test_every_variable_of_the_registry_has_the_form_it_must_have() -> None:
    for name, variable in VARIABLES.items():
        assert re.fullmatch(r"[A-Z][A-Z0-9_]*", name)
        assert variable["description"]
        assert variable.keys() <= {"name", "description", "default", "choices", "format", "isSecret", "isRequired"}
        assert variable.get("format", "string") in {"string", "number", "boolean", "filepath"}
        assert isinstance(variable.get("default", ""), str)
        assert "choices" not in variable or variable.get("default") in variable["choices"]
    secret = re.compile("ACCESS_KEY|SECURITY_TOKEN|STORE$")
    assert {name for name, about in VARIABLES.items() if about.get("isSecret")} == set(filter(secret.search, VARIABLES))


def test_nothing_of_this_machine_is_in_the_bundle(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}

    assert [name for name, content in contents.items() if os.fsencode(ROOT) + b"/" in content] == []
