"""Examples in the documentation that are output of real commands, so that they cannot go stale."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
WIDTH = 116

PEOPLE = {
    "cust_space_id": "cams-msgr0001",
    "page_id": "102938475600001",
    "ad_account_id": "238400000000001",
    "custom_audience_id": "6000019000000",
    "users": [{"email": "jane.doe@example.com"}, {"phone": "12025550123"}],
}


def approval_example() -> str:
    """The demo's dismissed write with its question, and what the confirmed one returns."""
    paragraphs = _output("demo").strip().split("\n\n")
    dismissed, confirmed = (text for text in paragraphs if text.startswith("add_custom_audience_user "))
    _, _, answered = confirmed[confirmed.rindex("\n    | ") + 1 :].partition("\n")
    answered = re.sub(r'"request_id":"[^"]*"', '"request_id":"55A08CC7-99BC-4E0D-8F88-A61B5534E07D"', answered)
    return f"```text\n{_wrapped(dismissed)}\n\n  ...\n{_wrapped(answered)}\n```"


def preview_example() -> str:
    """What the first of two steps returns."""
    given = ("call", "add_custom_audience_user", json.dumps(PEOPLE), "--sandbox", "--confirm", "token")
    result: dict[str, Any] = json.loads(_output(*given))
    shown = "\n".join(f"  | {line}" for line in result.pop("preview").splitlines())
    result["confirmation_token"] = "rHbjF8cNuPsVT3_wFUrnehNFArUZIbvP"  # a new one each time
    rest = "\n".join(f"{name}: {value}" for name, value in result.items() if value)
    return f"```text\npreview:\n{_wrapped(shown)}\n{_wrapped(rest)}\n```"


@functools.cache
def _output(*command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CAMS_MCP_")}
    done = subprocess.run(
        [sys.executable, "-m", "cams_mcp", *command],
        cwd=ROOT,
        env=environment | {"PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode in (0, 3), done.stderr
    return done.stdout


def _wrapped(text: str) -> str:
    lines: list[str] = []
    for line in text.splitlines():
        lead = re.match(r"[ |]*", line)
        indent = f"{lead[0] if lead else ''}  "
        one_word = " " not in line.strip()
        lines += [line] if one_word else textwrap.wrap(line, WIDTH, subsequent_indent=indent, break_on_hyphens=False)
    return "\n".join(lines)
