"""What tests of packages share: the script that builds the bundle, and the least a client does with a server."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "packaging"))
import build_mcpb

__all__ = ["build_mcpb", "connect_and_list"]

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
TALK: tuple[dict[str, Any], ...] = (
    {"id": 1, "method": "initialize", "params": HELLO},
    {"method": "notifications/initialized"},
    {"id": 2, "method": "tools/list"},
)


def connect_and_list(command: list[str], folder: Path, env: Mapping[str, str], seconds: int = 60) -> dict[str, Any]:
    """Start a server over stdio and list its tools; gives its version and their names."""
    answers = []
    with (
        (folder / "errors").open("w+", encoding="utf-8") as errors,
        subprocess.Popen(
            command, cwd=folder, env=dict(env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        watchdog = threading.Timer(seconds, process.kill)
        watchdog.start()
        assert process.stdin
        assert process.stdout
        for message in TALK:
            process.stdin.write(json.dumps({"jsonrpc": "2.0"} | message) + "\n")
            process.stdin.flush()
            if "id" in message:
                line = process.stdout.readline()
                assert line, (folder / "errors").read_text(encoding="utf-8")
                answers.append(json.loads(line)["result"])
        process.stdin.close()
        assert process.wait() == 0
        watchdog.cancel()
    return {"version": answers[0]["serverInfo"]["version"], "tools": [tool["name"] for tool in answers[1]["tools"]]}
