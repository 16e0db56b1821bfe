"""Measure cold start, from process spawn to the tools/list response, compared with a one-tool SDK MCPServer.

Run: python benchmarks/start.py [ROUNDS]. Runs of the two programs alternate. The ratio is the result.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

CALLS: tuple[dict[str, Any], ...] = (
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "benchmark", "version": "1"},
        },
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
)
PROGRAMS = {
    "cams-mcp": [sys.executable, "-m", "cams_mcp", "serve"],
    "one-tool MCPServer": [sys.executable, str(Path(__file__).with_name("hello_server.py"))],
}


def start(command: list[str]) -> tuple[float, int]:
    """Return the seconds until the tools/list response arrives, and its size in bytes."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin
        assert process.stdout
        answer = b""
        for call in CALLS:
            answer = _exchange(process.stdin, process.stdout, call)
        took = time.perf_counter() - began
        process.stdin.close()
    return took, len(answer)


def _exchange(to: IO[bytes], back: IO[bytes], call: dict[str, Any]) -> bytes:
    to.write(json.dumps(call).encode() + b"\n")
    to.flush()
    return back.readline() if "id" in call else b""


def main(rounds: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    sizes: dict[str, int] = {}
    for command in PROGRAMS.values():
        start(command)  # warms the file cache
    for _ in range(rounds):
        for name, command in PROGRAMS.items():
            took, sizes[name] = start(command)
            times[name].append(took)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    base = medians["one-tool MCPServer"]
    print("| cold start to tools/list | median | ratio | tools/list bytes |")
    print("|---|---|---|---|")
    for name, median in medians.items():
        print(f"| {name} | {median * 1000:.0f} ms | {median / base:.2f} | {sizes[name]:,} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
