"""The bundle for Claude Desktop by its maker's own program, and the packages as `uv` and `uvx` run them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from generate import ROOT
from support_cli import environment
from support_packages import build_mcpb, connect_and_list
from support_peers import VENVS, node_package, run

import cams_mcp
from cams_mcp.tools.definitions import load_catalog

SECONDS = 300
FROM_OUTSIDE = ("UV_", "SSL_", "PIP_", "HTTP_PROXY", "HTTPS_PROXY")
"""Where this machine gets packages."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_mcpb.build(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def unpacked(bundle: Path) -> Path:
    folder = bundle.parent / "unpacked"
    done = run(
        [*node_package("@anthropic-ai/mcpb", "dist/cli/cli.js"), "unpack", str(bundle), str(folder)], folder.parent
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def program(name: str) -> str:
    own = VENVS / "uv" / "bin" / name
    found = str(own) if own.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name}; tests/interop/install gets it")
    return found


def with_packages(home: Path, env: dict[str, str] | None = None) -> dict[str, str]:
    outside = {name: value for name, value in os.environ.items() if name.startswith(FROM_OUTSIDE)}
    return environment(home, outside | (env or {}))


def test_the_makers_program_finds_the_manifest_valid(unpacked: Path) -> None:
    validate = [*node_package("@anthropic-ai/mcpb", "dist/cli/cli.js"), "validate", str(unpacked / "manifest.json")]

    done = run(validate, unpacked)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "passes" in done.stdout


def test_the_makers_program_finds_a_broken_manifest_not_valid(tmp_path: Path) -> None:
    manifest = build_mcpb.manifest()
    manifest["user_config"]["region"]["type"] = "colour"
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))

    done = run([*node_package("@anthropic-ai/mcpb", "dist/cli/cli.js"), "validate", "manifest.json"], tmp_path)

    assert done.returncode != 0


def test_the_bundle_starts_as_the_manifest_says(unpacked: Path, tmp_path: Path) -> None:
    config = json.loads((unpacked / "manifest.json").read_text(encoding="utf-8"))["server"]["mcp_config"]
    arguments = [argument.replace("${__dirname}", str(unpacked)) for argument in config["args"]]

    settings = {"CAMS_MCP_SANDBOX": "true", "CAMS_MCP_READ_ONLY": "false"}
    env = with_packages(tmp_path, config["env"] | settings)

    found = connect_and_list([program(config["command"]), *arguments], tmp_path, env, SECONDS)

    assert found["version"] == cams_mcp.__version__
    assert found["tools"] == [tool.name for tool in load_catalog()]


def test_uvx_runs_a_built_wheel(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
    (wheel,) = tmp_path.glob("*.whl")

    uvx = [program("uvx"), "--python", sys.executable, "--from", str(wheel), "cams-mcp", "--version"]
    done = subprocess.run(
        uvx, env=with_packages(tmp_path), cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == cams_mcp.__version__
