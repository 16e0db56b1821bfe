"""`cams-mcp demo`: what a new user sees first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support_cli import SECONDS, environment, run

from cams_mcp.operations import OPERATIONS

IMPORTS = """
from cams_mcp.cli import demo
from cams_mcp.operations import ADD_CUSTOM_AUDIENCE_USER as write, LIST_CUSTOM_AUDIENCE as first_list
"""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("write.example['users'][50:] = []", "The demo failed"),
        ("first_list.example['cust_space_id'] = 'cams-none'", "Authentication.NoAuth"),
        ("write.example['ad_account_id'] = '1'", "The demo failed"),
    ],
    ids=["a write without effect", "a list that fails", "a write that fails"],
)
def test_a_demo_that_goes_wrong_says_so_and_fails(tmp_path: Path, change: str, says: str) -> None:
    program = f"{IMPORTS}\n{change}\ndemo.command()"
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(tmp_path),
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )

    assert result.returncode == 1
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert "All checks passed." not in result.stdout


def test_the_demo_shows_every_tool_a_declined_and_a_confirmed_write(tmp_path: Path) -> None:
    result = run(tmp_path, "demo")

    assert result.returncode == 0, result.stderr
    shown = result.stdout
    assert f"{len(OPERATIONS)} tools:" in shown
    for operation in OPERATIONS:
        assert f"\n{operation.name} {{" in shown, "called, not only listed"
        assert operation.title in shown
    assert shown.count("The server asks the person:") == 2
    assert shown.index("The person declines.") < shown.index("Nothing was sent: the user declined.")
    assert shown.index("The person confirms.") < shown.index('"status":"sent"')
    assert "before 0, after the declined write 0, after the confirmed write 150" in shown
    assert shown.endswith("All checks passed.\n")
    assert "Traceback" not in result.stderr


def test_the_demo_shows_nobodys_address(tmp_path: Path) -> None:
    result = run(tmp_path, "demo")

    assert "customer000@example.com" not in result.stdout + result.stderr
    assert "c***@example.com" in result.stdout


def test_settings_of_the_environment_do_not_change_the_demo(tmp_path: Path) -> None:
    settings = {"CAMS_MCP_CONFIRM": "off", "CAMS_MCP_FAULT": "denied", "CAMS_MCP_ENDPOINT": "http://example.com"}

    assert run(tmp_path, "demo", env=settings).returncode == 0


def test_the_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    assert run(tmp_path, "demo").returncode == 0

    assert list(tmp_path.iterdir()) == []
