"""`cams-mcp demo`: what a new user sees first."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support_cli import run

from cams_mcp.cli import demo
from cams_mcp.operations import OPERATIONS
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER as WRITE
from cams_mcp.operations.list_custom_audience import LIST_CUSTOM_AUDIENCE as LIST

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda patch: patch.setitem(WRITE.example, "users", WRITE.example["users"][:50]), "The demo failed"),
        (lambda patch: patch.setitem(LIST.example, "cust_space_id", "cams-none"), "Authentication.NoAuth"),
        (lambda patch: patch.setitem(WRITE.example, "ad_account_id", "1"), "The demo failed"),
    ],
    ids=["a write without effect", "a list that fails", "a write that fails"],
)
def test_a_demo_that_goes_wrong_says_so_and_fails(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    change: Callable[[pytest.MonkeyPatch], None],
    says: str,
) -> None:
    change(monkeypatch)
    with pytest.raises(SystemExit) as ended:
        demo.command([])

    shown = capfd.readouterr()
    assert ended.value.code == 1
    assert says in shown.err
    assert "Traceback" not in shown.err
    assert "All checks passed." not in shown.out


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def shown(home: Path) -> subprocess.CompletedProcess[str]:
    """The demo, run once."""
    return run(home, "demo")


def test_the_demo_shows_every_tool_a_dismissed_and_a_confirmed_write(shown: subprocess.CompletedProcess[str]) -> None:
    assert shown.returncode == 0, shown.stderr
    text = shown.stdout
    assert f"{len(OPERATIONS)} tools:" in text
    for operation in OPERATIONS:
        assert f"\n{operation.name} {{" in text, "called, not only listed"
        assert operation.title in text
    writes = sum(operation.writes for operation in OPERATIONS)
    assert text.count("The server asks the person:") == 2 * writes
    assert text.index("The person closes the question.") < text.index("Nothing was sent: the user dismissed")
    assert text.index("The person confirms.") < text.index('"status":"sent"')
    assert "before 0, after the dismissed write 0, after the confirmed write 150" in text
    assert text.endswith("All checks passed.\n")
    assert "Traceback" not in shown.stderr


def test_the_demo_shows_nobodys_address(shown: subprocess.CompletedProcess[str]) -> None:
    assert "customer000@example.com" not in shown.stdout + shown.stderr
    assert "c***@example.com" in shown.stdout


def test_settings_of_the_environment_do_not_change_the_demo(tmp_path: Path) -> None:
    settings = {"CAMS_MCP_CONFIRM": "off", "CAMS_MCP_FAULT": "denied", "CAMS_MCP_ENDPOINT": "http://example.com"}

    assert run(tmp_path, "demo", env=settings).returncode == 0


def test_the_demo_leaves_nothing_behind(shown: subprocess.CompletedProcess[str], home: Path) -> None:
    assert shown.returncode == 0
    assert list(home.iterdir()) == []
