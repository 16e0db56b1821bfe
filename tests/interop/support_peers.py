"""What the tests with real peers need: our server as a program, the peers that `install` installed, and one job.

The job is the same for every peer: list the tools, read, refuse a write, confirm another one. A peer's own small
program does it with the peer's own means and prints what it saw as JSON. What counts is the sandbox's record: the
refused write must not be there, the confirmed one must be there once.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import TARGET, VALID_ARGUMENTS, people, writes_that_arrived
from support_cli import environment

from cams_mcp.sandbox import SANDBOX_KEY, Sandbox

HERE = Path(__file__).parent
NODE_PROGRAMS = HERE / "node"
NODE_MODULES = NODE_PROGRAMS / "node_modules"
VENVS = HERE / ".venvs"
NEEDS_NODE = (22, 19)
SECONDS = 90
LISTENING = "Listening on "

WRITE = "add_custom_audience_user"
REFUSED = TARGET | {"users": people(120)}
CONFIRMED = TARGET | {"users": people(130, start=1000)}
JOB = {
    "read": {"name": "list_instance", "arguments": {"page_size": 3}},
    "write": WRITE,
    "refused": REFUSED,
    "confirmed": CONFIRMED,
}


class Server:
    """`cams-mcp` as users start it, with this endpoint, and its state under `folder`."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        self.folder = folder
        key = ["--access-key-id", SANDBOX_KEY.id, "--access-key-secret", SANDBOX_KEY.secret]
        state = ["--state-dir", str(folder / "state")]
        self.command = [sys.executable, "-m", "cams_mcp", "serve", "--endpoint", endpoint, *key, *state]

    @contextmanager
    def listening(self) -> Generator[str]:
        """Run it over Streamable HTTP; gives its URL."""
        with listening([*self.command, "--transport", "http", "--port", "0"], self.folder) as url:
            yield url


@contextmanager
def listening(command: list[str], home: Path) -> Generator[str]:
    """Run a `cams-mcp` that listens; gives its URL."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment(home), cwd=home)
    watchdog = threading.Timer(2 * SECONDS, process.kill)
    watchdog.start()
    try:
        assert process.stderr is not None
        yield next(line.removeprefix(LISTENING).strip() for line in process.stderr if line.startswith(LISTENING))
    finally:
        process.kill()
        process.communicate()
        watchdog.cancel()


def node() -> str:
    """A Node that is new enough for every peer: `install` makes one if the system has none."""
    own = VENVS / "node" / "bin" / "node"
    program = str(own) if own.exists() else shutil.which("node")
    if program is None:
        pytest.skip("there is no Node; tests/interop/install gets one")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    if tuple(map(int, version.strip().removeprefix("v").split(".")[:2])) < NEEDS_NODE:
        pytest.skip(f"Node {version.strip()} is too old for the peers; tests/interop/install gets another")
    return program


def node_package(name: str, program: str) -> list[str]:
    """The command of a program of an npm package."""
    path = NODE_MODULES / name / program
    if not path.exists():
        pytest.skip(f"the npm package {name} is missing; tests/interop/install gets it")
    return [node(), str(path)]


def node_program(name: str, package: str) -> list[str]:
    """The command of a program of ours that uses an npm package."""
    if not (NODE_MODULES / package).exists():
        pytest.skip(f"the npm package {package} is missing; tests/interop/install gets it")
    return [node(), str(NODE_PROGRAMS / name)]


def python_program(name: str, venv: str) -> list[str]:
    """The command of a program of ours that runs in a peer's venv."""
    python = VENVS / venv / "bin" / "python"
    if not python.exists():
        pytest.skip(f"the venv of {venv} is missing; tests/interop/install makes it")
    return [str(python), str(HERE / "python" / name)]


def run(command: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    """Run a peer to its end, with nothing of this machine in its environment."""
    return subprocess.run(
        command, env=environment(home), cwd=home, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def do_job(command: list[str], home: Path, **more: Any) -> dict[str, Any]:
    """Have a peer do the job; gives its report."""
    done = run([*command, json.dumps(JOB | more)], home)
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def check_tools_and_read(report: dict[str, Any]) -> None:
    assert report["tools"] == list(VALID_ARGUMENTS)
    assert [row["cust_space_id"] for row in report["read"]["data"]][:1] == [TARGET["cust_space_id"]]
    assert len(report["read"]["data"]) == 3
    assert report["read"]["has_more"] is True


def check_questions(report: dict[str, Any]) -> None:
    """The peer's person was asked about each write, in words that name it, and their no was told as such."""
    about_refused, about_confirmed = report["questions"]
    assert about_refused.startswith('Add 120 people to the Meta custom audience "VIP-Q1-1"?')
    assert about_confirmed.startswith('Add 130 people to the Meta custom audience "VIP-Q1-1"?')
    assert "Nothing was sent: the user declined." in report["refused"]
    assert report["confirmed"]["status"] == "sent"


def check_previews(report: dict[str, Any]) -> None:
    """The peer got a preview of each write."""
    assert report["questions"] == []
    preview = json.loads(report["refused"])
    assert preview["status"] == "confirmation_required"
    assert preview["preview"].startswith('Add 120 people to the Meta custom audience "VIP-Q1-1"?')
    assert report["confirmed"]["status"] == "sent"


def check_what_arrived(sandbox: Sandbox) -> None:
    """Exactly the confirmed write arrived, once, as it was confirmed."""
    (write,) = writes_that_arrived(sandbox)
    assert json.loads(write.parameters["Users"]) == [{"Email": user["email"]} for user in CONFIRMED["users"]]
    assert sandbox.people(TARGET["custom_audience_id"]) == {(user["email"], None) for user in CONFIRMED["users"]}
