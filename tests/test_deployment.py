"""What can be checked of deploy/ without a container engine: that parsers read it and that it names what exists."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest
import yaml
from generate import ROOT

from cams_mcp.cli import cli

DEPLOY = ROOT / "deploy"
FILES = [*DEPLOY.iterdir()]


def variables_of_serve() -> set[str]:
    command = cli.get_command(click.Context(cli), "serve")
    assert command
    return {str(option.envvar) for option in command.params if option.envvar}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_variable_of_a_deployment_is_an_option(path: Path) -> None:
    named = set(re.findall(r"CAMS_MCP_[A-Z_]+", path.read_text(encoding="utf-8")))

    assert named <= variables_of_serve()


def test_kubernetes_and_compose_are_yaml_with_the_promised_safeguards() -> None:
    deployment, service = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]

    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert deployment["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
    assert set(compose) == {"nginx", "cams-mcp", "redis"}
    assert compose["cams-mcp"]["read_only"] is True


def test_the_image_runs_as_nobody_special_and_knows_its_health() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")

    assert re.search(r"^USER cams$", dockerfile, re.MULTILINE)
    assert "/healthz" in dockerfile
    assert dockerfile.index("USER cams") < dockerfile.index("ENTRYPOINT")


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_reads_the_snippet(tmp_path: Path) -> None:
    # The service's name is known inside of the compose network only.
    snippet = (DEPLOY / "nginx.conf").read_text(encoding="utf-8").replace("cams-mcp:8000", "127.0.0.1:8000")
    config = tmp_path / "nginx.conf"
    config.write_text(f"pid {tmp_path}/pid;\nevents {{}}\nhttp {{\n{snippet}\n}}\n", encoding="utf-8")

    command = ["nginx", "-t", "-c", str(config), "-p", str(tmp_path), "-e", f"{tmp_path}/error.log"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert done.returncode == 0, done.stderr
