"""Applies the worked examples of CONTRIBUTING.md to a copy of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]

LEFT_BEHIND = shutil.ignore_patterns(
    ".git", ".venv", ".venvs", "node_modules", "__pycache__", ".hypothesis", ".*_cache", "dist", "build", "*.egg-info"
)
_BLOCK = re.compile(
    r'^( *)```(?:python|text) title="(?P<file>[^"]+)"(?P<line> line)?\n(?P<code>.*?)^\1```$', re.MULTILINE | re.DOTALL
)


def copy_with_examples(copy: Path) -> None:
    """Copy the project to `copy`, add the modules and lines of the examples, and write the generated parts."""
    shutil.copytree(ROOT, copy, ignore=LEFT_BEHIND)
    text = (copy / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for block in _BLOCK.finditer(text):
        code, path = textwrap.dedent(block["code"]), copy / block["file"]
        path.write_text(_registered(path, code) if block["line"] else code, encoding="utf-8")
    run_in(copy, "tests/generate.py")


def run_in(copy: Path, *arguments: str) -> str:
    """Run Python with the package of `copy`; returns the output.

    Raises:
        AssertionError: it failed.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "CAMS_MCP_"))}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env=environment | {"PYTHONPATH": str(copy)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def _registered(registry: Path, line: str) -> str:
    """The registry with one more line at the end of NAMES."""
    before, end, after = registry.read_text(encoding="utf-8").partition("\n)\n")
    return f"{before}\n    {line.strip()}{end}{after}"
