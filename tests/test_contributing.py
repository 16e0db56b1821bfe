"""CONTRIBUTING.md: adding an operation takes what it says, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest
from support_contributing import copy_with_examples, run_in

pytestmark = pytest.mark.slow


def test_a_read_and_a_write_added_by_the_worked_examples_pass_the_demo_and_the_quick_tests(tmp_path: Path) -> None:
    copy = tmp_path / "project"
    copy_with_examples(copy)

    shown = run_in(copy, "-m", "cams_mcp", "demo")
    for tool in ("get_whatsapp_conversion_api", "delete_chat_group"):
        assert f"\n{tool} {{" in shown
    assert "| Delete the WhatsApp group" in shown
    run_in(copy, "-m", "pytest", "-q", "-m", "not slow", "-n", "2", "-p", "no:cacheprovider")
